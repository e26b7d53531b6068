// Gives each asset a row and packs changed rows into columns for the page.
// Invariant: a row belongs to one asset until its removal has been sent; only then is it reused.

import { type Asset, type AssetRef, assetKey } from 'fleetcast-client';
import { fixedX, fixedY } from '../map/mercator';
import { alarm, heading, number, text } from './fields';
import type { Added, Delta } from './messages';

export interface Packed {
  delta: Delta;
  added: Added;
  removed: Uint32Array;
  /** Every alarm name so far, by index. */
  alarms: string[];
}

const ALARMS_MAX = 250;

export class Columns {
  readonly #rows = new Map<string, number>();
  readonly #assets: (Asset | undefined)[] = [];
  readonly #free: number[] = [];
  #changed = new Set<number>();
  #added = new Set<number>();
  #removed: number[] = [];
  readonly #alarms = [''];

  get size(): number {
    return this.#rows.size;
  }

  asset(row: number): Asset | undefined {
    return this.#assets[row];
  }

  rowOf(ref: AssetRef): number | undefined {
    return this.#rows.get(assetKey(ref));
  }

  put(asset: Asset): void {
    // Without a position there is nothing to draw, and the list is the map's text twin.
    if (!Number.isFinite(asset.lon) || !Number.isFinite(asset.lat)) return;
    const key = assetKey(asset);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = this.#free.pop() ?? this.#assets.length;
      this.#rows.set(key, row);
      this.#added.add(row);
    }
    this.#assets[row] = asset;
    this.#changed.add(row);
  }

  remove(ref: AssetRef): void {
    const key = assetKey(ref);
    const row = this.#rows.get(key);
    if (row === undefined) return;
    this.#rows.delete(key);
    this.#assets[row] = undefined;
    this.#changed.delete(row);
    // A row that the page never saw needs no removal, but is not reused before the next pack.
    this.#added.delete(row);
    this.#removed.push(row);
  }

  clear(): void {
    for (const asset of [...this.#assets]) if (asset) this.remove(asset);
  }

  /** Everything since the last call, or null. */
  take(): Packed | null {
    if (this.#changed.size === 0 && this.#removed.length === 0) return null;
    const packed: Packed = {
      delta: this.#delta(),
      added: this.#names(),
      removed: Uint32Array.from(this.#removed),
      alarms: this.#alarms,
    };
    this.#free.push(...this.#removed);
    this.#changed = new Set();
    this.#added = new Set();
    this.#removed = [];
    return packed;
  }

  #delta(): Delta {
    const n = this.#changed.size;
    const delta: Delta = {
      row: new Uint32Array(n),
      x: new Uint32Array(n),
      y: new Uint32Array(n),
      ts: new Float64Array(n),
      speedKmh: new Float32Array(n),
      temperatureC: new Float32Array(n),
      fuelPct: new Float32Array(n),
      headingDeg: new Int16Array(n),
      alarm: new Uint8Array(n),
    };
    let i = 0;
    for (const row of this.#changed) {
      const asset = this.#assets[row] as Asset;
      delta.row[i] = row;
      delta.x[i] = fixedX(asset.lon as number);
      delta.y[i] = fixedY(asset.lat as number);
      delta.ts[i] = asset.ts;
      delta.speedKmh[i] = number(asset.data, 'speedKmh');
      delta.temperatureC[i] = number(asset.data, 'temperatureC');
      delta.fuelPct[i] = number(asset.data, 'fuelPct');
      delta.headingDeg[i] = heading(asset.data);
      delta.alarm[i] = this.#alarmIndex(alarm(asset.data));
      i += 1;
    }
    return delta;
  }

  #alarmIndex(name: string): number {
    const known = this.#alarms.indexOf(name);
    if (known >= 0) return known;
    // A source that puts free text into its alarms still gets one, if not by name.
    if (this.#alarms.length > ALARMS_MAX) return ALARMS_MAX;
    return this.#alarms.push(name) - 1;
  }

  #names(): Added {
    const rows = [...this.#added];
    const assets = rows.map((row) => this.#assets[row] as Asset);
    return {
      row: Uint32Array.from(rows),
      id: assets.map((asset) => asset.id),
      name: assets.map((asset) => text(asset.data, 'name')),
      fleet: assets.map((asset) => asset.fleet),
      assetKind: assets.map((asset) => text(asset.data, 'kind')),
    };
  }
}

/** The buffers that may change hands instead of being copied. */
export function transferables({ delta, added, removed }: Packed): Transferable[] {
  return [...Object.values(delta), added.row, removed].map(
    (column) => (column as Uint32Array<ArrayBuffer>).buffer,
  );
}
