import { describe, expect, it } from 'vitest';
import { Columns } from '../gateway/columns';
import { DirtyRows } from './dirty';
import { ALL_STATES, refresh, SearchIndex } from './refresh';
import { FleetStore } from './store';

const runsOf = (dirty: DirtyRows, size: number): [number, number][] => {
  const runs: [number, number][] = [];
  dirty.take(size, (first, end) => runs.push([first, end]));
  return runs;
};

describe('changed rows', () => {
  const check = (name: string, rows: number[], size: number, runs: [number, number][]) =>
    it(name, () => {
      const dirty = new DirtyRows();
      for (const row of rows) dirty.mark(row);
      expect(runsOf(dirty, size)).toEqual(runs);
      expect(runsOf(dirty, size)).toEqual([]);
    });
  check('none', [], 100, []);
  check('one takes its block along', [70], 1_000, [[64, 128]]);
  check('the last run ends with the rows', [970], 1_000, [[960, 1_000]]);
  check('neighbours are one run', [10, 100, 200], 1_000, [[0, 256]]);
  check('a small gap is bridged', [10, 200], 1_000, [[0, 256]]);
  check('a large one is not', [10, 600], 1_000, [
    [0, 64],
    [576, 640],
  ]);
  check('rows that are gone are in no run', [5_000], 100, []);

  it('at random are each in exactly one run', () => {
    const dirty = new DirtyRows();
    const size = 50_000;
    const rows = Array.from({ length: 300 }, (_, i) => (i * 7_919) % size);
    for (const row of rows) dirty.mark(row);
    const runs = runsOf(dirty, size);
    for (const row of rows) {
      expect(runs.filter(([first, end]) => row >= first && row < end)).toHaveLength(1);
    }
    expect(runs.reduce((sum, [first, end]) => sum + end - first, 0)).toBeLessThan(size);
  });
});

describe('a store with a copy of its vertices', () => {
  const limits = {
    staleAfterMs: 1_000,
    offlineAfterMs: 2_000,
    silentAfterMs: 2_000,
    temperatureMaxC: 99,
    fuelMinPct: -1,
  };
  const criteria = { states: ALL_STATES, query: '', assetKind: '', alertsOnly: false };
  const columns = new Columns();
  const store = new FleetStore();
  const search = new SearchIndex();
  let copy = new Uint32Array(0);

  const apply = (nowMs: number) => {
    const packed = columns.take()!;
    store.apply(packed.delta, packed.added, packed.removed, nowMs);
  };
  /** Takes the runs over as the GPU's buffer does; answers how many rows they have. */
  const follow = (): number => {
    if (copy.length < store.words.length) {
      const larger = new Uint32Array(store.words.length);
      larger.set(copy);
      copy = larger;
    }
    let rows = 0;
    store.dirty.take(store.size, (first, end) => {
      rows += end - first;
      copy.set(store.words.subarray(first * 7, end * 7), first * 7);
    });
    expect(copy.subarray(0, store.size * 7)).toEqual(store.words.subarray(0, store.size * 7));
    return rows;
  };
  const put = (i: number, ts: number) =>
    columns.put({ id: `a${i}`, fleet: 'f', lon: i / 100, lat: 1 + ts / 1e6, ts, data: {} });

  it('follows what comes, moves, grows old and goes, by what changed alone', () => {
    for (let i = 0; i < 1_000; i++) put(i, 1);
    apply(0);
    refresh(store, criteria, limits, search, 1);
    expect(follow()).toBe(1_000);
    refresh(store, criteria, limits, search, 2);
    expect(follow()).toBe(0);
    put(17, 500);
    apply(500);
    expect(follow()).toBe(64);
    refresh(store, criteria, limits, search, 1_200);
    expect(follow()).toBe(1_000);
    columns.remove({ fleet: 'f', id: 'a700' });
    apply(1_300);
    expect(follow()).toBe(64);
  });
});
