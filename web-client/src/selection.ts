// The one asset that is selected: its detail, its past, and the map following it.
// Invariant: the selection is a key, not a row, so it survives reloads, resyncs and scope changes.

import type { Asset, TrackPoint } from 'fleetcast-client';
import { Series } from './fleet/series';
import type { FleetStore } from './fleet/store';
import type { GatewayLink } from './gateway/link';
import type { MapView } from './map/map_view';
import * as view from './view/state';

const HISTORY_MS = 60 * 60 * 1_000;

export class Selection {
  readonly series = new Series();
  readonly #store: FleetStore;
  readonly #link: GatewayLink;
  readonly #map: () => MapView | null;
  #row: number | null = null;
  #revealWhenFound = false;

  constructor(store: FleetStore, link: GatewayLink, map: () => MapView | null) {
    this.#store = store;
    this.#link = link;
    this.#map = map;
    link.onDetail = ({ row, asset }) => this.#detail(row, asset);
    link.onHistory = ({ row, track }) => this.#history(row, track);
    this.#revealWhenFound = view.place.peek() === null;
  }

  get row(): number | null {
    return this.#row;
  }

  select(key: string | null, reveal: boolean): void {
    if (key !== view.selectedKey.peek()) view.follow.value = false;
    this.#revealWhenFound = false;
    view.selectedKey.value = key;
    this.#take(key === null ? null : (this.#store.rowOfKey(key) ?? null));
    if (this.#row !== null && reveal) this.#map()?.reveal(this.#row);
  }

  /** Moves through the list by so many rows. */
  step(by: number): void {
    const rows = view.listRows.peek();
    if (rows.length === 0) return;
    const at = this.#row === null ? -1 : rows.indexOf(this.#row);
    const next = at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by));
    this.select(this.#store.key(rows[next]!), true);
  }

  /** After assets came, went or moved. */
  rowsChanged(): void {
    const key = view.selectedKey.peek();
    if (key === null) return;
    const row = this.#store.rowOfKey(key) ?? null;
    if (row !== this.#row) {
      this.#take(row);
      this.#revealFound();
    }
    if (row !== null && view.follow.peek()) this.#map()?.follow(row);
  }

  /** The map may come up after the asset was found. */
  mapAttached(map: MapView): void {
    map.scene.selected = this.#row;
    map.scene.trail = this.series.points;
    this.#revealFound();
  }

  #revealFound(): void {
    const map = this.#map();
    if (!map || this.#row === null || !this.#revealWhenFound) return;
    this.#revealWhenFound = false;
    map.reveal(this.#row);
  }

  #take(row: number | null): void {
    this.#row = row;
    this.series.points = [];
    view.detail.value = null;
    this.#link.say({ kind: 'select', row });
    if (row !== null) {
      const fromTs = Date.now() - HISTORY_MS;
      this.#link.say({ kind: 'history', row, fromTs });
    }
    const map = this.#map();
    if (!map) return;
    map.scene.selected = row;
    map.scene.trail = [];
    map.invalidate();
  }

  #detail(row: number, asset: Asset): void {
    if (row !== this.#row) return;
    this.series.append(asset);
    view.detail.value = { row, asset };
    this.#drawTrail();
  }

  #history(row: number, track: TrackPoint[]): void {
    if (row !== this.#row) return;
    this.series.prepend(track);
    const { value } = view.detail;
    // A new object, so that the panel draws the longer sparklines at once.
    if (value) view.detail.value = { ...value };
    this.#drawTrail();
  }

  #drawTrail(): void {
    const map = this.#map();
    if (!map) return;
    map.scene.trail = this.series.points;
    map.dataChanged();
  }
}
