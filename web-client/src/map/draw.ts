// Drawing an area on the map: box, circle or polygon.
// Invariant: while a tool is active the map does not pan, and it always ends by finishing or cancel.

import type { Shape } from 'fleetcast-client';
import type { DrawTool } from '../view/state';
import type { MapView } from './map_view';

const EARTH_RADIUS_M = 6_371_008.8;
const SIZE_MIN_PX = 6;
/** What the gateway accepts is far more; by hand nobody draws this many. */
const CORNERS_MAX = 200;
const CLOSE_PX = 12;

type LonLat = [number, number];

export class Drawer {
  readonly #view: MapView;
  readonly #done: (shape: Shape | null) => void;
  readonly #stop = new AbortController();
  readonly #tool: DrawTool;
  #anchor: { x: number; y: number } | null = null;
  #corners: LonLat[] = [];

  constructor(view: MapView, tool: DrawTool, done: (shape: Shape | null) => void) {
    this.#view = view;
    this.#tool = tool;
    this.#done = done;
    view.map.dragPan.disable();
    view.map.doubleClickZoom.disable();
    view.map.boxZoom.disable();
    const element = view.map.getCanvasContainer();
    element.classList.add('drawing');
    const on = (name: string, act: (event: PointerEvent) => void) =>
      element.addEventListener(name, act as EventListener, { signal: this.#stop.signal });
    if (tool === 'polygon') {
      on('click', (event) => this.#corner(event));
      on('dblclick', () => this.finish());
      on('pointermove', (event) => this.#rubber(event));
    } else {
      on('pointerdown', (event) => {
        element.setPointerCapture(event.pointerId);
        this.#anchor = this.#at(event);
      });
      on('pointermove', (event) => this.#stretch(event));
      on('pointerup', (event) => this.#release(event));
    }
  }

  /** Ends a polygon that has corners enough; true when there was something to end. */
  finish(): boolean {
    if (this.#tool !== 'polygon') return false;
    if (this.#corners.length < 3) return false;
    this.#end({ polygon: this.#corners });
    return true;
  }

  cancel(): void {
    this.#end(null);
  }

  #at(event: PointerEvent): { x: number; y: number } {
    const box = this.#view.map.getCanvas().getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #lonLat({ x, y }: { x: number; y: number }): LonLat {
    const { lng, lat } = this.#view.map.unproject([x, y]);
    return [wrapLon(lng), Math.max(-85, Math.min(85, lat))];
  }

  #stretch(event: PointerEvent): void {
    if (!this.#anchor) return;
    this.#view.scene.draft.shape = this.#shape(this.#anchor, this.#at(event));
    this.#view.invalidate();
  }

  #release(event: PointerEvent): void {
    const anchor = this.#anchor;
    this.#anchor = null;
    if (!anchor) return;
    const end = this.#at(event);
    const size = Math.hypot(end.x - anchor.x, end.y - anchor.y);
    // A click without a drag is a slip, not a region of no size.
    if (size >= SIZE_MIN_PX) this.#end(this.#shape(anchor, end));
  }

  #shape(from: { x: number; y: number }, to: { x: number; y: number }): Shape {
    if (this.#tool === 'circle') {
      const [lon, lat] = this.#lonLat(from);
      return { circle: { lon, lat, radius_m: distanceM([lon, lat], this.#lonLat(to)) } };
    }
    const [w, n] = this.#lonLat({ x: Math.min(from.x, to.x), y: Math.min(from.y, to.y) });
    const [e, s] = this.#lonLat({ x: Math.max(from.x, to.x), y: Math.max(from.y, to.y) });
    return { bbox: [w, s, e, n] };
  }

  #corner(event: PointerEvent): void {
    const at = this.#at(event);
    const first = this.#corners[0];
    if (first && this.#corners.length >= 3) {
      const start = this.#view.map.project(first);
      if (Math.hypot(start.x - at.x, start.y - at.y) < CLOSE_PX) {
        this.finish();
        return;
      }
    }
    // The second click of a double click repeats the corner.
    const last = this.#corners.at(-1);
    const before = last && this.#view.map.project(last);
    if (before && Math.hypot(before.x - at.x, before.y - at.y) < 3) return;
    if (this.#corners.length < CORNERS_MAX) this.#corners.push(this.#lonLat(at));
    this.#show(this.#corners);
  }

  #rubber(event: PointerEvent): void {
    if (this.#corners.length > 0) this.#show([...this.#corners, this.#lonLat(this.#at(event))]);
  }

  #show(corners: LonLat[]): void {
    this.#view.scene.draft = { shape: { polygon: corners }, points: this.#corners };
    this.#view.invalidate();
  }

  #end(shape: Shape | null): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    const { map, scene } = this.#view;
    map.getCanvasContainer().classList.remove('drawing');
    map.dragPan.enable();
    map.boxZoom.enable();
    // Later, or the double click that ends a polygon also zooms.
    setTimeout(() => map.doubleClickZoom.enable(), 300);
    scene.draft = { shape: null, points: [] };
    this.#view.invalidate();
    this.#done(shape);
  }
}

export function wrapLon(lon: number): number {
  return ((((lon + 180) % 360) + 360) % 360) - 180;
}

export function distanceM(a: LonLat, b: LonLat): number {
  const rad = Math.PI / 180;
  const dLat = (b[1] - a[1]) * rad;
  const dLon = (b[0] - a[0]) * rad;
  const h =
    Math.sin(dLat / 2) ** 2 + Math.cos(a[1] * rad) * Math.cos(b[1] * rad) * Math.sin(dLon / 2) ** 2;
  return 2 * EARTH_RADIUS_M * Math.asin(Math.min(1, Math.sqrt(h)));
}
