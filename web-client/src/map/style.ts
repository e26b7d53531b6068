// The offline basemap as a MapLibre style, from the files that scripts/basemap.mjs builds.
// Invariant: no URL of another host, and no glyph files: labels use the page's own font.

import type { Feature, FeatureCollection, Position } from 'geojson';
import type {
  FilterSpecification,
  LayerSpecification,
  SourceSpecification,
  StyleSpecification,
} from 'maplibre-gl';
import borders10 from './basemap-data/borders-10m.geojson?url';
import borders50 from './basemap-data/borders-50m.geojson?url';
import borders110 from './basemap-data/borders-110m.geojson?url';
import cities from './basemap-data/cities.geojson?url';
import countryLabels from './basemap-data/country-labels.geojson?url';
import land10 from './basemap-data/land-10m.geojson?url';
import land50 from './basemap-data/land-50m.geojson?url';
import land110 from './basemap-data/land-110m.geojson?url';
import states from './basemap-data/states.geojson?url';
import towns from './basemap-data/towns.geojson?url';
import water from './basemap-data/water.geojson?url';
import type { MapColors } from './palette';

const ATTRIBUTION = 'Natural Earth · GeoNames';
/** Below this the 1:110M survey is enough, and is on screen at once. */
const COARSE_ZOOM = 3;
/** From here on the 1:10M survey replaces the 1:50M one; it is loaded only then. */
const DETAIL_ZOOM = 6;
const FONT = ['Inter Variable'];

/** GeoJSON is cut into tiles in MapLibre's worker; beyond `maxzoom` it only magnifies. */
function geojson(url: string, maxzoom: number, attribution?: string): SourceSpecification {
  return {
    type: 'geojson',
    data: sourceUrl(url),
    maxzoom,
    tolerance: 0.3,
    buffer: 16,
    attribution,
  };
}

/** MapLibre loads a GeoJSON source at once, seen or not; these wait until their zoom is reached. */
export const LATER: Record<string, { url: string; zoom: number; maxzoom: number }> = {
  borders50: { url: borders50, zoom: COARSE_ZOOM - 0.4, maxzoom: 5 },
  land50: { url: land50, zoom: COARSE_ZOOM - 0.4, maxzoom: 5 },
  water: { url: water, zoom: 1.8, maxzoom: 7 },
  cities: { url: cities, zoom: 2.6, maxzoom: 7 },
  states: { url: states, zoom: 3.2, maxzoom: 7 },
  borders10: { url: borders10, zoom: DETAIL_ZOOM - 0.4, maxzoom: 10 },
  land10: { url: land10, zoom: DETAIL_ZOOM - 0.4, maxzoom: 10 },
  towns: { url: towns, zoom: 8.3, maxzoom: 9 },
};

/** Coarser land stands in at any zoom; once the source `until` is there it keeps to its own zooms. */
export const STAND_INS = [
  { layer: 'land110', until: 'land50', minzoom: 0, maxzoom: COARSE_ZOOM },
  { layer: 'land50', until: 'land10', minzoom: COARSE_ZOOM, maxzoom: DETAIL_ZOOM },
] as const;

/** `loaded` names those of `LATER` that are in use already, so that a theme change keeps them. */
export function offlineStyle(colors: MapColors, loaded: ReadonlySet<string>): StyleSpecification {
  const later = Object.entries(LATER).map(([id, { url, maxzoom }]) => [
    id,
    loaded.has(id) ? geojson(url, maxzoom) : { ...geojson(url, maxzoom), data: NOTHING },
  ]);
  return {
    version: 8,
    sources: {
      grid: { type: 'geojson', data: graticule(), maxzoom: 5 },
      land110: geojson(land110, 3, ATTRIBUTION),
      borders110: geojson(borders110, 3),
      countries: geojson(countryLabels, 4),
      ...Object.fromEntries(later),
    },
    layers: [...surface(colors, loaded), ...lines(colors), ...labels(colors)],
  };
}

const NOTHING: FeatureCollection = { type: 'FeatureCollection', features: [] };

export const sourceUrl = (url: string): string => new URL(url, document.baseURI).href;

const kind = (name: string): FilterSpecification => ['==', ['get', 'kind'], name];

function surface(c: MapColors, loaded: ReadonlySet<string>): LayerSpecification[] {
  const middle = {
    minzoom: COARSE_ZOOM,
    ...(loaded.has('land10') && { maxzoom: DETAIL_ZOOM }),
  };
  const fine = { minzoom: DETAIL_ZOOM };
  return [
    { id: 'sea', type: 'background', paint: { 'background-color': c.water } },
    { id: 'grid', type: 'line', source: 'grid', paint: { 'line-color': c.grid }, maxzoom: 7 },
    {
      id: 'land110',
      type: 'fill',
      source: 'land110',
      ...(loaded.has('land50') && { maxzoom: COARSE_ZOOM }),
      paint: { 'fill-color': c.land, 'fill-antialias': false },
    },
    {
      id: 'land50',
      type: 'fill',
      source: 'land50',
      ...middle,
      paint: { 'fill-color': c.land, 'fill-antialias': false },
    },
    { id: 'land10', type: 'fill', source: 'land10', ...fine, paint: { 'fill-color': c.land } },
    {
      id: 'lakes',
      type: 'fill',
      source: 'water',
      filter: kind('lake'),
      minzoom: 2,
      paint: { 'fill-color': c.water },
    },
  ];
}

function lines(c: MapColors): LayerSpecification[] {
  const width = (from: number, to: number): never =>
    ['interpolate', ['linear'], ['zoom'], 2, from, 8, to] as never;
  return [
    {
      id: 'rivers',
      type: 'line',
      source: 'water',
      filter: kind('river'),
      minzoom: 3,
      // Surveyed at 1:50M: closer up its corners show.
      maxzoom: 7,
      paint: { 'line-color': c.waterLine, 'line-width': width(0.5, 1.6) },
    },
    {
      id: 'states',
      type: 'line',
      source: 'states',
      minzoom: 3.5,
      paint: { 'line-color': c.state, 'line-width': width(0.5, 1.2) },
    },
    ...(['borders110', 'borders50'] as const).flatMap((source): LayerSpecification[] => {
      const zooms =
        source === 'borders110'
          ? { maxzoom: COARSE_ZOOM }
          : { minzoom: COARSE_ZOOM, maxzoom: DETAIL_ZOOM };
      return [
        {
          id: `coast-${source}`,
          type: 'line',
          source,
          filter: kind('coast'),
          ...zooms,
          paint: { 'line-color': c.coast, 'line-width': width(0.5, 1) },
        },
        {
          id: source,
          type: 'line',
          source,
          filter: kind('border'),
          ...zooms,
          paint: { 'line-color': c.border, 'line-width': width(0.5, 1.4) },
        },
      ];
    }),
    {
      id: 'borders10',
      type: 'line',
      source: 'borders10',
      minzoom: DETAIL_ZOOM,
      paint: { 'line-color': c.border, 'line-width': width(0.6, 1.8) },
    },
  ];
}

function labels(c: MapColors): LayerSpecification[] {
  const halo = { 'text-halo-color': c.halo, 'text-halo-width': 1.2 };
  return [
    {
      id: 'towns',
      type: 'symbol',
      source: 'towns',
      minzoom: 8.6,
      layout: {
        'text-field': ['get', 'name'],
        'text-font': FONT,
        'text-size': ['interpolate', ['linear'], ['zoom'], 8, 10, 13, 13],
        'symbol-sort-key': ['-', ['get', 'pop']],
        'text-padding': 6,
      },
      paint: { 'text-color': c.country, ...halo },
    },
    {
      id: 'city-dots',
      type: 'circle',
      source: 'cities',
      minzoom: 3.4,
      maxzoom: 8,
      filter: ['<=', ['get', 'zoom'], ['zoom']],
      paint: { 'circle-radius': 1.6, 'circle-color': c.cityDot },
    },
    {
      id: 'cities',
      type: 'symbol',
      source: 'cities',
      minzoom: 3,
      filter: ['<=', ['get', 'zoom'], ['zoom']],
      layout: {
        'text-field': ['get', 'name'],
        'text-font': FONT,
        'text-size': [
          'interpolate',
          ['linear'],
          ['zoom'],
          3,
          ['case', ['>', ['get', 'pop'], 5e6], 11, 10],
          10,
          ['case', ['>', ['get', 'pop'], 1e6], 18, ['>', ['get', 'pop'], 2e5], 15, 12],
        ],
        'symbol-sort-key': ['-', ['get', 'pop']],
        'text-variable-anchor': ['left', 'right', 'top', 'bottom'],
        'text-radial-offset': 0.45,
        'text-padding': 4,
      },
      paint: { 'text-color': c.city, ...halo },
    },
    {
      id: 'countries',
      type: 'symbol',
      source: 'countries',
      minzoom: 1,
      maxzoom: 7,
      filter: ['<=', ['get', 'rank'], ['step', ['zoom'], 1, 2.2, 2, 3.2, 3, 4.2, 4, 5.2, 5]],
      layout: {
        'text-field': ['get', 'name'],
        'text-font': FONT,
        'text-size': ['interpolate', ['linear'], ['zoom'], 2, 10, 6, 15],
        'text-letter-spacing': 0.08,
        'text-max-width': 7,
        'symbol-sort-key': ['-', ['get', 'area']],
        'text-padding': 4,
      },
      paint: { 'text-color': c.country, ...halo },
    },
  ];
}

/** Meridians and parallels every 10°: an ocean with nothing on it still tells where it is. */
function graticule(): Feature {
  const coordinates: Position[][] = [];
  for (let lon = -180; lon < 180; lon += 10) {
    coordinates.push([
      [lon, -85],
      [lon, 85],
    ]);
  }
  for (let lat = -80; lat <= 80; lat += 10) {
    coordinates.push([
      [-180, lat],
      [180, lat],
    ]);
  }
  return { type: 'Feature', properties: {}, geometry: { type: 'MultiLineString', coordinates } };
}
