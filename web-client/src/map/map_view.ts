// The map: MapLibre below, the points and the overlay above, drawn from one camera.
// Invariant: both canvases above are drawn with the camera that MapLibre shows at that moment, and
// never more often than the pacer allows.

import mapWorkerUrl from 'virtual:map-worker-url';
import {
  AttributionControl,
  type GeoJSONSource,
  Map as MapLibre,
  ScaleControl,
  type StyleSpecification,
  setWorkerUrl,
} from 'maplibre-gl';
import type { FleetStore } from '../fleet/store';
import type { MapPlace, ServerConfig } from '../view/state';
import { COUNTED_OPACITY, Counts, isCounting } from './counts';
import { markAssetsDrawn } from './first_sight';
import type { Cell } from './grid';
import { type Camera, camera, latOf, lonOf, worldZoom } from './mercator';
import { Overlay, type OverlayScene } from './overlay';
import { Pacer } from './pacer';
import { PALETTES, pointColors, type Theme } from './palette';
import { pick } from './pick';
import { pointSize } from './point_size';
import { listenToPointer, type PointerListener } from './pointer';
import { type PointStyle, PointsLayer } from './points';
import { LATER, offlineStyle, STAND_INS, sourceUrl } from './style';

setWorkerUrl(mapWorkerUrl);

const ARROWS_FROM_ZOOM = 7.5;
const LABELS_FROM_ZOOM = 10.5;
const REVEAL_ZOOM = 9;
/** Following glides from fix to fix where a frame costs less than this. */
const SMOOTH_COST_MS = 6;
const FOLLOW_MS = 900;
/** Closer to the middle than this, an asset that is followed is there. */
const FOLLOW_FROM_PX = 2;
const REACH_PX = 14;

export class MapView {
  readonly map: MapLibre;
  readonly scene: OverlayScene = {
    cells: [],
    selected: null,
    hovered: null,
    trail: [],
    shape: null,
    draft: { shape: null, points: [] },
    labels: false,
  };
  grouping = true;
  /** How often the points were drawn, for measurements. */
  draws = 0;
  readonly #store: FleetStore;
  readonly #points: PointsLayer;
  readonly #overlay: Overlay;
  readonly #pacer = new Pacer();
  #theme: Theme = 'dark';
  #ownMapFailed = false;
  /** The operator's style could not be loaded; the map is the built-in one. */
  onOwnMapFailed: () => void = () => {};
  #styleName: string;
  /** Which of the basemap's larger sources are in use. */
  readonly #loaded = new Set<string>();
  #sync: WebGLSync | null = null;
  #request: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #camera: Camera;
  readonly #counts: Counts;
  #drewAssets: 'not yet' | 'under way' | 'done' = 'not yet';
  #tellDrawn: () => void = () => {};
  /** Resolves when a draw with assets is through the renderer. */
  readonly assetsDrawn = new Promise<void>((resolve) => {
    this.#tellDrawn = resolve;
  });

  constructor(container: HTMLElement, store: FleetStore, place: MapPlace, theme: Theme) {
    this.#store = store;
    this.#counts = new Counts(store);
    this.#theme = theme;
    this.#styleName = theme;
    this.map = new MapLibre({
      container,
      style: offlineStyle(PALETTES[theme], this.#loaded),
      center: [place.lon, place.lat],
      zoom: place.zoom,
      minZoom: minZoomOf(container),
      maxZoom: 18,
      maxPitch: 0,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      attributionControl: false,
      fadeDuration: 150,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.addControl(new AttributionControl({ compact: true }), 'bottom-right');
    this.map.addControl(new ScaleControl({ maxWidth: 110 }), 'bottom-right');
    const layer = (name: string) => {
      const canvas = document.createElement('canvas');
      canvas.className = name;
      canvas.setAttribute('aria-hidden', 'true');
      this.map.getCanvasContainer().append(canvas);
      return canvas;
    };
    this.#points = new PointsLayer(layer('points'), store);
    this.#overlay = new Overlay(layer('overlay'), store);
    this.#camera = this.#look();
    this.map.on('zoom', () => this.#loadDetail());
    this.map.on('styledata', () => this.#loadDetail());
    this.map.on('sourcedata', ({ sourceId, isSourceLoaded }) => {
      if (!isSourceLoaded || !sourceId || !this.#loaded.has(sourceId)) return;
      for (const { layer, until, minzoom, maxzoom } of STAND_INS) {
        if (until !== sourceId || !this.map.getLayer(layer)) continue;
        this.map.setLayerZoomRange(layer, minzoom, maxzoom);
      }
    });
    // MapLibre goes on without what is missing; here one finds why a map has holes.
    this.map.on('error', ({ error }) => console.warn(`map: ${error.message}`));
    this.map.on('move', () => this.draw(performance.now()));
    this.map.on('resize', () => {
      this.map.setMinZoom(minZoomOf(container));
      this.draw(performance.now());
    });
    this.#wake();
  }

  get pointsWork(): boolean {
    return this.#points.works;
  }

  get camera(): Camera {
    return this.#camera;
  }

  get place(): MapPlace {
    const { lng, lat } = this.map.getCenter();
    return { lon: lng, lat, zoom: this.map.getZoom() };
  }

  /** The operator did something: shows at the next frame. */
  invalidate(): void {
    this.#pacer.invalidate();
    this.#wake();
  }

  /** Something arrived, or grew older: shows soon. */
  dataChanged(): void {
    if (this.#drewAssets === 'not yet') this.#pacer.invalidate();
    this.#pacer.dataChanged();
    this.#sleep();
  }

  /** The operator's own map, where there is one, has the same colours in every theme. */
  setTheme(theme: Theme, basemap: ServerConfig['basemap']): void {
    this.#theme = theme;
    this.invalidate();
    const own = this.#ownMapFailed ? null : basemap;
    const name = own ? JSON.stringify(own) : theme;
    if (name === this.#styleName) return;
    this.#styleName = name;
    if (own?.style) void this.#showOwnStyle(own.style);
    else if (own?.tiles) this.map.setStyle(tilesStyle(own.tiles, own.attribution ?? ''));
    else this.map.setStyle(offlineStyle(PALETTES[theme], this.#loaded), { diff: true });
  }

  async #showOwnStyle(url: string): Promise<void> {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`${response.status}`);
      this.map.setStyle((await response.json()) as StyleSpecification, { diff: false });
    } catch (error) {
      console.warn(`${url}: ${(error as Error).message}`);
      this.#ownMapFailed = true;
      this.setTheme(this.#theme, null);
      this.onOwnMapFailed();
    }
  }

  /** True where counts stand in for points. */
  get counting(): boolean {
    return this.grouping && isCounting(this.#store, this.map.getZoom());
  }

  pickAt(x: number, y: number): number | null {
    return pick(this.#store, this.#camera, x, y, REACH_PX, performance.now());
  }

  cellAt(x: number, y: number): Cell | null {
    for (const cell of this.scene.cells) {
      const dx = ((cell.x - this.#camera.x) | 0) * this.#camera.scale + this.#camera.width / 2 - x;
      const dy = (cell.y - this.#camera.y) * this.#camera.scale + this.#camera.height / 2 - y;
      if (Math.hypot(dx, dy) < 26) return cell;
    }
    return null;
  }

  lonLat(row: number): [number, number] {
    const now = performance.now();
    return [lonOf(this.#store.positionX(row, now)), latOf(this.#store.positionY(row, now))];
  }

  lonLatOf({ x, y }: { x: number; y: number }): [number, number] {
    return [lonOf(x), latOf(y)];
  }

  /** Brings an asset into view; keeps the zoom when it is close enough already. */
  reveal(row: number): void {
    const zoom = Math.max(this.map.getZoom(), REVEAL_ZOOM);
    const camera = { center: this.lonLat(row), zoom };
    if (zoom - this.map.getZoom() > 4 || reducedMotion()) this.map.jumpTo(camera);
    else this.map.easeTo({ ...camera, duration: 450 });
  }

  /** Keeps an asset in the middle; smoothly only where frames are cheap. */
  follow(row: number): void {
    const camera = { center: this.lonLat(row), zoom: Math.max(this.map.getZoom(), REVEAL_ZOOM) };
    if (this.map.isZooming() || this.map.isMoving()) return;
    const { x, y } = this.map.project(camera.center);
    const away = Math.hypot(x - this.#camera.width / 2, y - this.#camera.height / 2);
    if (away < FOLLOW_FROM_PX && camera.zoom === this.map.getZoom()) return;
    if (this.#pacer.costMs > SMOOTH_COST_MS || reducedMotion()) this.map.jumpTo(camera);
    else this.map.easeTo({ ...camera, duration: FOLLOW_MS, easing: (t) => t });
  }

  zoomBy(levels: number): void {
    this.map.zoomTo(this.map.getZoom() + levels, { duration: reducedMotion() ? 0 : 250 });
  }

  /** Zooms to what the filters show. */
  fitShown(): void {
    let west = 180;
    let east = -180;
    let south = 90;
    let north = -90;
    const now = performance.now();
    for (let row = 0; row < this.#store.size; row++) {
      if (!this.#store.isAlive(row) || this.#store.isHidden(row)) continue;
      const lon = lonOf(this.#store.positionX(row, now));
      const lat = latOf(this.#store.positionY(row, now));
      west = Math.min(west, lon);
      east = Math.max(east, lon);
      south = Math.min(south, lat);
      north = Math.max(north, lat);
    }
    if (west > east) return;
    this.map.fitBounds([west, south, east, north], { padding: 60, maxZoom: 13, duration: 0 });
  }

  onPointer(listener: PointerListener): void {
    listenToPointer(this, listener);
  }

  draw(now: number): void {
    this.#camera = this.#look();
    const zoom = this.map.getZoom();
    const counting = this.counting;
    this.scene.cells = counting ? this.#counts.cells(zoom, this.#camera.scale, now) : [];
    this.scene.labels = zoom >= LABELS_FROM_ZOOM;
    const colors = PALETTES[this.#theme];
    const style: PointStyle = {
      size: pointSize(zoom),
      arrows: zoom >= ARROWS_FROM_ZOOM,
      opacity: counting ? COUNTED_OPACITY : 1,
      colors: pointColors(colors),
    };
    this.#points.draw(this.#camera, style, now, this.#pacer.isSlow);
    this.#overlay.draw(this.#camera, colors, this.scene, now);
    if (this.#drewAssets === 'not yet' && this.#store.alive > 0) this.#drewAssets = 'under way';
    this.draws += 1;
    this.#pacer.started(now);
    this.#sync ??= this.#points.fence();
    this.#sleep();
  }

  #frame(now: number): void {
    if (this.#pacer.waiting && (!this.#sync || this.#points.finished(this.#sync))) {
      this.#sync = null;
      this.#drawn(now);
    }
    if (this.#pacer.due(now, this.#pxPerMs)) this.draw(now);
    else this.#sleep();
  }

  get #pxPerMs(): number {
    return this.#store.fastest * this.#camera.scale;
  }

  #wake(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#request ??= requestAnimationFrame((now) => {
      this.#request = undefined;
      this.#frame(now);
    });
  }

  /** Until the next draw is due the page asks the browser for no frames: each has its price. */
  #sleep(): void {
    if (this.#request !== undefined) return;
    clearTimeout(this.#timer);
    // A draw under way is looked at in every frame: what it costs is measured in frames.
    const wait = this.#pacer.waiting ? 0 : this.#pacer.waitMs(performance.now(), this.#pxPerMs);
    if (wait <= 0) this.#wake();
    else this.#timer = setTimeout(() => this.#wake(), wait);
  }

  #drawn(now: number): void {
    this.#pacer.finished(now);
    if (this.#drewAssets !== 'under way') return;
    this.#drewAssets = 'done';
    markAssetsDrawn();
    this.#tellDrawn();
  }

  #loadDetail(): void {
    const zoom = this.map.getZoom();
    for (const [id, later] of Object.entries(LATER)) {
      if (zoom < later.zoom || this.#loaded.has(id)) continue;
      const source = this.map.getSource<GeoJSONSource>(id);
      if (!source) continue;
      this.#loaded.add(id);
      void source.setData(sourceUrl(later.url));
    }
  }

  #look(): Camera {
    const { lng, lat } = this.map.getCenter();
    const box = this.map.getContainer();
    return camera(lng, lat, this.map.getZoom(), box.clientWidth, box.clientHeight);
  }
}

export const reducedMotion = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;

function tilesStyle(tiles: string, attribution: string): StyleSpecification {
  // Not by `URL`, which would escape the braces.
  const absolute = tiles.startsWith('/') ? location.origin + tiles : tiles;
  return {
    version: 8,
    sources: {
      tiles: { type: 'raster', tiles: [absolute], tileSize: 256, attribution },
    },
    layers: [{ id: 'tiles', type: 'raster', source: 'tiles' }],
  };
}

const minZoomOf = ({ clientWidth, clientHeight }: HTMLElement): number =>
  worldZoom(clientWidth, clientHeight);
