import { describe, expect, it } from 'vitest';
import { DEFAULT_VIEW, read, type UrlView, write } from './url';

describe('a view survives its address', () => {
  const check = (name: string, change: Partial<UrlView>, query: string) =>
    it(name, () => {
      const view = { ...DEFAULT_VIEW, ...change };
      expect(write(view)).toBe(query);
      expect(read(query)).toEqual(view);
    });
  check('the default is no query at all', {}, '');
  check('fleets', { fleets: ['a', 'b c'] }, '?fleet=a&fleet=b+c');
  check('a box', { shape: { bbox: [170, -10, -170, 10] } }, '?area=box:170,-10,-170,10');
  check(
    'a circle',
    { shape: { circle: { lon: 1.5, lat: 2, radius_m: 900 } } },
    '?area=circle:1.5,2,900',
  );
  check(
    'a polygon',
    {
      shape: {
        polygon: [
          [0, 0],
          [1, 0],
          [1, 1.25],
        ],
      },
    },
    '?area=polygon:0,0,1,0,1,1.25',
  );
  check('the asset, followed', { asset: 'f/a', follow: true }, '?asset=f/a&follow=1');
  check('the camera', { place: { lat: 52.52, lon: 13.4, zoom: 5.5 } }, '?at=52.52,13.40,5.50');
  check(
    'filters',
    { query: 'x y', states: 0b0101, assetKind: 'van', alertsOnly: true, inViewOnly: true },
    '?q=x+y&state=moving,stale&kind=van&alerts=1&inview=1',
  );
  check(
    'taste',
    { theme: 'contrast', units: 'imperial', sortBy: 'fuel', grouping: false },
    '?sort=fuel&group=0&theme=contrast&units=imperial',
  );
});

describe('what makes no sense is ignored', () => {
  const check = (query: string) => it(query, () => expect(read(query)).toEqual(DEFAULT_VIEW));
  check('?at=91,0,3');
  check('?at=1,2');
  check('?at=NaN,0,1');
  check('?area=box:1,2,3');
  check('?area=box:0,50,10,40');
  check('?area=circle:0,0,-5');
  check('?area=polygon:0,0,1,1');
  check('?area=star:1,2,3');
  check('?theme=pink&units=furlongs&sort=magic&state=flying');
});
