// Turns "what the operator wants to see" into subscriptions, and slows down when told to.
// Invariant: an asset is in the columns exactly while at least one subscription holds it.

import {
  assetKey,
  type Change,
  type Fleetcast,
  type FleetSubscription,
  type RegionSubscription,
} from 'fleetcast-client';
import { type Feed, type Scope, WORLD } from './messages';

/** Beyond this many fleets, one filtered region costs less than a subscription each. */
const FLEET_SUBSCRIPTIONS_MAX = 8;
const INTERVAL_MAX_MS = 10_000;
/** This much older than usual for this long: the link or this machine cannot keep up. */
const LATE_MS = 3_000;
/** What is usual rises slowly, for sources that get slower by themselves. */
const USUAL_RISE_MS = 20;
const LATE_SECONDS = 4;
const CALM_SECONDS = 30;

export interface FeedListener {
  changed(change: Change): void;
  cleared(): void;
  state(feed: Feed): void;
  resynced(reason: string): void;
  interval(intervalMs: number, slowed: boolean): void;
}

type AnySubscription = FleetSubscription | RegionSubscription;

export class ScopeFeed {
  readonly #client: Fleetcast;
  readonly #listener: FeedListener;
  #wantedIntervalMs: number;
  #intervalMs: number;
  #scope: Scope = { fleets: [], shape: null };
  #subscriptions: AnySubscription[] = [];
  #lateFor = 0;
  #calmFor = 0;
  #usualMs = Number.POSITIVE_INFINITY;

  constructor(client: Fleetcast, intervalMs: number, listener: FeedListener) {
    this.#client = client;
    this.#intervalMs = intervalMs;
    this.#wantedIntervalMs = intervalMs;
    this.#listener = listener;
  }

  watch(scope: Scope): void {
    const region = this.#region();
    this.#scope = scope;
    // A region that stays a region moves: only the difference travels.
    if (region && this.#wantsRegion()) {
      region.move(scope.shape ?? WORLD, {
        fleets: scope.fleets.length > 0 ? scope.fleets : undefined,
        intervalMs: this.#intervalMs,
      });
      return;
    }
    this.#replace();
  }

  setInterval(intervalMs: number): void {
    this.#wantedIntervalMs = intervalMs;
    this.#use(intervalMs);
  }

  /** Once a second: the median age of what arrived, null when nothing did. */
  judge(lagMs: number | null): void {
    // Not the age as such: a source that reports with minutes of delay is no reason to slow down.
    if (lagMs !== null) this.#usualMs = Math.min(this.#usualMs + USUAL_RISE_MS, lagMs);
    const late = lagMs !== null && lagMs > this.#usualMs + LATE_MS + this.#intervalMs;
    this.#lateFor = late ? this.#lateFor + 1 : 0;
    this.#calmFor = late ? 0 : this.#calmFor + 1;
    if (this.#lateFor >= LATE_SECONDS) this.#slower();
    else if (this.#calmFor >= CALM_SECONDS && this.#intervalMs > this.#wantedIntervalMs) {
      this.#use(Math.max(this.#wantedIntervalMs, this.#intervalMs / 2));
    }
  }

  #slower(): void {
    if (this.#intervalMs < INTERVAL_MAX_MS) {
      this.#use(Math.min(INTERVAL_MAX_MS, this.#intervalMs * 2));
    }
  }

  #use(intervalMs: number): void {
    this.#lateFor = 0;
    this.#calmFor = 0;
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    const region = this.#region();
    if (region) region.move(region.shape, { intervalMs });
    else this.#replace();
    this.#listener.interval(intervalMs, intervalMs > this.#wantedIntervalMs);
  }

  #wantsRegion(): boolean {
    const { fleets, shape } = this.#scope;
    return shape !== null || fleets.length === 0 || fleets.length > FLEET_SUBSCRIPTIONS_MAX;
  }

  #region(): RegionSubscription | null {
    const only = this.#subscriptions[0];
    return only && 'move' in only ? only : null;
  }

  #replace(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.#listener.cleared();
    const { fleets, shape } = this.#scope;
    const intervalMs = this.#intervalMs;
    this.#subscriptions = this.#wantsRegion()
      ? [
          this.#client.subscribeRegion(shape ?? WORLD, {
            name: 'view',
            intervalMs,
            ...(fleets.length > 0 && { fleets }),
          }),
        ]
      : fleets.map((fleet) => this.#client.subscribeFleet(fleet, { intervalMs }));
    for (const subscription of this.#subscriptions) this.#listen(subscription);
    this.#listener.state(this.#merged());
  }

  #listen(subscription: AnySubscription): void {
    const current = () => this.#subscriptions.includes(subscription);
    subscription.onChange((change) => {
      if (!current()) return;
      const gone = change.left.filter((ref) => !this.#holds(assetKey(ref)));
      this.#listener.changed({ ...change, left: gone });
    });
    subscription.onState(() => {
      if (current()) this.#listener.state(this.#merged());
    });
    subscription.onResync((reason) => {
      if (!current()) return;
      this.#listener.resynced(reason);
      if (reason === 'slow') this.#slower();
    });
  }

  #holds(key: string): boolean {
    return this.#subscriptions.some((subscription) => subscription.assets.has(key));
  }

  /** The state that deserves attention most: what failed, what waits, what loads. */
  #merged(): Feed {
    const states = this.#subscriptions.map((subscription) => subscription.state);
    const first = (kind: Feed['kind']) => states.find((state) => state.kind === kind);
    const failed = first('failed');
    if (failed) return failed;
    const waiting = first('waiting');
    if (waiting) return waiting;
    const loading = states.filter((state) => state.kind === 'loading');
    if (loading.length === 0) return { kind: 'live' };
    return {
      kind: 'loading',
      part: loading.reduce((sum, state) => sum + state.part, 0),
      parts: loading.reduce((sum, state) => sum + state.parts, 0),
    };
  }
}
