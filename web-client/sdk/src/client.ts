// The connection to a Fleetcast gateway: subscriptions that survive it, and requests that need it.
// Invariant: after every connect, each open subscription is asked for again, exactly once,
// from its newest cursor.

import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import type {
  Ack,
  AuthExpiring,
  FleetSnapshot,
  FleetSubscribe,
  FleetSubscribed,
  FleetSummary,
  FleetUpdates,
  ProtocolError,
  RegionSnapshot,
  RegionSubscribe,
  RegionSubscribed,
  RegionUpdates,
  Resync,
  Shape,
  TrackPoint,
} from './protocol';
import { AssetSet } from './subscription';

type SubscribeAck = Ack<FleetSubscribed | RegionSubscribed>;

export type TokenSource = string | (() => string | Promise<string>);

export interface ConnectOptions {
  /** Sent as `auth.token`; a function is asked again at each connect and before expiry. */
  token?: TokenSource;
  /** For each request; default 10 s. */
  ackTimeoutMs?: number;
  /** Anything else for socket.io-client, such as `path`. */
  socket?: Partial<ManagerOptions & SocketOptions>;
}

export type ConnectionState =
  | { kind: 'connecting' }
  | { kind: 'connected'; transport: string; socketId: string }
  /** The network or the gateway is down; socket.io keeps trying. */
  | { kind: 'reconnecting'; reason: string; attempt: number }
  /** The gateway answered no (a bad token, say); `retry()` asks again. */
  | { kind: 'refused'; message: string }
  | { kind: 'closed' };

export interface SubscribeOptions {
  /** The shortest time between two updates, 50 to 10,000; the gateway's default is 250. */
  intervalMs?: number;
}

export interface RegionOptions extends SubscribeOptions {
  /** The region's name on this connection; made up when absent. */
  name?: string;
  /** Only assets of these fleets. */
  fleets?: string[];
}

const ACK_TIMEOUT_MS = 10_000;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export class RequestError extends Error {
  readonly code: ProtocolError['code'];
  constructor(error: ProtocolError) {
    super(error.message);
    this.name = 'RequestError';
    this.code = error.code;
  }
}

/** Connects; socket.io-client keeps the connection up from here on. */
export function connect(url: string, options: ConnectOptions = {}): Fleetcast {
  return new Fleetcast(url, options);
}

export class Fleetcast {
  /** The stock socket underneath, for events of your own. */
  readonly socket: Socket;
  readonly #options: ConnectOptions;
  readonly #subscriptions = new Set<Subscription>();
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  #state: ConnectionState = { kind: 'connecting' };
  #regionCount = 0;
  #comeBack: ReturnType<typeof setTimeout> | undefined;

  constructor(url: string, options: ConnectOptions) {
    this.#options = options;
    this.socket = io(url, {
      // Websocket first needs no sticky sessions; polling remains for networks that block it.
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      auth: (send) => void this.#token().then((token) => send(token ? { token } : {})),
      ...options.socket,
    });
    this.#listen();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  subscribeFleet(fleet: string, options: SubscribeOptions = {}): FleetSubscription {
    return this.#open(new FleetSubscription(this, fleet, options));
  }

  subscribeRegion(shape: Shape, options: RegionOptions = {}): RegionSubscription {
    const name = options.name ?? `region-${++this.#regionCount}`;
    return this.#open(new RegionSubscription(this, name, shape, options));
  }

  /** The recent track of an asset, oldest first. */
  async history(
    asset: string,
    options: { fleet?: string; fromTs?: number; limit?: number } = {},
  ): Promise<TrackPoint[]> {
    const answer = await this.request<Ack<{ track?: TrackPoint[]; history?: TrackPoint[] }>>(
      'asset_history',
      { asset, fleet: options.fleet, from_ts: options.fromTs, limit: options.limit },
    );
    if (!answer.ok) throw new RequestError(answer.error);
    return answer.track ?? answer.history ?? [];
  }

  /** The fleets that this viewer may see. */
  async fleets(): Promise<FleetSummary[]> {
    const answer = await this.request<Ack<{ fleets: FleetSummary[] }>>('fleets', {});
    if (!answer.ok) throw new RequestError(answer.error);
    return answer.fleets;
  }

  /** One request with an acknowledgement; rejects when none comes in time. */
  request<T>(event: string, body: object): Promise<T> {
    const timeout = this.#options.ackTimeoutMs ?? ACK_TIMEOUT_MS;
    return this.socket.timeout(timeout).emitWithAck(event, body) as Promise<T>;
  }

  /** As `request`, but calls back at once, with null when no acknowledgement comes in time. */
  ask<T>(event: string, body: object, answer: (ack: T | null) => void): void {
    const timeout = this.#options.ackTimeoutMs ?? ACK_TIMEOUT_MS;
    this.socket
      .timeout(timeout)
      .emit(event, body, (error: Error | null, ack: T) => answer(error ? null : ack));
  }

  /** After `refused`: asks for a token again and connects. */
  retry(): void {
    this.#setState({ kind: 'connecting' });
    this.socket.connect();
  }

  close(): void {
    clearTimeout(this.#comeBack);
    for (const subscription of this.#subscriptions) subscription.dispose();
    this.#subscriptions.clear();
    this.socket.disconnect();
    this.#setState({ kind: 'closed' });
  }

  /** @internal */
  forget(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
  }

  #open<T extends Subscription>(subscription: T): T {
    this.#subscriptions.add(subscription);
    if (this.socket.connected) subscription.ask();
    return subscription;
  }

  async #token(): Promise<string | undefined> {
    const { token } = this.#options;
    return typeof token === 'function' ? await token() : token;
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  #listen(): void {
    const { socket } = this;
    socket.on('connect', () => this.#connected());
    socket.on('connect_error', (error) => this.#failed(error));
    socket.on('disconnect', (reason) => this.#disconnected(reason));
    socket.on('auth_expiring', (notice: AuthExpiring) => void this.#refreshToken(notice));
    const fleet = (name: string) => (s: Subscription) =>
      s instanceof FleetSubscription && s.fleet === name;
    const region = (name: string) => (s: Subscription) =>
      s instanceof RegionSubscription && s.name === name;
    socket.on('fleet_snapshot', (event: FleetSnapshot) =>
      this.#each(fleet(event.fleet), (s) => {
        (s as FleetSubscription).cursor = event.cursor;
        s.snapshotPart(event.parts, event.assets);
      }),
    );
    socket.on('fleet_updates', (event: FleetUpdates) =>
      this.#each(fleet(event.fleet), (s) => {
        (s as FleetSubscription).cursor = event.cursor;
        s.update(event.assets);
      }),
    );
    socket.on('region_snapshot', (event: RegionSnapshot) =>
      this.#each(region(event.region), (s) => s.snapshotPart(event.parts, event.assets)),
    );
    socket.on('region_updates', (event: RegionUpdates) =>
      this.#each(region(event.region), (s) =>
        s.update([...event.entered, ...event.moved], event.left),
      ),
    );
    socket.on('resync', (event: Resync) => {
      const named = event.fleet ? fleet(event.fleet) : event.region ? region(event.region) : null;
      this.#each(named ?? (() => true), (s) => s.resync(event.reason));
    });
  }

  #each(wanted: (s: Subscription) => boolean, act: (s: Subscription) => void): void {
    for (const subscription of this.#subscriptions) if (wanted(subscription)) act(subscription);
  }

  #connected(): void {
    const { socket } = this;
    const say = () =>
      this.#setState({
        kind: 'connected',
        transport: socket.io.engine.transport.name,
        socketId: socket.id ?? '',
      });
    socket.io.engine.once('upgrade', say);
    say();
    for (const subscription of this.#subscriptions) subscription.ask();
  }

  #failed(error: Error): void {
    // Inactive means that the gateway itself refused: socket.io will not try again on its own.
    if (!this.socket.active) {
      this.#setState({ kind: 'refused', message: error.message });
      return;
    }
    const before = this.#state.kind === 'reconnecting' ? this.#state.attempt : 0;
    this.#setState({ kind: 'reconnecting', reason: error.message, attempt: before + 1 });
  }

  #disconnected(reason: string): void {
    for (const subscription of this.#subscriptions) subscription.disconnected();
    if (reason === 'io client disconnect') return;
    this.#setState({ kind: 'reconnecting', reason, attempt: 0 });
    // A server-side disconnect is the one that stock clients never recover from.
    if (reason === 'io server disconnect') {
      this.#comeBack = setTimeout(() => this.socket.connect(), RETRY_MIN_MS);
    }
  }

  async #refreshToken(_notice: AuthExpiring): Promise<void> {
    const token = await this.#token();
    if (token && this.socket.connected)
      this.socket.emit('auth_refresh', { token }, () => undefined);
  }
}

/** What both kinds share: asking, asking again, and giving up when told to. */
export abstract class Subscription extends AssetSet {
  protected readonly client: Fleetcast;
  #asks = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** By this connection: the gateway forgets subscriptions with the socket. */
  #acknowledged = false;

  constructor(client: Fleetcast) {
    super();
    this.client = client;
  }

  protected abstract body(): { event: string; body: object };

  /** @internal */
  ask(delayMs = RETRY_MIN_MS): void {
    const ask = ++this.#asks;
    clearTimeout(this.#retry);
    const { event, body } = this.body();
    // A callback and not a promise: the snapshot may be in the same network read as the
    // acknowledgement, and would then be handled before a promise's continuation.
    this.client.ask<SubscribeAck>(event, body, (answer) => {
      // A newer ask, or the end of this one, makes the answer meaningless.
      if (ask === this.#asks) this.#answered(answer, delayMs);
    });
  }

  #answered(answer: SubscribeAck | null, delayMs: number): void {
    if (answer?.ok) {
      // A region asked for twice on one connection has moved: only the difference travels.
      if (this.#acknowledged || answer.resumed) this.expectDifference();
      else this.expectSnapshot();
      this.#acknowledged = true;
      return;
    }
    const error = answer?.error ?? { code: 'unavailable', message: 'no answer from the gateway' };
    this.setState({ kind: 'failed', error });
    if (error.code !== 'unavailable' || !this.client.socket.connected) return;
    this.#retry = setTimeout(
      () => this.ask(Math.min(delayMs * 2, RETRY_MAX_MS)),
      delayMs * (0.5 + Math.random() / 2),
    );
  }

  /** @internal */
  disconnected(): void {
    this.#acknowledged = false;
    this.#asks += 1;
    clearTimeout(this.#retry);
    this.setState({ kind: 'waiting' });
  }

  /** @internal */
  dispose(): void {
    this.#asks += 1;
    clearTimeout(this.#retry);
  }

  protected end(event: string, body: object): void {
    this.dispose();
    this.client.forget(this);
    if (this.client.socket.connected) this.client.socket.emit(event, body, () => undefined);
  }
}

export class FleetSubscription extends Subscription {
  readonly fleet: string;
  readonly #options: SubscribeOptions;
  /** The point up to which the map is complete; names it to any replica after an outage. */
  cursor: string | undefined;

  constructor(client: Fleetcast, fleet: string, options: SubscribeOptions) {
    super(client);
    this.fleet = fleet;
    this.#options = options;
  }

  unsubscribe(): void {
    this.end('fleet_unsubscribe', { fleet: this.fleet });
  }

  protected body(): { event: string; body: FleetSubscribe } {
    const body: FleetSubscribe = { fleet: this.fleet, mode: 'latest' };
    if (this.#options.intervalMs) body.interval_ms = this.#options.intervalMs;
    if (this.cursor) body.since = this.cursor;
    return { event: 'fleet_subscribe', body };
  }
}

export class RegionSubscription extends Subscription {
  readonly name: string;
  #shape: Shape;
  #options: RegionOptions;

  constructor(client: Fleetcast, name: string, shape: Shape, options: RegionOptions) {
    super(client);
    this.name = name;
    this.#shape = shape;
    this.#options = options;
  }

  get shape(): Shape {
    return this.#shape;
  }

  /** Moves the region, as when a map is panned; only the difference travels. */
  move(shape: Shape, options: Partial<RegionOptions> = {}): void {
    this.#shape = shape;
    this.#options = { ...this.#options, ...options };
    if (this.client.socket.connected) this.ask();
  }

  unsubscribe(): void {
    this.end('region_unsubscribe', { region: this.name });
  }

  protected body(): { event: string; body: RegionSubscribe } {
    const body: RegionSubscribe = { region: this.name, ...this.#shape };
    if (this.#options.intervalMs) body.interval_ms = this.#options.intervalMs;
    if (this.#options.fleets) body.fleets = this.#options.fleets;
    return { event: 'region_subscribe', body };
  }
}
