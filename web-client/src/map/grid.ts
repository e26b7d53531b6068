// Counts per grid cell, for zooms where single points would only be a smear.
// Invariant: every shown asset is counted in exactly one cell.

import { type FleetStore, STATES } from '../fleet/store';

export interface Cell {
  /** Mean position of what is counted, 32-bit Mercator. */
  x: number;
  y: number;
  count: number;
  alerts: number;
  states: number[];
}

/** Cells keep their place while panning: they are cut from the world, not from the screen. */
export function aggregate(store: FleetStore, cellsPerWorld: number, nowMs: number): Cell[] {
  const size = 2 ** 32 / cellsPerWorld;
  const cells = new Map<number, Cell & { sumX: number; sumY: number }>();
  for (let row = 0; row < store.size; row++) {
    if (!store.isAlive(row) || store.isHidden(row)) continue;
    const x = store.positionX(row, nowMs);
    const y = store.positionY(row, nowMs);
    const key = Math.floor(x / size) * cellsPerWorld + Math.floor(y / size);
    let cell = cells.get(key);
    if (!cell) {
      cell = { x: 0, y: 0, sumX: 0, sumY: 0, count: 0, alerts: 0, states: STATES.map(() => 0) };
      cells.set(key, cell);
    }
    cell.sumX += x;
    cell.sumY += y;
    cell.count += 1;
    if (store.alerts[row]) cell.alerts += 1;
    cell.states[store.state[row]!]! += 1;
  }
  for (const cell of cells.values()) {
    cell.x = cell.sumX / cell.count;
    cell.y = cell.sumY / cell.count;
  }
  return [...cells.values()];
}

/** Circles that would overlap become one, the larger taking the smaller in. */
export function merged(cells: Cell[], pxPerUnit: number): Cell[] {
  const kept: Cell[] = [];
  for (const cell of cells.sort((a, b) => b.count - a.count)) {
    const host = kept.find((other) => {
      const apart = Math.hypot((cell.x - other.x) | 0, cell.y - other.y) * pxPerUnit;
      return apart < (bubbleRadius(cell.count) + bubbleRadius(other.count)) * TOUCH;
    });
    if (host) absorb(host, cell);
    else kept.push({ ...cell, states: [...cell.states] });
  }
  return kept;
}

/** Circles may touch and overlap a little before they merge. */
const TOUCH = 0.92;

function absorb(host: Cell, cell: Cell): void {
  const total = host.count + cell.count;
  host.x = (host.x + (((cell.x - host.x) | 0) * cell.count) / total) >>> 0;
  host.y += ((cell.y - host.y) * cell.count) / total;
  host.count = total;
  host.alerts += cell.alerts;
  cell.states.forEach((count, state) => {
    host.states[state]! += count;
  });
}

/** In pixels: grows with the order of magnitude, so that a count of 10,000 still fits. */
export const bubbleRadius = (count: number): number =>
  Math.min(30, 11 + Math.log10(Math.max(1, count)) * 4.6);
