// Holds the parts together: gateway link, store, map and the view's signals.
// Invariant: the only place that knows them all; parts never reach for each other.

import { batch } from '@preact/signals';
import { ListOrder } from './fleet/order';
import { refresh, SearchIndex, type Thresholds } from './fleet/refresh';
import { FleetStore } from './fleet/store';
import { GatewayLink } from './gateway/link';
import type { MapView } from './map/map_view';
import { screenX, screenY } from './map/mercator';
import { t } from './messages';
import * as view from './view/state';

/** States, counts and the list follow the data at this pace; positions follow at once. */
const REFRESH_MS = 500;

export class App {
  readonly store = new FleetStore();
  readonly link = new GatewayLink(this.store);
  readonly #search = new SearchIndex();
  readonly #order = new ListOrder();
  #map: MapView | null = null;
  #refreshedAt = 0;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.link.onRows = () => {
      this.#map?.invalidate();
      this.refreshSoon();
    };
    this.link.onResync = (reason) => this.notify(t.resyncReason[reason] ?? t.resynced);
    // Ages grow even when nothing arrives.
    setInterval(() => this.refreshSoon(), 1_000);
  }

  get map(): MapView | null {
    return this.#map;
  }

  attachMap(map: MapView): void {
    this.#map = map;
    map.map.on('moveend', () => {
      if (view.inViewOnly.value) this.refreshSoon();
    });
  }

  /** The gateway's clock, so that ages do not depend on this machine's. */
  now(): number {
    return Date.now() + view.clockSkewMs.peek();
  }

  thresholds(): Thresholds {
    const { stale_after_ms, offline_after_ms } = view.config.peek();
    return {
      staleAfterMs: stale_after_ms,
      offlineAfterMs: offline_after_ms,
      silentAfterMs: offline_after_ms,
      temperatureMaxC: view.temperatureMaxC.peek(),
      fuelMinPct: view.fuelMinPct.peek(),
    };
  }

  refreshSoon(): void {
    if (this.#refreshTimer !== undefined) return;
    const wait = Math.max(0, this.#refreshedAt + REFRESH_MS - performance.now());
    this.#refreshTimer = setTimeout(() => this.refreshNow(), wait);
  }

  refreshNow(): void {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = undefined;
    this.#refreshedAt = performance.now();
    const summary = refresh(
      this.store,
      {
        states: view.states.peek(),
        query: view.query.peek().trim().toLowerCase(),
        assetKind: view.assetKind.peek(),
        alertsOnly: view.alertsOnly.peek(),
      },
      this.thresholds(),
      this.#search,
      this.now(),
    );
    const map = this.#map;
    const inView = view.inViewOnly.peek() && map ? (row: number) => this.#isInView(row) : undefined;
    batch(() => {
      view.summary.value = summary;
      view.listRows.value = this.#order.rows(this.store, view.sortBy.peek(), inView);
      view.tick.value += 1;
    });
    map?.invalidate();
  }

  #isInView(row: number): boolean {
    const camera = this.#map!.camera;
    const now = performance.now();
    const x = screenX(camera, this.store.positionX(row, now));
    if (x < 0 || x > camera.width) return false;
    const y = screenY(camera, this.store.positionY(row, now));
    return y >= 0 && y <= camera.height;
  }

  select(key: string | null, reveal: boolean): void {
    view.selectedKey.value = key;
    const row = key === null ? undefined : this.store.rowOfKey(key);
    this.link.say({ kind: 'select', row: row ?? null });
    if (this.#map) {
      this.#map.scene.selected = row ?? null;
      if (row !== undefined && reveal) this.#map.reveal(row);
      this.#map.invalidate();
    }
  }

  hover(row: number | null): void {
    view.hoverRow.value = row;
    if (!this.#map) return;
    this.#map.scene.hovered = row;
    this.#map.invalidate();
  }

  /** Moves the selection by so many rows of the list. */
  step(by: number): void {
    const rows = view.listRows.peek();
    if (rows.length === 0) return;
    const key = view.selectedKey.peek();
    const row = key === null ? undefined : this.store.rowOfKey(key);
    const at = row === undefined ? -1 : rows.indexOf(row);
    const next = at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by));
    this.select(this.store.key(rows[next]!), true);
  }

  listKey(event: KeyboardEvent): void {
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: 10,
      PageUp: -10,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    };
    const by = steps[event.key];
    if (by === undefined) return;
    event.preventDefault();
    if (Number.isFinite(by)) this.step(by);
    else this.step(by * 1e9 > 0 ? 1e9 : -1e9);
  }

  notify(text: string, forMs = 6_000): void {
    const until = Date.now() + forMs;
    view.notice.value = { text, until };
    setTimeout(() => {
      if (view.notice.peek()?.until === until) view.notice.value = null;
    }, forMs);
  }
}
