// Paints every asset as plain pixels, without WebGL.
// Invariant: needs no GPU process, so it can draw while that one still starts, or where there is none.

import type { FleetStore } from '../fleet/store';
import { type Camera, screenX, screenY } from './mercator';
import type { PointColors, Rgb } from './points';

const STATES = 4;
/** Smaller points have no outline, as in the points shader. */
const OUTLINED_FROM_PX = 4.5;

/** One asset's pixels around its middle: offsets, and for each whether it is outline. */
interface Stamp {
  dx: Int8Array;
  dy: Int8Array;
  outline: Uint8Array;
}

export interface DotStyle {
  /** Diameter in device pixels. */
  sizePx: number;
  opacity: number;
  colors: PointColors;
}

export class Pixels {
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8ClampedArray<ArrayBuffer>;
  readonly #words: Uint32Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.bytes = new Uint8ClampedArray(width * height * 4);
    this.#words = new Uint32Array(this.bytes.buffer);
  }

  /** Paints all assets anew; answers how many have their middle in view. */
  paint(store: FleetStore, view: Camera, style: DotStyle, nowMs: number): number {
    this.#words.fill(0);
    const ratio = this.width / view.width;
    const stamp = stampOf(style.sizePx);
    const fills = style.colors.states.map((rgb) => word(rgb, style.opacity));
    const outline = word(style.colors.outline, style.opacity);
    const alert = word(style.colors.alert, style.opacity);
    let inView = 0;
    for (let row = 0; row < store.size; row++) {
      if (!store.isAlive(row) || store.isHidden(row)) continue;
      const x = Math.floor(screenX(view, store.positionX(row, nowMs)) * ratio);
      const y = Math.floor(screenY(view, store.positionY(row, nowMs)) * ratio);
      if (x < 0 || y < 0 || x >= this.width || y >= this.height) continue;
      inView += 1;
      const fill = store.alerts[row] ? alert : fills[store.state[row]! % STATES]!;
      this.#stamp(stamp, x, y, fill, outline);
    }
    return inView;
  }

  #stamp(stamp: Stamp, x: number, y: number, fill: number, outline: number): void {
    for (let i = 0; i < stamp.dx.length; i++) {
      const px = x + stamp.dx[i]!;
      const py = y + stamp.dy[i]!;
      if (px < 0 || py < 0 || px >= this.width || py >= this.height) continue;
      this.#words[py * this.width + px] = stamp.outline[i] ? outline : fill;
    }
  }
}

function stampOf(sizePx: number): Stamp {
  const radius = Math.max(1, sizePx / 2);
  const reach = Math.min(127, Math.ceil(radius));
  const outlineFrom = sizePx < OUTLINED_FROM_PX ? Number.POSITIVE_INFINITY : radius - 1;
  const dx: number[] = [];
  const dy: number[] = [];
  const outline: number[] = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const far = Math.hypot(x, y);
      if (far > radius) continue;
      dx.push(x);
      dy.push(y);
      outline.push(far > outlineFrom ? 1 : 0);
    }
  }
  return { dx: Int8Array.from(dx), dy: Int8Array.from(dy), outline: Uint8Array.from(outline) };
}

/** As the bytes of an ImageData lie in memory on little-endian machines, which browsers' are. */
function word([red, green, blue]: Rgb, opacity: number): number {
  const byte = (share: number) => Math.round(share * 255);
  return ((byte(opacity) << 24) | (byte(blue) << 16) | (byte(green) << 8) | byte(red)) >>> 0;
}
