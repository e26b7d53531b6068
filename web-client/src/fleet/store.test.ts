import { describe, expect, it } from 'vitest';
import { Columns } from '../gateway/columns';
import { fixedX, fixedY } from '../map/mercator';
import { ListOrder } from './order';
import {
  ALERT_FUEL,
  ALERT_SILENT,
  ALERT_SOURCE,
  ALERT_TEMPERATURE,
  ALL_STATES,
  alertRows,
  type Criteria,
  refresh,
  SearchIndex,
  type Thresholds,
} from './refresh';
import { AssetState, FleetStore } from './store';

const NOW = 1_700_000_000_000;
const LIMITS: Thresholds = {
  staleAfterMs: 30_000,
  offlineAfterMs: 300_000,
  silentAfterMs: 300_000,
  temperatureMaxC: 8,
  fuelMinPct: 10,
};
const ALL: Criteria = { states: ALL_STATES, query: '', assetKind: '', alertsOnly: false };

type Given = { id: string; lon?: number; lat?: number; ts?: number; data?: object };

/** A worker's columns and a page's store, joined as they are in the page. */
class Rig {
  readonly columns = new Columns();
  readonly store = new FleetStore(4);
  readonly search = new SearchIndex();

  put(...assets: Given[]): this {
    for (const { id, lon = 0, lat = 0, ts = NOW, data = {} } of assets) {
      this.columns.put({ id, fleet: 'f', lon, lat, ts, data: data as Record<string, unknown> });
    }
    return this;
  }

  flush(nowMs = 0): this {
    const packed = this.columns.take();
    if (packed) {
      this.store.alarmNames = packed.alarms;
      this.store.apply(packed.delta, packed.added, packed.removed, nowMs);
    }
    return this;
  }

  refresh(criteria: Partial<Criteria> = {}) {
    return refresh(this.store, { ...ALL, ...criteria }, LIMITS, this.search, NOW);
  }

  names(by: Parameters<ListOrder['rows']>[1] = 'name'): string[] {
    return [...new ListOrder().rows(this.store, by)].map((row) => this.store.id[row]!);
  }
}

describe('rows', () => {
  it('keep every asset while the columns grow', () => {
    const rig = new Rig();
    for (let i = 0; i < 100; i++) rig.put({ id: `a${i}`, lon: i, data: { speed_kmh: i } });
    rig.flush();
    expect(rig.store.alive).toBe(100);
    const row = rig.store.rowOf('f', 'a70')!;
    expect(rig.store.speedKmh[row]).toBe(70);
    expect(rig.store.positionX(row, 0)).toBe(fixedX(70));
  });

  it('of an asset that left are free for another, under its own name', () => {
    const rig = new Rig().put({ id: 'a' }, { id: 'b' }).flush();
    rig.columns.remove({ id: 'a', fleet: 'f' });
    rig.flush().put({ id: 'c' }).flush();
    expect(rig.store.size).toBe(2);
    expect(rig.store.alive).toBe(2);
    expect(rig.store.rowOf('f', 'a')).toBeUndefined();
    expect(rig.store.id[rig.store.rowOf('f', 'c')!]).toBe('c');
  });

  it('are not reused in the message that removes them', () => {
    const rig = new Rig().put({ id: 'a' }).flush();
    rig.columns.remove({ id: 'a', fleet: 'f' });
    rig.put({ id: 'b' }).flush();
    expect(rig.store.rowOf('f', 'b')).toBe(1);
    expect(rig.store.isAlive(0)).toBe(false);
  });

  it('that come and go unseen leave nothing behind', () => {
    const rig = new Rig().put({ id: 'a' });
    rig.columns.remove({ id: 'a', fleet: 'f' });
    rig.flush();
    expect(rig.store.alive).toBe(0);
    expect(rig.columns.size).toBe(0);
  });

  it('without a position are left out', () => {
    const rig = new Rig();
    rig.columns.put({ id: 'a', fleet: 'f', ts: NOW, data: {} });
    expect(rig.flush().store.alive).toBe(0);
  });

  it('of the same id in two fleets are two', () => {
    const rig = new Rig().put({ id: 'a' });
    rig.columns.put({ id: 'a', fleet: 'g', ts: NOW, lat: 1, lon: 1, data: {} });
    rig.flush();
    expect(rig.store.alive).toBe(2);
    expect(rig.store.key(rig.store.rowOf('g', 'a')!)).toBe('g/a');
  });
});

describe('interpolation', () => {
  const moved = () =>
    new Rig()
      .put({ id: 'a', lon: 10, ts: NOW })
      .flush(0)
      .put({ id: 'a', lon: 10.01, ts: NOW + 1_000 })
      .flush(5_000);

  const check = (atMs: number, lon: number) => {
    const x = moved().store.positionX(0, atMs);
    expect(Math.abs(x - fixedX(lon))).toBeLessThan(2);
  };

  it('starts where the asset was', () => check(5_000, 10));
  it('is half way after half the time between the fixes', () => check(5_500, 10.005));
  it('ends at the fix and stays there', () => check(60_000, 10.01));

  it('goes the short way across the antimeridian', () => {
    const rig = new Rig().put({ id: 'a', lon: 179.999 }).flush(0);
    rig.put({ id: 'a', lon: -179.999, ts: NOW + 1_000 }).flush(0);
    const half = rig.store.positionX(0, 500);
    expect(Math.min(half, 2 ** 32 - half)).toBeLessThan(100);
  });

  it('does not fly across the world after a jump', () => {
    const rig = new Rig().put({ id: 'a', lon: 0 }).flush(0);
    rig.put({ id: 'a', lon: 90, ts: NOW + 1_000 }).flush(0);
    expect(rig.store.positionX(0, 0)).toBe(fixedX(90));
  });

  it('does not glide at all for who wants less motion', () => {
    const rig = new Rig().put({ id: 'a', lon: 10 }).flush(0);
    rig.store.glides = false;
    rig.put({ id: 'a', lon: 10.01, ts: NOW + 1_000 }).flush(5_000);
    expect(rig.store.positionX(0, 5_000)).toBe(fixedX(10.01));
    expect(rig.store.fastest).toBe(0);
  });

  it('does not glide for minutes after a long silence', () => {
    const rig = new Rig().put({ id: 'a', lat: 10 }).flush(0);
    rig.put({ id: 'a', lat: 10.1, ts: NOW + 600_000 }).flush(0);
    expect(rig.store.positionY(0, 0)).toBe(fixedY(10.1));
  });
});

describe('states', () => {
  const check = (name: string, ageMs: number, speed: number, state: AssetState) =>
    it(name, () => {
      const rig = new Rig().put({ id: 'a', ts: NOW - ageMs, data: { speed_kmh: speed } }).flush();
      rig.refresh();
      expect(rig.store.state[0]).toBe(state);
    });
  check('fresh and fast is moving', 0, 50, AssetState.Moving);
  check('fresh and slow is stopped', 0, 0.4, AssetState.Stopped);
  check('fresh without a speed is stopped', 0, Number.NaN, AssetState.Stopped);
  check('old is stale, whatever it last said', 31_000, 50, AssetState.Stale);
  check('very old is offline', 301_000, 50, AssetState.Offline);
});

describe('alerts', () => {
  const check = (name: string, data: object, ageMs: number, alerts: number) =>
    it(name, () => {
      const rig = new Rig().put({ id: 'a', ts: NOW - ageMs, data }).flush();
      rig.refresh();
      expect(rig.store.alerts[0]).toBe(alerts);
    });
  check('nothing reported alarms nobody', {}, 0, 0);
  check('too warm', { temperature_c: 8.1 }, 0, ALERT_TEMPERATURE);
  check('low on fuel', { fuel_pct: 9 }, 0, ALERT_FUEL);
  check('silent', {}, 301_000, ALERT_SILENT);
  check('what the source calls one', { alarm: 'door' }, 0, ALERT_SOURCE);
  check('no alarm of the source', { alarm: null }, 0, 0);

  it('of silence count from when it became one, others from when they were seen', () => {
    const rig = new Rig()
      .put({ id: 'fuel', data: { fuel_pct: 1 } }, { id: 'silent', ts: NOW - 400_000 })
      .flush();
    rig.refresh();
    expect(alertRows(rig.store, 10).map((row) => rig.store.id[row])).toEqual(['fuel', 'silent']);
    expect(rig.store.alertSince[1]).toBe(NOW - 100_000);
  });
});

describe('filters', () => {
  const fleet = () =>
    new Rig()
      .put(
        { id: 'T-1', data: { name: 'Aurora', kind: 'truck', speed_kmh: 50 } },
        { id: 'T-2', data: { name: 'Boreal', kind: 'van', speed_kmh: 0 } },
        { id: 'R-3', data: { name: 'Aurora Two', kind: 'truck', speed_kmh: 9, fuel_pct: 2 } },
        { id: 'X-4', ts: NOW - 60_000, data: { name: 'Cold', kind: 'van' } },
      )
      .flush();

  const check = (name: string, criteria: Partial<Criteria>, ids: string[]) =>
    it(name, () => {
      const rig = fleet();
      const summary = rig.refresh(criteria);
      expect(rig.names()).toEqual(ids);
      expect(summary.shown).toBe(ids.length);
      expect(summary.total).toBe(4);
    });
  check('none shows all, by id', {}, ['R-3', 'T-1', 'T-2', 'X-4']);
  check('by name, any case', { query: 'aurora' }, ['R-3', 'T-1']);
  check('by id', { query: 't-' }, ['T-1', 'T-2']);
  check('by several words, each of which must occur', { query: 'aurora t-1' }, ['T-1']);
  check('by state', { states: 1 << AssetState.Stale }, ['X-4']);
  check('by kind', { assetKind: 'van' }, ['T-2', 'X-4']);
  check('by a kind that no asset has', { assetKind: 'ship' }, []);
  check('only alerts', { alertsOnly: true }, ['R-3']);

  it('count by state what a click on the state would show', () => {
    const rig = fleet();
    expect(rig.refresh({ query: 'aurora', states: 1 << AssetState.Stale }).counts).toEqual([
      2, 0, 0, 0,
    ]);
  });

  it('find an asset that came after the search began', () => {
    const rig = fleet();
    rig.refresh({ query: 'aurora' });
    rig.put({ id: 'Z-9', data: { name: 'Aurora Three' } }).flush();
    expect(rig.refresh({ query: 'aurora' }).shown).toBe(3);
  });
});

describe('order', () => {
  const rig = () => {
    const made = new Rig()
      .put(
        { id: 'b', data: { speed_kmh: 10, fuel_pct: 90 } },
        { id: 'a', data: { speed_kmh: 10 } },
        { id: 'c', data: { speed_kmh: 99, fuel_pct: 5 } },
      )
      .flush();
    made.refresh();
    return made;
  };
  it('fastest first, ties by id', () => expect(rig().names('speed')).toEqual(['c', 'a', 'b']));
  it('what does not report comes last', () => expect(rig().names('fuel')).toEqual(['c', 'b', 'a']));
});
