// Starts the gateway worker before the map's code has even arrived, so that both load side by side.
// Invariant: nothing that the worker says meanwhile is lost.

import type { FromWorker, Scope, ToWorker } from './messages';

export class EarlyGateway {
  readonly #worker: Worker;
  #waiting: FromWorker[] | null = [];
  #handle: (message: FromWorker) => void = () => {};

  constructor(token: string | null, scope: Scope, intervalMs: number) {
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (this.#waiting) this.#waiting.push(data);
      else this.#handle(data);
    };
    const url = new URL('.', location.href).href;
    this.say({ kind: 'connect', url, token, scope, intervalMs });
  }

  say(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  /** From now on messages go to `handle`, beginning with those that came before. */
  deliver(handle: (message: FromWorker) => void): void {
    this.#handle = handle;
    for (const message of this.#waiting ?? []) handle(message);
    this.#waiting = null;
  }
}
