// Holds the parts together: gateway link, store, map and the view's signals.
// Invariant: the only place that knows them all; parts never reach for each other.

import { batch, effect, type Signal } from '@preact/signals';
import type { Bbox, Shape } from 'fleetcast-client';
import { ListOrder } from './fleet/order';
import { ALL_STATES, refresh, SearchIndex, type Thresholds } from './fleet/refresh';
import { FleetStore } from './fleet/store';
import type { EarlyGateway } from './gateway/early';
import { GatewayLink } from './gateway/link';
import type { Scope } from './gateway/messages';
import { Drawer, wrapLon } from './map/draw';
import type { MapView } from './map/map_view';
import { screenX, screenY } from './map/mercator';
import { t } from './messages';
import { Selection } from './selection';
import { loadConfig } from './view/config';
import { keepToken } from './view/persist';
import * as view from './view/state';

/** States, counts and the list follow the data at this pace; positions follow at once. */
const REFRESH_MS = 500;

export class App {
  readonly store = new FleetStore();
  readonly link: GatewayLink;
  readonly selection: Selection;
  map: MapView | null = null;
  drawer: Drawer | null = null;
  readonly #search = new SearchIndex();
  readonly #order = new ListOrder();
  #refreshedAt = Number.NEGATIVE_INFINITY;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(gateway: EarlyGateway) {
    this.link = new GatewayLink(gateway, this.store);
    this.selection = new Selection(this.store, this.link, () => this.map);
    this.link.onRows = () => {
      this.map?.dataChanged();
      this.selection.rowsChanged();
      this.refreshSoon();
    };
    this.link.onResync = (reason) => this.notify(t.resyncReason[reason] ?? t.resynced);
    // Ages grow even when nothing arrives.
    setInterval(() => this.refreshSoon(), 1_000);
    document.addEventListener('visibilitychange', () =>
      this.link.say({ kind: 'visible', visible: !document.hidden }),
    );
    this.#sayWhenBack();
    this.#heedReducedMotion();
    this.link.open();
  }

  useToken(token: string): void {
    keepToken(token);
    view.expiresAt.value = null;
    this.link.say({ kind: 'token', token });
  }

  attachMap(map: MapView): void {
    this.map = map;
    map.scene.shape = view.scope.peek().shape;
    this.selection.mapAttached(map);
    map.map.on('moveend', () => {
      view.place.value = map.place;
      if (view.inViewOnly.peek()) this.refreshSoon();
    });
    map.onOwnMapFailed = () => this.notify(t.ownMapFailed, 15_000);
    map.map.on('dragstart', () => {
      view.follow.value = false;
    });
    effect(() => {
      map.grouping = view.grouping.value;
      map.scene.shape = view.scope.value.shape;
      map.invalidate();
    });
    map.onPointer({
      hover: (row) => this.hover(row),
      select: (row) => this.selection.select(row === null ? null : this.store.key(row), false),
      drawing: () => this.drawer !== null,
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

  /** Changes a filter, and shows the result at once. */
  set<T>(filter: Signal<T>, value: T): void {
    filter.value = value;
    this.refreshNow();
  }

  toggleState(state: number): void {
    const chosen = view.states.peek();
    const bit = 1 << state;
    // From "all" a click asks for that one alone; the last one off means all again.
    const next = chosen === ALL_STATES ? bit : chosen ^ bit;
    this.set(view.states, next === 0 ? ALL_STATES : next);
  }

  clearFilters(): void {
    batch(() => {
      view.states.value = ALL_STATES;
      view.query.value = '';
      view.assetKind.value = '';
      view.alertsOnly.value = false;
      view.inViewOnly.value = false;
    });
    this.refreshNow();
  }

  refreshSoon(): void {
    if (this.#refreshTimer !== undefined) return;
    const wait = Math.max(0, this.#refreshedAt + REFRESH_MS - performance.now());
    this.#refreshTimer = setTimeout(() => {
      this.#refresh();
      this.map?.dataChanged();
    }, wait);
  }

  refreshNow(): void {
    this.#refresh();
    this.map?.invalidate();
  }

  #refresh(): void {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = undefined;
    this.#refreshedAt = performance.now();
    const criteria = {
      states: view.states.peek(),
      query: view.query.peek().trim().toLowerCase(),
      assetKind: view.assetKind.peek(),
      alertsOnly: view.alertsOnly.peek(),
    };
    const limits = this.thresholds();
    const summary = refresh(this.store, criteria, limits, this.#search, this.now());
    const map = view.inViewOnly.peek() ? this.map : null;
    const inView = map ? (row: number) => this.#isInView(map, row) : undefined;
    batch(() => {
      view.summary.value = summary;
      view.listRows.value = this.#order.rows(this.store, view.sortBy.peek(), inView);
      view.tick.value += 1;
    });
  }

  hover(row: number | null): void {
    if (view.hoverRow.peek() === row) return;
    view.hoverRow.value = row;
    if (!this.map) return;
    this.map.scene.hovered = row;
    this.map.invalidate();
  }

  toggleFollow(): void {
    if (this.selection.row === null) return;
    view.follow.value = !view.follow.peek();
    if (view.follow.peek()) this.map?.reveal(this.selection.row);
  }

  centre(): void {
    if (this.selection.row !== null) this.map?.reveal(this.selection.row);
  }

  fitAll(): void {
    this.map?.fitShown();
  }

  async copyLink(): Promise<void> {
    await navigator.clipboard?.writeText(location.href).catch(() => undefined);
    this.notify(t.copied, 2_500);
  }

  draw(tool: view.DrawTool): void {
    if (!this.map) return;
    this.drawer?.cancel();
    view.drawing.value = tool;
    this.drawer = new Drawer(this.map, tool, (shape) => {
      this.drawer = null;
      view.drawing.value = null;
      if (shape) this.watch({ ...view.scope.peek(), shape });
    });
  }

  /** Watches what the map shows at this moment: an area without a pointer. */
  watchView(): void {
    const bounds = this.map?.map.getBounds();
    if (!bounds) return;
    const wide = bounds.getEast() - bounds.getWest() >= 360;
    const bbox: Bbox = [
      wide ? -180 : wrapLon(bounds.getWest()),
      Math.max(-85, bounds.getSouth()),
      wide ? 180 : wrapLon(bounds.getEast()),
      Math.min(85, bounds.getNorth()),
    ];
    this.watch({ ...view.scope.peek(), shape: { bbox } });
  }

  watchAll(): void {
    this.watch({ fleets: [], shape: null });
  }

  watch(scope: Scope): void {
    view.scope.value = scope;
    this.link.say({ kind: 'scope', scope });
  }

  watchShape(shape: Shape | null): void {
    this.watch({ ...view.scope.peek(), shape });
  }

  /** One step back: drawing, then sheet, then selection. */
  escape(): void {
    if (this.drawer) this.drawer.cancel();
    else if (view.sheet.peek() !== 'none') view.sheet.value = 'none';
    else this.selection.select(null, false);
  }

  notify(text: string, forMs = 6_000): void {
    const until = Date.now() + forMs;
    view.notice.value = { text, until };
    setTimeout(() => {
      if (view.notice.peek()?.until === until) view.notice.value = null;
    }, forMs);
  }

  #isInView(map: MapView, row: number): boolean {
    const now = performance.now();
    const x = screenX(map.camera, this.store.positionX(row, now));
    if (x < 0 || x > map.camera.width) return false;
    const y = screenY(map.camera, this.store.positionY(row, now));
    return y >= 0 && y <= map.camera.height;
  }

  #heedReducedMotion(): void {
    const reduced = matchMedia('(prefers-reduced-motion: reduce)');
    const heed = () => {
      this.store.glides = !reduced.matches;
    };
    heed();
    reduced.addEventListener('change', heed);
  }

  /** After an outage the operator wants to hear that the map can be trusted again. */
  #sayWhenBack(): void {
    let wasDown = false;
    effect(() => {
      if (view.connection.value.kind === 'reconnecting' && this.store.alive > 0) wasDown = true;
      if (
        wasDown &&
        view.connection.value.kind === 'connected' &&
        view.feed.value.kind === 'live'
      ) {
        wasDown = false;
        this.notify(t.resynced);
        // It may be another replica that answers now.
        void loadConfig();
      }
    });
  }
}
