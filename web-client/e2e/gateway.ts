// Starts the gateway that a test talks to.
// Invariant: a free port of its own, and stopped by its own process id when the test ends.
//
// FLEETCAST_BIN names the binary; else the newest build of this repository, or that of
// FLEETCAST_PROFILE; FLEETCAST_STANDIN=1 takes dev/server.mjs, for work on the page alone.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const START_MS = 60_000;

export const JWT_SECRET = 'only-for-tests-only-for-tests-only';

export interface GatewayOptions {
  assets?: number;
  fleets?: number;
  rate?: number;
  /** With tokens signed by `token()`. */
  auth?: boolean;
  /** Reads this topic instead of simulating. */
  kafka?: { brokers: string; topic: string };
  /** False where `env` names another source. */
  simulated?: boolean;
  env?: Record<string, string>;
  port?: number;
}

export class Gateway {
  readonly port: number;
  readonly #options: GatewayOptions;
  #process: ChildProcess;
  log = '';

  private constructor(port: number, options: GatewayOptions) {
    this.port = port;
    this.#options = options;
    this.#process = this.#spawn();
  }

  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const gateway = new Gateway(options.port ?? (await freePort()), options);
    await gateway.#ready();
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** As a crash would: no goodbye to anybody. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const gone = new Promise((done) => this.#process.once('exit', done));
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill(signal);
      await gone;
    }
  }

  async restart(): Promise<void> {
    this.#process = this.#spawn();
    await this.#ready();
  }

  stop(): Promise<void> {
    return this.kill();
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  #spawn(): ChildProcess {
    const { assets = 2_000, fleets = 20, rate = 1, auth = false, kafka, env = {} } = this.#options;
    const simulated = !kafka && this.#options.simulated !== false;
    const listen = `127.0.0.1:${this.port}`;
    const size = ['--assets', String(assets), '--fleets', String(fleets), '--rate', String(rate)];
    const environment = {
      ...process.env,
      FLEETCAST_LISTEN: listen,
      FLEETCAST_ADMIN_LISTEN: '127.0.0.1:0',
      ...(kafka ? kafkaSource(kafka) : { FLEETCAST_SOURCE: 'demo' }),
      FLEETCAST_STORE: 'memory',
      FLEETCAST_AUTH: auth ? 'jwt' : 'none',
      ...(auth && { FLEETCAST_JWT_SECRET: JWT_SECRET }),
      ...env,
    };
    const child = standIn()
      ? spawn(process.execPath, [
          here('../dev/server.mjs'),
          '--port',
          String(this.port),
          ...size,
          ...(auth ? ['--secret', JWT_SECRET] : []),
        ])
      : spawn(binary(), ['serve', ...(simulated ? size : [])], { env: environment });
    const keep = (data: Buffer) => {
      this.log = (this.log + data).slice(-20_000);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    return child;
  }

  async #ready(): Promise<void> {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      if (this.#process.exitCode !== null) break;
      const answer = await fetch(`${this.url}api/config`).catch(() => null);
      if (answer) return;
      await new Promise((again) => setTimeout(again, 50));
    }
    throw new Error(`the gateway did not start on port ${this.port}:\n${this.log}`);
  }
}

const kafkaSource = ({ brokers, topic }: { brokers: string; topic: string }) => ({
  FLEETCAST_SOURCE: 'kafka',
  FLEETCAST_KAFKA_BROKERS: brokers,
  FLEETCAST_KAFKA_TOPICS: topic,
  FLEETCAST_KAFKA_GROUP: `${topic}-readers`,
});

export const standIn = (): boolean => process.env.FLEETCAST_STANDIN === '1';

function binary(): string {
  const given = process.env.FLEETCAST_BIN;
  if (given) return given;
  const target = process.env.CARGO_TARGET_DIR ?? here('../../target');
  const profile = process.env.FLEETCAST_PROFILE;
  const built = (profile ? [profile] : ['release', 'debug'])
    .map((name) => `${target}/${name}/fleetcast`)
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (built[0]) return built[0];
  throw new Error('no fleetcast binary: `cargo build`, or set FLEETCAST_BIN');
}

/** A token that grants these fleets, or everything; and what operators see. */
export function token(fleets: string[] | '*', admin = false): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const claims = { sub: 'e2e', fleets, exp, ...(admin && { admin }) };
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${body}.${createHmac('sha256', JWT_SECRET).update(body).digest('base64url')}`;
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  return port;
}

/** A TCP proxy that lets through only so many bytes a second from the gateway to the page. */
export class SlowLink {
  bytesPerS = Number.POSITIVE_INFINITY;
  /** Only connections that asked for this path are slow. */
  only: string | null = null;
  /** Connections whose request names this path are cut, as by a proxy whose upstream is down. */
  cut: string | null = null;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(target: number) {
    this.#server = createServer((near) => {
      const far = connect(target, '127.0.0.1');
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      let isSlow = false;
      near.on('data', (chunk) => {
        isSlow ||= this.only === null || chunk.includes(this.only);
        if (this.cut !== null && chunk.includes(this.cut)) near.destroy();
        else far.write(chunk);
      });
      far.on('data', (chunk) => {
        near.write(chunk);
        if (!isSlow || !Number.isFinite(this.bytesPerS)) return;
        far.pause();
        setTimeout(() => far.resume(), (chunk.length / this.bytesPerS) * 1000);
      });
    });
  }

  static async to(target: number): Promise<SlowLink> {
    const link = new SlowLink(target);
    await new Promise<void>((done) => link.#server.listen(0, '127.0.0.1', done));
    link.#port = (link.#server.address() as { port: number }).port;
    return link;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
