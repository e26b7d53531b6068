// Where counts per cell stand in for crowded points, and which they are.
// Invariant: panning shows the same counts; they follow zoom and filters at once, and data at leisure.

import type { FleetStore } from '../fleet/store';
import { aggregate, type Cell, merged } from './grid';

/** Below this zoom, and with this many assets. */
const BELOW_ZOOM = 5;
const FROM_ASSETS = 500;
const CELL_PX = 76;
const AGE_MAX_MS = 1_000;
/** Of the points beneath the counts. */
export const COUNTED_OPACITY = 0.55;

export const isCounting = (store: FleetStore, zoom: number): boolean =>
  zoom < BELOW_ZOOM && store.alive > FROM_ASSETS;

export class Counts {
  readonly #store: FleetStore;
  #cells: Cell[] = [];
  #of = '';
  #at = 0;

  constructor(store: FleetStore) {
    this.#store = store;
  }

  cells(zoom: number, pxPerUnit: number, now: number): Cell[] {
    const cellsPerWorld = 2 ** Math.round(Math.log2((512 * 2 ** zoom) / CELL_PX));
    const of = `${cellsPerWorld}:${this.#store.looks}`;
    if (of !== this.#of || now - this.#at > AGE_MAX_MS) {
      this.#of = of;
      this.#at = now;
      this.#cells = merged(aggregate(this.#store, cellsPerWorld, now), pxPerUnit);
    }
    return this.#cells;
  }
}
