// A short card beside the asset under the pointer.
// Invariant: it repeats what the list says, so it is hidden from assistive technology.

import type { App } from '../app';
import * as format from '../format';
import { screenX, screenY } from '../map/mercator';
import { STATE_NAMES } from '../messages';
import * as view from '../view/state';

export function HoverCard({ app }: { app: App }) {
  const row = view.hoverRow.value;
  view.tick.value;
  const { store, map } = app;
  if (row === null || !map || !store.isAlive(row)) return null;
  const now = performance.now();
  const { camera } = map;
  const x = screenX(camera, store.positionX(row, now));
  const y = screenY(camera, store.positionY(row, now));
  if (x < 0 || y < 0 || x > camera.width || y > camera.height) return null;
  const units = view.units.value;
  const values = [
    format.speed(store.speedKmh[row]!, units),
    format.temperature(store.temperatureC[row]!, units),
    format.percent(store.fuelPct[row]!),
  ].filter((value) => value !== format.NONE);
  const left = x > camera.width - 260 ? x - 14 : x + 14;
  return (
    <div
      class={left < x ? 'hover hover-left' : 'hover'}
      style={{ left: `${left}px`, top: `${Math.max(8, y - 30)}px` }}
      aria-hidden="true"
    >
      <strong>{store.name[row] || store.id[row]}</strong>
      <span>
        {STATE_NAMES[store.state[row]!]} · {format.ago(app.now() - store.ts[row]!)}
      </span>
      <span>{values.join(' · ')}</span>
    </div>
  );
}
