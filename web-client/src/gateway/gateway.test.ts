import { describe, expect, it } from 'vitest';
import { Series } from '../fleet/series';
import * as format from '../format';
import { alarm, heading, number, text } from './fields';
import { RateMeter } from './rates';

describe('fields', () => {
  const check = (name: string, got: unknown, want: unknown) =>
    it(name, () => expect(got).toEqual(want));
  check('the documented name', number({ speed_kmh: 12 }, 'speedKmh'), 12);
  check('a usual name', number({ temp: -18 }, 'temperatureC'), -18);
  check('nothing is NaN, not zero', number({}, 'fuelPct'), Number.NaN);
  check('text is not a number', number({ speed: 'fast' }, 'speedKmh'), Number.NaN);
  check('headings wrap', heading({ heading: -90 }), 270);
  check('359.7 is north', heading({ heading_deg: 359.7 }), 0);
  check('no heading is -1', heading({}), -1);
  check('names', text({ label: 'Truck 7' }, 'name'), 'Truck 7');
  check('an alarm by name', alarm({ alarm: 'door' }), 'door');
  check('an alarm that is only true', alarm({ alarm: true }), 'alarm');
  check('no alarm', alarm({ alarm: null }), '');
});

describe('rates', () => {
  it('tell the median age and start again', () => {
    const meter = new RateMeter();
    meter.count(3);
    for (const age of [5, 900, 20]) meter.age(age);
    expect(meter.take()).toEqual({ updatesPerS: 3, lagMs: 20 });
    expect(meter.take()).toEqual({ updatesPerS: 0, lagMs: null });
  });

  it('stay near the median of far more samples than they hold', () => {
    const meter = new RateMeter();
    for (let i = 0; i < 100_000; i++) meter.age(i % 1_000);
    expect(Math.abs(meter.take().lagMs! - 500)).toBeLessThan(120);
  });
});

describe('series', () => {
  const point = (ts: number) => ({ ts, lat: 1, lon: 2 });
  const report = (ts: number) => ({
    id: 'a',
    fleet: 'f',
    ts,
    lat: 1,
    lon: 2,
    data: { speed_kmh: ts },
  });

  it('joins history and live reports without doubles', () => {
    const series = new Series();
    series.append(report(30));
    series.append(report(40));
    series.prepend([point(30), point(10), point(20)]);
    expect(series.points.map(({ ts }) => ts)).toEqual([10, 20, 30, 40]);
    expect(series.values('speedKmh').map(({ ts }) => ts)).toEqual([30, 40]);
  });

  it('ignores a repeat and an older report', () => {
    const series = new Series();
    for (const ts of [2, 2, 1]) series.append(report(ts));
    expect(series.points).toHaveLength(1);
  });

  it('stays bounded', () => {
    const series = new Series();
    for (let ts = 1; ts < 5_000; ts++) series.append(report(ts));
    expect(series.points.length).toBeLessThanOrEqual(1_500);
    expect(series.points.at(-1)!.ts).toBe(4_999);
  });
});

describe('format', () => {
  const check = (got: string, want: string) => it(want, () => expect(got).toBe(want));
  check(format.speed(100, 'metric'), '100 km/h');
  check(format.speed(100, 'imperial'), '62 mph');
  check(format.temperature(-18, 'imperial'), '-0.4 °F');
  check(format.temperature(Number.NaN, 'metric'), '–');
  check(format.ago(500), 'now');
  check(format.ago(90_000), '1 min ago');
  check(format.span(7_200_000), '2 h');
  check(format.heading(359), 'N 359°');
  check(format.position(-33.9, 18.4), '33.9000° S, 18.4000° E');
  check(format.lag(1_234), '1.2 s');
});
