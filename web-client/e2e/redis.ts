// A real Redis, and what an ingestion publishes to it.
// Invariant: on a free port, nothing on disk, and stopped by its own process id.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { freePort } from './gateway';

const START_MS = 20_000;
const run = promisify(execFile);

export class Redis {
  readonly port: number;
  readonly #process: ChildProcess;
  #reports: ReturnType<typeof setInterval> | undefined;

  private constructor(port: number) {
    this.port = port;
    const options = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
    ];
    this.#process = spawn('redis-server', options, { stdio: 'ignore' });
  }

  static async start(): Promise<Redis> {
    const redis = new Redis(await freePort());
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      const pong = await redis.#ask('ping').catch(() => '');
      if (pong.trim() === 'PONG') return redis;
      await new Promise((again) => setTimeout(again, 50));
    }
    await redis.stop();
    throw new Error('redis did not start');
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/`;
  }

  /** So many vans of a fleet report on its legacy channel every second, until Redis stops. */
  drive(fleet: string, count: number): void {
    this.#reports = setInterval(() => {
      for (let i = 0; i < count; i++) {
        void this.#ask('publish', `updates:${fleet}`, van(i, Date.now())).catch(() => {});
      }
    }, 1_000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#reports);
    this.#process.kill('SIGKILL');
  }

  async #ask(...command: string[]): Promise<string> {
    const { stdout } = await run('redis-cli', ['-p', String(this.port), ...command]);
    return stdout;
  }
}

const van = (i: number, ts: number) =>
  JSON.stringify({
    assetId: `van-${i}`,
    ts,
    lat: 48.1 + 0.01 * Math.sin(ts / 60_000 + i),
    lon: 11.5 + 0.01 * Math.cos(ts / 60_000 + i),
    speed_kmh: 40 + (i % 30) + ((ts / 1_000) % 10),
  });
