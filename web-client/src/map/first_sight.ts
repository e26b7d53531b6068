// What stands on the map before the map does: the assets as plain pixels, and their counts.
// Invariant: camera, colours and counts are those of the map that takes over, so nothing jumps.
//
// The first WebGL context waits for the browser's GPU process, and the map's shaders for their compiler:
// without a GPU that is one to two seconds in which a page that waits for them shows nothing.

import type { FleetStore } from '../fleet/store';
import type { MapPlace } from '../view/state';
import { COUNTED_OPACITY, Counts, isCounting } from './counts';
import { Pixels } from './dots';
import { type Camera, startCamera, startZoom } from './mercator';
import { Overlay, type OverlayScene } from './overlay';
import { type MapColors, pointColors } from './palette';
import { pointSize } from './point_size';

/** The map does not wait longer than this for assets, whatever keeps them. */
const WAIT_MAX_MS = 3_000;
/** Parts of a snapshot arrive by the dozen a second. */
const DRAW_EVERY_MS = 100;

/** A canvas that is read often is kept off the GPU, which is what everything here is about. */
const IN_SOFTWARE: CanvasRenderingContext2DSettings = { willReadFrequently: true };

export class FirstSight {
  /** Resolves when assets are on screen, or when there is no point in waiting for them. */
  readonly shown: Promise<void>;
  readonly #root: HTMLElement;
  readonly #store: FleetStore;
  readonly #place: MapPlace;
  readonly #colors: MapColors;
  readonly #grouping: boolean;
  readonly #dots: CanvasRenderingContext2D;
  readonly #overlay: Overlay;
  readonly #counts: Counts;
  readonly #giveUpAt = performance.now() + WAIT_MAX_MS;
  #pixels: Pixels | null = null;
  #drewAt = Number.NEGATIVE_INFINITY;
  #version = -1;
  #request = 0;
  #resolve: () => void = () => {};

  constructor(
    container: HTMLElement,
    store: FleetStore,
    place: MapPlace,
    colors: MapColors,
    grouping: boolean,
  ) {
    this.#store = store;
    this.#place = place;
    this.#colors = colors;
    this.#grouping = grouping;
    this.#counts = new Counts(store);
    this.#root = document.createElement('div');
    this.#root.className = 'first-sight';
    this.#root.setAttribute('aria-hidden', 'true');
    const layer = (name: string) => {
      const canvas = document.createElement('canvas');
      canvas.className = name;
      this.#root.append(canvas);
      return canvas;
    };
    this.#dots = layer('dots').getContext('2d', IN_SOFTWARE) as CanvasRenderingContext2D;
    this.#overlay = new Overlay(layer('overlay'), store, IN_SOFTWARE);
    container.append(this.#root);
    this.shown = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const frame = (now: number) => {
      this.#request = requestAnimationFrame(frame);
      this.#frame(now);
    };
    this.#request = requestAnimationFrame(frame);
  }

  /** Nothing will come that is worth waiting for. */
  giveUp(): void {
    this.#resolve();
  }

  /** The map is on screen with all of this. */
  remove(): void {
    cancelAnimationFrame(this.#request);
    this.#root.remove();
    this.#pixels = null;
  }

  #frame(now: number): void {
    if (now > this.#giveUpAt) this.#resolve();
    if (this.#store.version === this.#version || now - this.#drewAt < DRAW_EVERY_MS) return;
    this.#version = this.#store.version;
    this.#drewAt = now;
    if (this.#draw(now) === 0) return;
    // Not before the browser has shown the frame: what comes next may block it for a second.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        markAssetsDrawn();
        this.#resolve();
      }),
    );
  }

  #draw(now: number): number {
    const { clientWidth: width, clientHeight: height } = this.#root;
    if (width === 0 || height === 0) return 0;
    const zoom = startZoom(this.#place.zoom, width, height);
    const view = startCamera(this.#place.lon, this.#place.lat, zoom, width, height);
    const counting = this.#grouping && isCounting(this.#store, zoom);
    const inView = this.#paint(view, zoom, counting, now);
    const scene: OverlayScene = { ...NOTHING };
    if (counting) scene.cells = this.#counts.cells(zoom, view.scale, now);
    this.#overlay.draw(view, this.#colors, scene, now);
    return inView;
  }

  #paint(view: Camera, zoom: number, counting: boolean, now: number): number {
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    const width = Math.round(view.width * ratio);
    const height = Math.round(view.height * ratio);
    const { canvas } = this.#dots;
    if (this.#pixels?.width !== width || this.#pixels.height !== height) {
      this.#pixels = new Pixels(width, height);
      canvas.width = width;
      canvas.height = height;
    }
    const style = {
      sizePx: pointSize(zoom) * ratio,
      opacity: counting ? COUNTED_OPACITY : 1,
      colors: pointColors(this.#colors),
    };
    const inView = this.#pixels.paint(this.#store, view, style, now);
    this.#dots.putImageData(new ImageData(this.#pixels.bytes, width, height), 0, 0);
    return inView;
  }
}

const NOTHING: OverlayScene = {
  cells: [],
  selected: null,
  hovered: null,
  trail: [],
  shape: null,
  draft: { shape: null, points: [] },
  labels: false,
};

const ASSETS_DRAWN = 'first-assets-drawn';

/** Once per page: what "first asset on screen" is measured by. */
export function markAssetsDrawn(): void {
  if (performance.getEntriesByName(ASSETS_DRAWN).length === 0) performance.mark(ASSETS_DRAWN);
}
