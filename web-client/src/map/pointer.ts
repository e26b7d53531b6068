// Hovering and clicking on the map.
// Invariant: one pick per frame at most, however fast the pointer moves.

import type { MapView } from './map_view';
import { reducedMotion } from './map_view';

export interface PointerListener {
  hover(row: number | null): void;
  select(row: number | null): void;
  /** True while the pointer belongs to a drawing tool. */
  drawing(): boolean;
}

const COUNT_ZOOM_STEP = 2.2;

export function listenToPointer(view: MapView, listener: PointerListener): void {
  const { map } = view;
  let waiting = false;
  map.on('mousemove', ({ point }) => {
    if (waiting || listener.drawing()) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const cell = view.cellAt(point.x, point.y);
      const row = cell ? null : view.pickAt(point.x, point.y);
      map.getCanvas().style.cursor = cell || row !== null ? 'pointer' : '';
      listener.hover(row);
    });
  });
  map.on('mouseout', () => listener.hover(null));
  map.on('click', ({ point }) => {
    if (listener.drawing()) return;
    const cell = view.cellAt(point.x, point.y);
    if (!cell) {
      listener.select(view.pickAt(point.x, point.y));
      return;
    }
    map.easeTo({
      center: view.lonLatOf(cell),
      zoom: map.getZoom() + COUNT_ZOOM_STEP,
      duration: reducedMotion() ? 0 : 400,
    });
  });
}
