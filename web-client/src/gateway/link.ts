// The page's end of the gateway worker.
// Invariant: every message of the worker is handled here once and becomes store or signal changes.

import type { FleetStore } from '../fleet/store';
import * as view from '../view/state';
import type { EarlyGateway } from './early';
import type { FromWorker, Rates, ToWorker } from './messages';

export class GatewayLink {
  readonly #gateway: EarlyGateway;
  readonly #store: FleetStore;
  /** Called after rows changed. */
  onRows: () => void = () => {};
  onDetail: (message: Extract<FromWorker, { kind: 'detail' }>) => void = () => {};
  onHistory: (message: Extract<FromWorker, { kind: 'history' }>) => void = () => {};
  onResync: (reason: string) => void = () => {};

  constructor(gateway: EarlyGateway, store: FleetStore) {
    this.#gateway = gateway;
    this.#store = store;
  }

  /** To be called once every listener is in place. */
  open(): void {
    this.#gateway.deliver((message) => this.#handle(message));
  }

  say(message: ToWorker): void {
    this.#gateway.say(message);
  }

  #handle(message: FromWorker): void {
    switch (message.kind) {
      case 'rows':
        if (this.#store.membership === 0) performance.mark('first-rows');
        this.#store.alarmNames = message.alarms;
        this.#store.apply(message.delta, message.added, message.removed, performance.now());
        this.onRows();
        return;
      case 'connection':
        view.connection.value = message.state;
        return;
      case 'feed':
        view.feed.value = message.feed;
        return;
      case 'rates':
        view.rates.value = onGatewayClock(message.rates);
        return;
      case 'detail':
        this.onDetail(message);
        return;
      case 'history':
        this.onHistory(message);
        return;
      case 'fleets':
        view.fleets.value = message.fleets;
        return;
      case 'resync':
        this.onResync(message.reason);
        return;
      case 'interval':
        view.intervalMs.value = message.intervalMs;
        view.slowed.value = message.slowed;
        return;
      case 'expiring':
        view.expiresAt.value = Date.now() + message.inMs;
        return;
    }
  }
}

/** The worker measures ages with this machine's clock, which may be wrong. */
function onGatewayClock(rates: Rates): Rates {
  if (rates.lagMs === null) return rates;
  return { ...rates, lagMs: Math.max(0, rates.lagMs + view.clockSkewMs.peek()) };
}
