// The 2D canvas above the points: counts, the selected asset and its trail, names, shapes.
// Invariant: what it draws is bounded by the screen, so its cost does not grow with the fleet.

import type { Shape } from 'fleetcast-client';
import { AssetState, type FleetStore } from '../fleet/store';
import { bubbleRadius, type Cell } from './grid';
import { type Camera, fixedX, fixedY, screenX, screenY } from './mercator';
import type { MapColors } from './palette';

const LABELS_MAX = 120;
const FONT = '"Inter Variable", system-ui, sans-serif';

export interface OverlayScene {
  cells: Cell[];
  selected: number | null;
  hovered: number | null;
  trail: { x: number; y: number; ts: number }[];
  shape: Shape | null;
  draft: { shape: Shape | null; points: [number, number][] };
  labels: boolean;
}

export class Overlay {
  readonly canvas: HTMLCanvasElement;
  readonly #store: FleetStore;
  readonly #context: CanvasRenderingContext2D;
  #empty = true;

  constructor(
    canvas: HTMLCanvasElement,
    store: FleetStore,
    settings?: CanvasRenderingContext2DSettings,
  ) {
    this.canvas = canvas;
    this.#store = store;
    this.#context = canvas.getContext('2d', settings) as CanvasRenderingContext2D;
  }

  draw(view: Camera, colors: MapColors, scene: OverlayScene, nowMs: number): void {
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    const width = Math.round(view.width * ratio);
    const height = Math.round(view.height * ratio);
    const resized = this.canvas.width !== width || this.canvas.height !== height;
    if (resized) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.#context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.#empty) context.clearRect(0, 0, view.width, view.height);
    this.#empty = isEmpty(scene);
    if (this.#empty) return;
    const pen = new Pen(context, view, colors);
    if (scene.shape) pen.shape(scene.shape, false);
    if (scene.draft.shape) pen.shape(scene.draft.shape, true);
    pen.vertices(scene.draft.points);
    pen.trail(scene.trail);
    for (const cell of scene.cells) pen.bubble(cell);
    if (scene.labels) this.#labels(pen, view, nowMs);
    if (scene.hovered !== null) this.#ring(pen, view, scene.hovered, nowMs, false);
    if (scene.selected !== null) this.#ring(pen, view, scene.selected, nowMs, true);
  }

  #ring(pen: Pen, view: Camera, row: number, nowMs: number, selected: boolean): void {
    if (!this.#store.isAlive(row)) return;
    const x = screenX(view, this.#store.positionX(row, nowMs));
    const y = screenY(view, this.#store.positionY(row, nowMs));
    pen.ring(x, y, selected);
    if (selected) pen.label(x, y, this.#store.name[row] || this.#store.id[row] || '', true);
  }

  #labels(pen: Pen, view: Camera, nowMs: number): void {
    const store = this.#store;
    let drawn = 0;
    for (let row = 0; row < store.size && drawn < LABELS_MAX; row++) {
      if (!store.isAlive(row) || store.isHidden(row)) continue;
      if (store.state[row] === AssetState.Offline) continue;
      const x = screenX(view, store.positionX(row, nowMs));
      if (x < 0 || x > view.width) continue;
      const y = screenY(view, store.positionY(row, nowMs));
      if (y < 0 || y > view.height) continue;
      if (pen.label(x, y, store.name[row] || store.id[row]!, false)) drawn += 1;
    }
  }
}

const isEmpty = (scene: OverlayScene) =>
  scene.cells.length === 0 &&
  scene.selected === null &&
  scene.hovered === null &&
  scene.trail.length === 0 &&
  scene.shape === null &&
  scene.draft.shape === null &&
  scene.draft.points.length === 0 &&
  !scene.labels;

/** The drawing of one frame: canvas, camera and colours together. */
class Pen {
  readonly #context: CanvasRenderingContext2D;
  readonly #view: Camera;
  readonly #colors: MapColors;
  /** Coarse cells that a label occupies already. */
  readonly #taken = new Set<string>();

  constructor(context: CanvasRenderingContext2D, view: Camera, colors: MapColors) {
    this.#context = context;
    this.#view = view;
    this.#colors = colors;
    context.lineJoin = 'round';
    context.lineCap = 'round';
  }

  bubble(cell: Cell): void {
    const { width, height } = this.#view;
    const x = screenX(this.#view, cell.x);
    const y = screenY(this.#view, cell.y);
    const radius = bubbleRadius(cell.count);
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) return;
    const context = this.#context;
    context.beginPath();
    context.arc(x, y, radius, 0, Math.PI * 2);
    context.fillStyle = this.#colors.bubble;
    context.fill();
    this.#shares(cell, x, y, radius);
    context.fillStyle = this.#colors.bubbleText;
    context.font = `600 ${radius > 19 ? 12.5 : 11}px ${FONT}`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(shortCount(cell.count), x, y + 0.5);
    if (cell.alerts > 0) this.#alertDot(x + radius * 0.72, y - radius * 0.72);
  }

  /** The states of what is counted, as a ring. */
  #shares(cell: Cell, x: number, y: number, radius: number): void {
    const context = this.#context;
    let from = -Math.PI / 2;
    context.lineWidth = 3;
    context.lineCap = 'butt';
    cell.states.forEach((count, state) => {
      if (count === 0) return;
      const to = from + (count / cell.count) * Math.PI * 2;
      context.beginPath();
      context.arc(x, y, radius - 1.5, from, to);
      context.strokeStyle = this.#colors.states[state]!;
      context.stroke();
      from = to;
    });
    context.lineCap = 'round';
  }

  #alertDot(x: number, y: number): void {
    const context = this.#context;
    context.beginPath();
    context.arc(x, y, 4, 0, Math.PI * 2);
    context.fillStyle = this.#colors.alert;
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = this.#colors.outline;
    context.stroke();
  }

  ring(x: number, y: number, selected: boolean): void {
    const context = this.#context;
    const radius = selected ? 15 : 11;
    context.beginPath();
    context.arc(x, y, radius, 0, Math.PI * 2);
    context.lineWidth = selected ? 5 : 3;
    context.strokeStyle = this.#colors.halo;
    context.stroke();
    context.lineWidth = selected ? 2.5 : 1.5;
    context.strokeStyle = this.#colors.accent;
    context.stroke();
  }

  /** False where another label stands already. */
  label(x: number, y: number, text: string, important: boolean): boolean {
    const spot = `${Math.round(x / 90)}:${Math.round(y / 18)}`;
    if (!important && this.#taken.has(spot)) return false;
    this.#taken.add(spot);
    const context = this.#context;
    const left = x + (important ? 21 : 11);
    context.font = `${important ? 600 : 500} ${important ? 13 : 11}px ${FONT}`;
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    context.lineWidth = 3.5;
    context.strokeStyle = this.#colors.halo;
    context.strokeText(text, left, y);
    context.fillStyle = this.#colors.label;
    context.fillText(text, left, y);
    return true;
  }

  trail(points: OverlayScene['trail']): void {
    if (points.length < 2) return;
    const context = this.#context;
    const path = new Path2D();
    points.forEach((point, i) => {
      const x = screenX(this.#view, point.x);
      const y = screenY(this.#view, point.y);
      if (i === 0) path.moveTo(x, y);
      else path.lineTo(x, y);
    });
    context.lineWidth = 6;
    context.strokeStyle = this.#colors.halo;
    context.globalAlpha = 0.7;
    context.stroke(path);
    context.globalAlpha = 1;
    context.lineWidth = 3;
    context.strokeStyle = this.#colors.accent;
    context.stroke(path);
  }

  shape(shape: Shape, draft: boolean): void {
    const path = shapePath(shape, this.#view);
    const context = this.#context;
    context.globalAlpha = draft ? 0.16 : 0.07;
    context.fillStyle = this.#colors.accent;
    context.fill(path);
    context.globalAlpha = 1;
    context.setLineDash(draft ? [6, 5] : []);
    context.lineWidth = 2;
    context.strokeStyle = this.#colors.accent;
    context.stroke(path);
    context.setLineDash([]);
  }

  vertices(points: [number, number][]): void {
    const context = this.#context;
    for (const [lon, lat] of points) {
      context.beginPath();
      context.arc(
        screenX(this.#view, fixedX(lon)),
        screenY(this.#view, fixedY(lat)),
        5,
        0,
        Math.PI * 2,
      );
      context.fillStyle = this.#colors.outline;
      context.fill();
      context.lineWidth = 2;
      context.strokeStyle = this.#colors.accent;
      context.stroke();
    }
  }
}

export function shortCount(count: number): string {
  if (count < 1_000) return String(count);
  if (count < 10_000) return `${(count / 1_000).toFixed(1)}k`;
  return `${Math.round(count / 1_000)}k`;
}

function shapePath(shape: Shape, view: Camera): Path2D {
  const path = new Path2D();
  for (const ring of shapeRings(shape, view)) {
    ring.forEach(([x, y], i) => {
      if (i === 0) path.moveTo(x, y);
      else path.lineTo(x, y);
    });
    path.closePath();
  }
  return path;
}

const WORLD = 2 ** 32;

/** The shape's edge in pixels, once for each copy of the world in which it reaches into view. */
export function shapeRings(shape: Shape, view: Camera): [number, number][][] {
  const edge = eastward(outline(shape), 'bbox' in shape);
  if (edge.length === 0) return [];
  const lons = edge.map(([lon]) => lon);
  const [west, east] = [Math.min(...lons), Math.max(...lons)];
  const middle = (west + east) / 2;
  const pxPerDegree = (view.scale * WORLD) / 360;
  const at = screenX(view, fixedX(middle));
  const ring = edge.map(([lon, lat]): [number, number] => [
    at + (lon - middle) * pxPerDegree,
    screenY(view, fixedY(lat)),
  ]);
  const half = ((east - west) / 2) * pxPerDegree;
  return [-360, 0, 360]
    .map((turn) => turn * pxPerDegree)
    .filter((by) => at + by + half > 0 && at + by - half < view.width)
    .map((by) => ring.map(([x, y]) => [x + by, y]));
}

/** Longitudes that go on beyond the antimeridian: a box always to the east, an edge the short way. */
function eastward(edge: [number, number][], isBox: boolean): [number, number][] {
  if (isBox) {
    const west = edge[0]![0];
    return edge.map(([lon, lat]) => [lon < west ? lon + 360 : lon, lat]);
  }
  let before = edge[0]?.[0] ?? 0;
  return edge.map(([lon, lat]) => {
    before += ((((lon - before + 180) % 360) + 360) % 360) - 180;
    return [before, lat];
  });
}

const EARTH_RADIUS_M = 6_371_008.8;

/** The shape's edge as points, close enough together to look right on the map. */
export function outline(shape: Shape): [number, number][] {
  if ('polygon' in shape) return shape.polygon;
  if ('bbox' in shape) {
    const [west, south, east, north] = shape.bbox;
    return [
      [west, south],
      [east, south],
      [east, north],
      [west, north],
    ];
  }
  if ('circle' in shape) {
    const { lon, lat, radius_m } = shape.circle;
    const angle = radius_m / EARTH_RADIUS_M;
    const phi = (lat * Math.PI) / 180;
    return Array.from({ length: 72 }, (_, i) => {
      const bearing = (i / 72) * Math.PI * 2;
      const there = Math.asin(
        Math.sin(phi) * Math.cos(angle) + Math.cos(phi) * Math.sin(angle) * Math.cos(bearing),
      );
      const turn = Math.atan2(
        Math.sin(bearing) * Math.sin(angle) * Math.cos(phi),
        Math.cos(angle) - Math.sin(phi) * Math.sin(there),
      );
      return [lon + (turn * 180) / Math.PI, (there * 180) / Math.PI];
    });
  }
  return [];
}
