// Finds the asset under the pointer.
// Invariant: hidden and removed assets are never picked.

import type { FleetStore } from '../fleet/store';
import { type Camera, screenX, screenY } from './mercator';

export function pick(
  store: FleetStore,
  view: Camera,
  x: number,
  y: number,
  reachPx: number,
  nowMs: number,
): number | null {
  let best: number | null = null;
  let nearest = reachPx * reachPx;
  for (let row = 0; row < store.size; row++) {
    if (!store.isAlive(row) || store.isHidden(row)) continue;
    const dx = screenX(view, store.positionX(row, nowMs)) - x;
    if (dx > reachPx || dx < -reachPx) continue;
    const dy = screenY(view, store.positionY(row, nowMs)) - y;
    const distance = dx * dx + dy * dy;
    if (distance <= nearest) {
      nearest = distance;
      best = row;
    }
  }
  return best;
}
