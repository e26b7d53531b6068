// Which rows are worth drawing on a renderer that pays for every point: those in view, and of those that
// share a pixel only the ones on top.
// Invariant: an asset that is left out is out of view, or lies under others that are drawn.

import type { FleetStore } from '../fleet/store';
import { type Camera, screenX, screenY } from './mercator';

/** Translucent points add up: of those on one pixel, as many as still make it visibly denser. */
const PER_PIXEL_MAX = 2;
/** The largest point reaches this far into the view from a middle outside. */
const MARGIN_PX = 20;

export class Thinner {
  #rows = new Uint32Array(0);
  #taken = new Uint8Array(0);

  /** In the order of the store, so that what lies on top stays there. Valid until the next call. */
  rows(store: FleetStore, view: Camera, nowMs: number): Uint32Array {
    const width = Math.ceil(view.width) + 2 * MARGIN_PX;
    const height = Math.ceil(view.height) + 2 * MARGIN_PX;
    if (this.#taken.length === width * height) this.#taken.fill(0);
    else this.#taken = new Uint8Array(width * height);
    if (this.#rows.length < store.size) this.#rows = new Uint32Array(store.ts.length);
    const rows = this.#rows;
    let first = rows.length;
    for (let row = store.size - 1; row >= 0; row--) {
      if (!store.isAlive(row) || store.isHidden(row)) continue;
      const x = Math.floor(screenX(view, store.positionX(row, nowMs))) + MARGIN_PX;
      if (x < 0 || x >= width) continue;
      const y = Math.floor(screenY(view, store.positionY(row, nowMs))) + MARGIN_PX;
      if (y < 0 || y >= height) continue;
      const pixel = y * width + x;
      if (this.#taken[pixel]! >= PER_PIXEL_MAX) continue;
      this.#taken[pixel]! += 1;
      first -= 1;
      rows[first] = row;
    }
    return rows.subarray(first);
  }
}
