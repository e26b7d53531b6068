// Starts the gateway that a test talks to.
// Invariant: a free port of its own, and stopped by its own process id when the test ends.
//
// FLEETCAST_BIN names the binary; else the newest build of this repository; FLEETCAST_STANDIN=1 takes
// dev/server.mjs, for work on the page alone.

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
  /**
   * With tokens signed by `token()`: always the stand-in, since the gateway does not verify tokens yet
   * and what the page says of a refusal must not go untested meanwhile.
   */
  auth?: boolean;
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
    const { assets = 2_000, fleets = 20, rate = 1, auth = false, env = {} } = this.#options;
    const listen = `127.0.0.1:${this.port}`;
    const size = ['--assets', String(assets), '--fleets', String(fleets), '--rate', String(rate)];
    const child =
      standIn() || auth
        ? spawn(process.execPath, [
            here('../dev/server.mjs'),
            '--port',
            String(this.port),
            ...size,
            ...(auth ? ['--secret', JWT_SECRET] : []),
          ])
        : spawn(binary(), ['demo', '--listen', listen, ...size], {
            env: {
              ...process.env,
              FLEETCAST_ADMIN_LISTEN: '127.0.0.1:0',
              ...env,
            },
          });
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

export const standIn = (): boolean => process.env.FLEETCAST_STANDIN === '1';

function binary(): string {
  const given = process.env.FLEETCAST_BIN;
  if (given) return given;
  const target = process.env.CARGO_TARGET_DIR ?? here('../../target');
  const built = ['release', 'debug']
    .map((profile) => `${target}/${profile}/fleetcast`)
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (built[0]) return built[0];
  throw new Error('no fleetcast binary: `cargo build`, or set FLEETCAST_BIN');
}

/** A token that grants these fleets, or everything. */
export function token(fleets: string[] | '*', expiresInS = 3600): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + expiresInS;
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'e2e', fleets, exp })}`;
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
      near.on('data', (chunk) => {
        if (this.cut !== null && chunk.includes(this.cut)) near.destroy();
        else far.write(chunk);
      });
      far.on('data', (chunk) => {
        near.write(chunk);
        if (!Number.isFinite(this.bytesPerS)) return;
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
