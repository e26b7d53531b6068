// The rows of the list, in the order asked for.
// Invariant: exactly the shown rows, each once; ties keep the order of ids, so rows do not jump.

import type { FleetStore } from './store';

export type SortBy = 'name' | 'speed' | 'temperature' | 'fuel' | 'age';

const SORTERS: Record<Exclude<SortBy, 'name'>, (store: FleetStore, row: number) => number> = {
  speed: (store, row) => -store.speedKmh[row]!,
  temperature: (store, row) => -store.temperatureC[row]!,
  fuel: (store, row) => store.fuelPct[row]!,
  age: (store, row) => store.ts[row]!,
};

export class ListOrder {
  #byName: Uint32Array = new Uint32Array(0);
  #rank: Uint32Array = new Uint32Array(0);
  #membership = -1;

  rows(store: FleetStore, by: SortBy, inView?: (row: number) => boolean): Uint32Array {
    this.#index(store);
    const shown = this.#byName.filter(
      (row) => !store.isHidden(row) && (inView === undefined || inView(row)),
    );
    if (by === 'name') return shown;
    const sorter = SORTERS[by];
    const value = new Float64Array(store.size);
    for (const row of shown) {
      const raw = sorter(store, row);
      value[row] = Number.isNaN(raw) ? Number.POSITIVE_INFINITY : raw;
    }
    const rank = this.#rank;
    return shown.sort((a, b) => value[a]! - value[b]! || rank[a]! - rank[b]!);
  }

  /** Sorting 50,000 names takes tens of milliseconds, so it is done only when assets come or go. */
  #index(store: FleetStore): void {
    if (store.membership === this.#membership) return;
    this.#membership = store.membership;
    const rows: number[] = [];
    for (let row = 0; row < store.size; row++) if (store.isAlive(row)) rows.push(row);
    rows.sort((a, b) =>
      store.id[a]! < store.id[b]! ? -1 : store.id[a]! > store.id[b]! ? 1 : a - b,
    );
    this.#byName = Uint32Array.from(rows);
    this.#rank = new Uint32Array(store.size);
    this.#byName.forEach((row, rank) => {
      this.#rank[row] = rank;
    });
  }
}
