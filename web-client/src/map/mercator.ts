// Web Mercator in 32-bit fixed point: 9 mm at the equator, and x wraps as integers do.
// Invariant: pure arithmetic; nothing here knows of the DOM or of MapLibre.

const WORLD = 2 ** 32;
const LAT_MAX = 85.0511287798066;

export function fixedX(lon: number): number {
  return Math.round(((lon + 180) / 360) * WORLD) >>> 0;
}

export function fixedY(lat: number): number {
  const clamped = Math.max(-LAT_MAX, Math.min(LAT_MAX, lat));
  const sine = Math.sin((clamped * Math.PI) / 180);
  const y = 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
  return Math.max(0, Math.min(WORLD - 1, Math.round(y * WORLD)));
}

export function lonOf(x: number): number {
  return (x / WORLD) * 360 - 180;
}

export function latOf(y: number): number {
  return (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / WORLD))) * 180) / Math.PI;
}

/** A view without rotation or pitch: all that projecting takes. */
export interface Camera {
  /** Of the centre, 32-bit fixed point. */
  x: number;
  y: number;
  /** CSS pixels per unit of fixed point. */
  scale: number;
  width: number;
  height: number;
}

export function camera(
  lon: number,
  lat: number,
  zoom: number,
  width: number,
  height: number,
): Camera {
  return { x: fixedX(lon), y: fixedY(lat), scale: (512 * 2 ** zoom) / WORLD, width, height };
}

/** One copy of the world fills the view, so that each asset is on screen at most once. */
export function worldZoom(width: number, height: number): number {
  return Math.max(0, Math.log2(Math.max(width, height, 1) / 512));
}

/** The zoom that the map grants to a wish. */
export const startZoom = (zoom: number, width: number, height: number): number =>
  Math.max(zoom, worldZoom(width, height));

/** The camera that the map comes up with: it never shows what is beyond a pole. */
export function startCamera(
  lon: number,
  lat: number,
  zoom: number,
  width: number,
  height: number,
): Camera {
  const wished = camera(lon, lat, zoom, width, height);
  const half = Math.min(WORLD / 2, height / 2 / wished.scale);
  return { ...wished, y: Math.max(half, Math.min(WORLD - half, wished.y)) };
}

/** Pixels from the left edge; of the copies of the world, the one nearest to the centre. */
export function screenX(view: Camera, x: number): number {
  return ((x - view.x) | 0) * view.scale + view.width / 2;
}

export function screenY(view: Camera, y: number): number {
  return (y - view.y) * view.scale + view.height / 2;
}
