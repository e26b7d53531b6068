// The page's state of every asset, as typed-array columns indexed by row.
// Invariant: applying a message costs one pass over the changed rows and allocates nothing per
// asset but its names; there is no DOM, map or socket in here.

import type { Added, Delta } from '../gateway/messages';
import { DirtyRows } from './dirty';

/** Of the interleaved vertex buffer: the two ends of the current movement, its time, its looks. */
export const STRIDE_WORDS = 7;
const FROM_X = 0;
const FROM_Y = 1;
const TO_X = 2;
const TO_Y = 3;
const START = 4;
const LENGTH = 5;
const LOOK = 6;

export enum AssetState {
  Moving = 0,
  Stopped = 1,
  Stale = 2,
  Offline = 3,
}

export const STATES = [
  AssetState.Moving,
  AssetState.Stopped,
  AssetState.Stale,
  AssetState.Offline,
] as const;

/** Bits of the `look` word; the points shader reads the same ones. */
export const LOOK_STATE = 0b11;
export const LOOK_HIDDEN = 1 << 2;
export const LOOK_ALERT = 1 << 3;
export const LOOK_ALIVE = 1 << 4;
export const LOOK_HEADING_SHIFT = 8;
export const NO_HEADING = 511;

/** Below this an asset counts as stopped: GPS noise alone makes a parked truck walk. */
export const MOVING_KMH = 2;

/** A movement takes as long as the time between the two fixes, within reason. */
const MOVE_MIN_MS = 250;
const MOVE_MAX_MS = 5_000;
/** Farther than this between two fixes (in 32-bit units, about 40 km) is a jump, not a drive. */
const JUMP = 4_300_000;

const CAPACITY_MIN = 1024;

export class FleetStore {
  /** Rows below this may be alive. */
  size = 0;
  alive = 0;
  /** Changes whenever any row does. */
  version = 0;
  /** Changes when assets come or go. */
  membership = 0;
  /** Changes when states, alerts or filters were worked out again. */
  looks = 0;
  /** The fastest movement under way, in 32-bit units per millisecond. */
  fastest = 0;
  /** False for operators who want less motion: assets jump from fix to fix. */
  glides = true;
  /** Rows whose words changed since the points layer last took them. */
  readonly dirty = new DirtyRows();

  words: Uint32Array<ArrayBuffer>;
  floats: Float32Array<ArrayBuffer>;
  ts: Float64Array;
  speedKmh: Float32Array;
  temperatureC: Float32Array;
  fuelPct: Float32Array;
  headingDeg: Int16Array;
  state: Uint8Array;
  /** The source's own alarm, as an index into `alarmNames`; 0 is none. */
  alarm: Uint8Array;
  alarmNames: string[] = [''];
  alerts: Uint8Array;
  /** Epoch ms since when the alerts of a row hold without a break. */
  alertSince: Float64Array;
  fleet: Uint16Array;
  assetKind: Uint8Array;
  readonly id: string[] = [];
  readonly name: string[] = [];
  /** Lower case id and name, for search. */
  readonly haystack: string[] = [];

  readonly fleets: string[] = [];
  readonly kinds: string[] = [];
  readonly #fleetIndex = new Map<string, number>();
  readonly #kindIndex = new Map<string, number>();
  readonly #rowByKey = new Map<string, number>();

  constructor(capacity = CAPACITY_MIN) {
    this.words = new Uint32Array(capacity * STRIDE_WORDS);
    this.floats = new Float32Array(this.words.buffer);
    this.ts = new Float64Array(capacity);
    this.speedKmh = new Float32Array(capacity);
    this.temperatureC = new Float32Array(capacity);
    this.fuelPct = new Float32Array(capacity);
    this.headingDeg = new Int16Array(capacity);
    this.state = new Uint8Array(capacity);
    this.alarm = new Uint8Array(capacity);
    this.alerts = new Uint8Array(capacity);
    this.alertSince = new Float64Array(capacity);
    this.fleet = new Uint16Array(capacity);
    this.assetKind = new Uint8Array(capacity);
  }

  /** `nowMs` is the page's animation clock, as in `positionX`. */
  apply(delta: Delta, added: Added, removed: Uint32Array, nowMs: number): void {
    for (const row of removed) this.#remove(row);
    for (let i = 0; i < added.row.length; i++) {
      this.#add(added.row[i]!, added.id[i]!, added.name[i]!, added.fleet[i]!, added.assetKind[i]!);
    }
    this.#move(delta, nowMs);
    this.version += 1;
  }

  isAlive(row: number): boolean {
    return row < this.size && (this.words[row * STRIDE_WORDS + LOOK]! & LOOK_ALIVE) !== 0;
  }

  isHidden(row: number): boolean {
    return (this.words[row * STRIDE_WORDS + LOOK]! & LOOK_HIDDEN) !== 0;
  }

  rowOf(fleet: string, id: string): number | undefined {
    return this.#rowByKey.get(`${fleet}/${id}`);
  }

  key(row: number): string {
    return `${this.fleets[this.fleet[row]!]}/${this.id[row]}`;
  }

  rowOfKey(key: string): number | undefined {
    return this.#rowByKey.get(key);
  }

  fleetName(row: number): string {
    return this.fleets[this.fleet[row]!] ?? '';
  }

  kindName(row: number): string {
    return this.kinds[this.assetKind[row]!] ?? '';
  }

  /** Where the asset is drawn at this moment, in 32-bit Mercator. */
  positionX(row: number, nowMs: number): number {
    const base = row * STRIDE_WORDS;
    const from = this.words[base + FROM_X]!;
    const way = (this.words[base + TO_X]! - from) | 0;
    return (from + Math.round(way * this.#progress(base, nowMs))) >>> 0;
  }

  positionY(row: number, nowMs: number): number {
    const base = row * STRIDE_WORDS;
    const from = this.words[base + FROM_Y]!;
    const way = this.words[base + TO_Y]! - from;
    return from + Math.round(way * this.#progress(base, nowMs));
  }

  setLook(row: number, state: AssetState, alert: boolean, hidden: boolean): void {
    const heading = this.headingDeg[row]!;
    this.state[row] = state;
    this.#setLookWord(
      row,
      state |
        (hidden ? LOOK_HIDDEN : 0) |
        (alert ? LOOK_ALERT : 0) |
        LOOK_ALIVE |
        ((heading < 0 ? NO_HEADING : heading) << LOOK_HEADING_SHIFT),
    );
  }

  /** Most looks stay what they are from one refresh to the next. */
  #setLookWord(row: number, look: number): void {
    const at = row * STRIDE_WORDS + LOOK;
    if (this.words[at] === look) return;
    this.words[at] = look;
    this.dirty.mark(row);
  }

  #progress(base: number, nowMs: number): number {
    const length = this.floats[base + LENGTH]!;
    if (length <= 0) return 1;
    return Math.min(1, Math.max(0, (nowMs - this.floats[base + START]!) / length));
  }

  #add(row: number, id: string, name: string, fleet: string, assetKind: string): void {
    this.#grow(row + 1);
    this.size = Math.max(this.size, row + 1);
    this.id[row] = id;
    this.name[row] = name;
    this.haystack[row] = name ? `${id}\n${name}`.toLowerCase() : id.toLowerCase();
    this.fleet[row] = indexOf(fleet, this.fleets, this.#fleetIndex);
    this.assetKind[row] = indexOf(assetKind, this.kinds, this.#kindIndex);
    this.alerts[row] = 0;
    this.ts[row] = 0;
    this.#setLookWord(row, LOOK_ALIVE | (NO_HEADING << LOOK_HEADING_SHIFT));
    this.#rowByKey.set(`${fleet}/${id}`, row);
    this.alive += 1;
    this.membership += 1;
  }

  #remove(row: number): void {
    if (!this.isAlive(row)) return;
    this.#rowByKey.delete(this.key(row));
    this.#setLookWord(row, 0);
    this.id[row] = '';
    this.name[row] = '';
    this.haystack[row] = '';
    this.alive -= 1;
    this.membership += 1;
  }

  #move(delta: Delta, nowMs: number): void {
    const { words, floats } = this;
    // Decays, so that one burst of catching up does not keep the map drawing for good.
    let fastest = this.fastest * 0.8;
    for (let i = 0; i < delta.row.length; i++) {
      const row = delta.row[i]!;
      const base = row * STRIDE_WORDS;
      const x = delta.x[i]!;
      const y = delta.y[i]!;
      const before = this.ts[row]!;
      const sinceMs = before === 0 ? 0 : delta.ts[i]! - before;
      const fromX = this.positionX(row, nowMs);
      const fromY = this.positionY(row, nowMs);
      const near = Math.abs((x - fromX) | 0) < JUMP && Math.abs(y - fromY) < JUMP;
      const glide = this.glides && before !== 0 && near && sinceMs <= MOVE_MAX_MS * 4;
      words[base + FROM_X] = glide ? fromX : x;
      words[base + FROM_Y] = glide ? fromY : y;
      words[base + TO_X] = x;
      words[base + TO_Y] = y;
      const lengthMs = glide ? Math.min(MOVE_MAX_MS, Math.max(MOVE_MIN_MS, sinceMs)) : 0;
      if (glide) fastest = Math.max(fastest, Math.abs((x - fromX) | 0) / lengthMs);
      floats[base + START] = nowMs;
      floats[base + LENGTH] = lengthMs;
      const heading = delta.headingDeg[i]!;
      this.ts[row] = delta.ts[i]!;
      this.speedKmh[row] = delta.speedKmh[i]!;
      this.temperatureC[row] = delta.temperatureC[i]!;
      this.fuelPct[row] = delta.fuelPct[i]!;
      this.headingDeg[row] = heading;
      this.alarm[row] = delta.alarm[i]!;
      const look = words[base + LOOK]! & ((1 << LOOK_HEADING_SHIFT) - 1);
      words[base + LOOK] = look | ((heading < 0 ? NO_HEADING : heading) << LOOK_HEADING_SHIFT);
      this.dirty.mark(row);
    }
    this.fastest = fastest;
  }

  #grow(rows: number): void {
    let capacity = this.ts.length;
    if (rows <= capacity) return;
    while (capacity < rows) capacity *= 2;
    const words = new Uint32Array(capacity * STRIDE_WORDS);
    words.set(this.words);
    this.words = words;
    this.floats = new Float32Array(words.buffer);
    this.ts = grown(this.ts, new Float64Array(capacity));
    this.speedKmh = grown(this.speedKmh, new Float32Array(capacity));
    this.temperatureC = grown(this.temperatureC, new Float32Array(capacity));
    this.fuelPct = grown(this.fuelPct, new Float32Array(capacity));
    this.headingDeg = grown(this.headingDeg, new Int16Array(capacity));
    this.state = grown(this.state, new Uint8Array(capacity));
    this.alarm = grown(this.alarm, new Uint8Array(capacity));
    this.alerts = grown(this.alerts, new Uint8Array(capacity));
    this.alertSince = grown(this.alertSince, new Float64Array(capacity));
    this.fleet = grown(this.fleet, new Uint16Array(capacity));
    this.assetKind = grown(this.assetKind, new Uint8Array(capacity));
  }
}

function grown<T extends { set(other: T): void }>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}

function indexOf(value: string, values: string[], index: Map<string, number>): number {
  const known = index.get(value);
  if (known !== undefined) return known;
  values.push(value);
  index.set(value, values.length - 1);
  return values.length - 1;
}
