import type { Shape } from 'fleetcast-client';
import { describe, expect, it } from 'vitest';
import { ALL_STATES, refresh, SearchIndex } from '../fleet/refresh';
import { FleetStore } from '../fleet/store';
import { Columns } from '../gateway/columns';
import { Pixels } from './dots';
import { distanceM, wrapLon } from './draw';
import { aggregate, merged } from './grid';
import {
  camera,
  fixedX,
  fixedY,
  latOf,
  lonOf,
  screenX,
  screenY,
  startCamera,
  startZoom,
} from './mercator';
import { outline, shapeRings, shortCount } from './overlay';
import { Pacer } from './pacer';
import { PALETTES, pointColors } from './palette';
import { pick } from './pick';
import { Thinner } from './thin';

const LIMITS = {
  staleAfterMs: 1e9,
  offlineAfterMs: 1e9,
  silentAfterMs: 1e9,
  temperatureMaxC: 1e9,
  fuelMinPct: -1,
};

function storeOf(places: [number, number][], query = ''): FleetStore {
  const columns = new Columns();
  places.forEach(([lon, lat], i) => {
    columns.put({ id: `a${i}`, fleet: 'f', lon, lat, ts: 1, data: {} });
  });
  const store = new FleetStore();
  const packed = columns.take();
  if (packed) store.apply(packed.delta, packed.added, packed.removed, 0);
  const criteria = { states: ALL_STATES, query, assetKind: '', alertsOnly: false };
  refresh(store, criteria, LIMITS, new SearchIndex(), 1);
  return store;
}

describe('mercator', () => {
  const check = (lon: number, lat: number) =>
    it(`brings ${lon}, ${lat} back within a centimetre`, () => {
      expect(lonOf(fixedX(lon))).toBeCloseTo(lon, 7);
      expect(latOf(fixedY(lat))).toBeCloseTo(lat, 7);
    });
  check(0, 0);
  check(13.404954, 52.520008);
  check(-179.99999, -84.9);
  check(179.99999, 85);

  it('clamps the poles to the edge of the map', () => {
    expect(fixedY(90)).toBe(0);
    expect(fixedY(-90)).toBe(2 ** 32 - 1);
  });

  it('puts the centre in the middle and wraps at the antimeridian', () => {
    const view = camera(179.9, 0, 6, 1000, 600);
    expect(screenX(view, fixedX(179.9))).toBeCloseTo(500, 3);
    expect(screenY(view, fixedY(0))).toBeCloseTo(300, 3);
    const across = screenX(view, fixedX(-179.9));
    expect(across).toBeGreaterThan(500);
    expect(across).toBeLessThan(530);
  });
});

describe('picking', () => {
  const view = camera(10, 50, 10, 800, 600);
  const store = storeOf([
    [10, 50],
    [10.004, 50],
    [11, 51],
  ]);
  const check = (name: string, x: number, y: number, row: number | null) =>
    it(name, () => expect(pick(store, view, x, y, 14, 0)).toBe(row));
  check('takes what is under the pointer', 400, 300, 0);
  check('takes the nearest of two', 405, 300, 1);
  check('takes nothing out of reach', 400, 320, null);

  it('never takes what a filter hides', () => {
    expect(pick(storeOf([[10, 50]], 'other'), view, 400, 300, 14, 0)).toBeNull();
  });
});

describe('the points that a slow renderer draws', () => {
  const view = camera(10, 50, 10, 800, 600);
  const check = (name: string, places: [number, number][], rows: number[]) =>
    it(name, () => {
      expect([...new Thinner().rows(storeOf(places), view, 0)]).toEqual(rows);
    });
  check(
    'are those in view, in their order',
    [
      [10, 50],
      [11, 51],
      [10.004, 50],
      [-170, 50],
      [10, 50.002],
    ],
    [0, 2, 4],
  );
  check('are the upper ones of many in one place', Array(9).fill([10, 50]), [7, 8]);

  it('leave no asset in view without one on its pixel', () => {
    const places = Array.from({ length: 5_000 }, (_, i): [number, number] => [
      10 + ((i * 37) % 100) / 1_000,
      50 + ((i * 53) % 60) / 1_000,
    ]);
    const store = storeOf(places);
    const pixel = (row: number) =>
      `${Math.floor(screenX(view, store.positionX(row, 0)))}:${Math.floor(screenY(view, store.positionY(row, 0)))}`;
    const thinner = new Thinner();
    thinner.rows(store, view, 0);
    const rows = [...thinner.rows(store, view, 0)];
    const drawn = new Set(rows.map(pixel));
    expect(rows.length).toBeLessThan(places.length / 2);
    expect(places.every((_, row) => drawn.has(pixel(row)))).toBe(true);
  });

  it('never are what a filter hides', () => {
    expect(new Thinner().rows(storeOf([[10, 50]], 'other'), view, 0)).toHaveLength(0);
  });
});

describe('counts', () => {
  it('count each asset in exactly one cell', () => {
    const places = Array.from({ length: 500 }, (_, i): [number, number] => [
      ((i * 37) % 360) - 180,
      ((i * 53) % 160) - 80,
    ]);
    const cells = aggregate(storeOf(places), 16, 0);
    expect(cells.length).toBeGreaterThan(20);
    expect(cells.reduce((sum, cell) => sum + cell.count, 0)).toBe(500);
    for (const cell of cells) {
      expect(cell.states.reduce((sum, count) => sum + count)).toBe(cell.count);
    }
  });

  it('leave out what a filter hides', () => {
    expect(aggregate(storeOf([[1, 1]], 'other'), 16, 0)).toEqual([]);
  });

  it('of circles that would overlap become one, and none is lost', () => {
    const view = camera(0, 0, 2, 800, 600);
    const cells = aggregate(
      storeOf([
        [1, 1],
        [-1, 1],
        [90, 0],
      ]),
      16,
      0,
    );
    expect(cells).toHaveLength(3);
    expect(
      merged(cells, view.scale)
        .map((cell) => cell.count)
        .sort(),
    ).toEqual([1, 2]);
  });

  const check = (count: number, text: string) =>
    it(`of ${count} read ${text}`, () => expect(shortCount(count)).toBe(text));
  check(7, '7');
  check(999, '999');
  check(1_449, '1.4k');
  check(50_000, '50k');
});

describe('pacer', () => {
  it('draws new data at the next frame', () => {
    const pacer = new Pacer();
    expect(pacer.due(1_000, 0)).toBe(true);
  });

  it('waits while the renderer is still busy', () => {
    const pacer = new Pacer();
    pacer.started(0);
    pacer.invalidate();
    expect(pacer.due(5_000, 0)).toBe(false);
    pacer.finished(5_001);
    expect(pacer.due(50_000, 0)).toBe(true);
  });

  it('leaves a slow renderer two thirds of the time', () => {
    const pacer = new Pacer();
    let now = 0;
    let busy = 0;
    while (now < 20_000) {
      pacer.invalidate();
      if (pacer.due(now, 1)) {
        pacer.started(now);
        now += 100 + 1000 / 60;
        busy += 100;
        pacer.finished(now);
      }
      now += 1000 / 60;
    }
    expect(busy / now).toBeLessThan(0.36);
    expect(busy / now).toBeGreaterThan(0.2);
  });

  it('does not redraw what does not visibly move', () => {
    const pacer = new Pacer();
    pacer.started(0);
    pacer.finished(1);
    expect(pacer.due(500, 0.0001)).toBe(false);
    expect(pacer.due(500, 0.01)).toBe(true);
  });

  const waits = (name: string, happens: (pacer: Pacer) => void, pxPerMs: number, ms: number) =>
    it(name, () => {
      const pacer = new Pacer();
      pacer.started(1_000);
      pacer.finished(1_001);
      happens(pacer);
      expect(pacer.waitMs(1_001, pxPerMs)).toBeCloseTo(ms - 1, 6);
      expect(pacer.due(1_000 + ms - 2, pxPerMs)).toBe(false);
      expect(pacer.due(1_000 + ms, pxPerMs)).toBe(true);
    });
  waits('draws what arrived four times a second', (pacer) => pacer.dataChanged(), 0.0001, 250);
  waits('draws it sooner where it moves', (pacer) => pacer.dataChanged(), 0.0035, 100);
  waits('draws what was asked for at once', (pacer) => pacer.invalidate(), 0, 1000 / 120);
  waits('draws ages once a second', () => {}, 0, 1_000);

  it('forgets what it has drawn', () => {
    const pacer = new Pacer();
    pacer.dataChanged();
    pacer.started(0);
    pacer.finished(1);
    expect(pacer.waitMs(0, 0)).toBe(1_000);
  });
});

describe('areas', () => {
  const check = (lon: number, wrapped: number) =>
    it(`longitude ${lon} is ${wrapped}`, () => expect(wrapLon(lon)).toBeCloseTo(wrapped, 9));
  check(190, -170);
  check(-190, 170);
  check(-540, -180);
  check(12, 12);

  it('Paris to London is 344 km', () => {
    expect(distanceM([2.3522, 48.8566], [-0.1276, 51.5072]) / 1000).toBeCloseTo(343.6, 0);
  });

  /** Where the rings begin and end, in degrees from the middle of a view of the whole world. */
  const spans = (shape: Shape, lon: number) => {
    const view = camera(lon, 0, 1, 1024, 600);
    return shapeRings(shape, view).map((ring) => {
      const xs = ring.map(([x]) => Math.round(((x - 512) / 1024) * 360));
      return [Math.min(...xs), Math.max(...xs)];
    });
  };
  const spansOf = (name: string, shape: Shape, lon: number, expected: number[][]) =>
    it(`${name} is drawn where it is`, () => expect(spans(shape, lon)).toEqual(expected));
  const across: Shape = {
    polygon: [
      [170, 0],
      [-170, 0],
      [-170, 20],
    ],
  };
  spansOf('a box', { bbox: [10, 0, 20, 5] }, 0, [[10, 20]]);
  spansOf('a box across the antimeridian', { bbox: [170, 0, -170, 5] }, 180, [[-10, 10]]);
  spansOf('the same, seen from Greenwich,', { bbox: [170, 0, -170, 5] }, 0, [
    [-190, -170],
    [170, 190],
  ]);
  spansOf('a box wider than half the world', { bbox: [-170, 0, 170, 5] }, 0, [[-170, 170]]);
  spansOf('the same, seen from the east,', { bbox: [-170, 0, 170, 5] }, 90, [
    [-260, 80],
    [100, 440],
  ]);
  spansOf('the whole world', { bbox: [-180, -85, 180, 85] }, 30, [
    [-210, 150],
    [150, 510],
  ]);
  spansOf('a polygon across the antimeridian', across, 180, [[-10, 10]]);

  it('every point of a circle’s edge is a radius away', () => {
    const circle = { lon: 179.5, lat: 65, radius_m: 150_000 };
    for (const point of outline({ circle })) {
      expect(distanceM([circle.lon, circle.lat], point)).toBeCloseTo(150_000, -1);
    }
  });
});

describe('what stands there before the map', () => {
  it('paints an asset where the camera projects it, in the colour of its state', () => {
    const store = storeOf([[10, 50]]);
    const view = camera(10, 50, 4, 200, 100);
    const pixels = new Pixels(400, 200);
    const style = { sizePx: 4, opacity: 1, colors: pointColors(PALETTES.light) };
    expect(pixels.paint(store, view, style, 0)).toBe(1);
    const at = (x: number, y: number) => [...pixels.bytes.slice((y * 400 + x) * 4).slice(0, 4)];
    const [red, green, blue] = pointColors(PALETTES.light).states[store.state[0]!]!;
    expect(at(200, 100)).toEqual([red * 255, green * 255, blue * 255, 255]);
    expect(at(210, 100)).toEqual([0, 0, 0, 0]);
  });

  it('paints nothing of what is outside or hidden, and cuts at the edge', () => {
    const style = { sizePx: 12, opacity: 1, colors: pointColors(PALETTES.dark) };
    const view = camera(0, 0, 4, 100, 100);
    const pixels = new Pixels(100, 100);
    expect(pixels.paint(storeOf([[90, 0]]), view, style, 0)).toBe(0);
    expect(pixels.paint(storeOf([[0, 0]], 'no such asset'), view, style, 0)).toBe(0);
    expect(pixels.bytes.every((byte) => byte === 0)).toBe(true);
    const edge = lonOf(fixedX(0) - 49.5 / view.scale);
    expect(pixels.paint(storeOf([[edge, 0]]), view, style, 0)).toBe(1);
    const lit = (x: number) => pixels.bytes[(50 * 100 + x) * 4 + 3] === 255;
    expect([lit(0), lit(4), lit(99)]).toEqual([true, true, false]);
  });

  it('shows no pole, and the world at least once', () => {
    expect(startZoom(0, 1024, 300)).toBe(1);
    expect(startZoom(3, 1024, 300)).toBe(3);
    const wide = startCamera(0, 84, 1, 1024, 300);
    expect(screenY(wide, 0)).toBeCloseTo(0, 3);
    const inner = startCamera(0, 20, 3, 1024, 300);
    expect(inner).toEqual(camera(0, 20, 3, 1024, 300));
  });
});
