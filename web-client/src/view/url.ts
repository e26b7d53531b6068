// The whole view as a query string, so that a link shows a colleague the same thing.
// Invariant: `write(read(x))` names the same view as `x`; a value that makes no sense is ignored.

import type { Bbox, Shape } from 'fleetcast-client';
import type { SortBy } from '../fleet/order';
import { ALL_STATES } from '../fleet/refresh';
import { SORT_NAMES, STATE_NAMES } from '../messages';
import type { MapPlace, ThemeChoice, Units } from './state';

export interface UrlView {
  fleets: string[];
  shape: Shape | null;
  asset: string | null;
  place: MapPlace | null;
  states: number;
  query: string;
  assetKind: string;
  alertsOnly: boolean;
  inViewOnly: boolean;
  follow: boolean;
  grouping: boolean;
  sortBy: SortBy;
  theme: ThemeChoice;
  units: Units;
}

export const DEFAULT_VIEW: UrlView = {
  fleets: [],
  shape: null,
  asset: null,
  place: null,
  states: ALL_STATES,
  query: '',
  assetKind: '',
  alertsOnly: false,
  inViewOnly: false,
  follow: false,
  grouping: true,
  sortBy: 'name',
  theme: 'auto',
  units: 'metric',
};

const THEMES: ThemeChoice[] = ['auto', 'light', 'dark', 'contrast'];

export function read(search: string): UrlView {
  const params = new URLSearchParams(search);
  const get = (name: string) => params.get(name) ?? '';
  const theme = get('theme') as ThemeChoice;
  const sortBy = get('sort') as SortBy;
  return {
    fleets: params.getAll('fleet').filter((fleet) => fleet !== ''),
    shape: readShape(get('area')),
    asset: get('asset') || null,
    place: readPlace(get('at')),
    states: readStates(get('state')),
    query: get('q'),
    assetKind: get('kind'),
    alertsOnly: get('alerts') === '1',
    inViewOnly: get('inview') === '1',
    follow: get('follow') === '1',
    grouping: get('group') !== '0',
    sortBy: sortBy in SORT_NAMES ? sortBy : 'name',
    theme: THEMES.includes(theme) ? theme : 'auto',
    units: get('units') === 'imperial' ? 'imperial' : 'metric',
  };
}

export function write(view: UrlView): string {
  const params = new URLSearchParams();
  for (const fleet of view.fleets) params.append('fleet', fleet);
  const put = (name: string, value: string) => {
    if (value !== '') params.set(name, value);
  };
  put('area', view.shape ? writeShape(view.shape) : '');
  put('asset', view.asset ?? '');
  put('follow', view.follow && view.asset ? '1' : '');
  put('q', view.query);
  put('state', view.states === ALL_STATES ? '' : writeStates(view.states));
  put('kind', view.assetKind);
  put('alerts', view.alertsOnly ? '1' : '');
  put('inview', view.inViewOnly ? '1' : '');
  put('sort', view.sortBy === 'name' ? '' : view.sortBy);
  put('group', view.grouping ? '' : '0');
  put('theme', view.theme === 'auto' ? '' : view.theme);
  put('units', view.units === 'metric' ? '' : view.units);
  const { place } = view;
  if (place) {
    const digits = Math.max(1, Math.min(6, Math.ceil(place.zoom / 3)));
    put('at', `${place.lat.toFixed(digits)},${place.lon.toFixed(digits)},${place.zoom.toFixed(2)}`);
  }
  // Commas, colons and slashes are legal in a query and far easier to read unescaped.
  const text = params.toString().replace(/%2C/g, ',').replace(/%3A/g, ':').replace(/%2F/g, '/');
  return text === '' ? '' : `?${text}`;
}

function numbers(text: string): number[] | null {
  if (text === '') return null;
  const list = text.split(',').map(Number);
  return list.every(Number.isFinite) ? list : null;
}

const isPlace = (lon: number, lat: number) => Math.abs(lon) <= 180 && Math.abs(lat) <= 90;

function readPlace(text: string): MapPlace | null {
  const list = numbers(text);
  if (list?.length !== 3) return null;
  const [lat, lon, zoom] = list as [number, number, number];
  return isPlace(lon, lat) && zoom >= 0 && zoom <= 22 ? { lat, lon, zoom } : null;
}

function readShape(text: string): Shape | null {
  const [kind, rest = ''] = text.split(':');
  const list = numbers(rest);
  if (!list) return null;
  if (kind === 'box' && list.length === 4) {
    const [w, s, e, n] = list as Bbox;
    return isPlace(w, s) && isPlace(e, n) && s < n ? { bbox: [w, s, e, n] } : null;
  }
  if (kind === 'circle' && list.length === 3) {
    const [lon, lat, radius_m] = list as [number, number, number];
    return isPlace(lon, lat) && radius_m > 0 ? { circle: { lon, lat, radius_m } } : null;
  }
  if (kind === 'polygon' && list.length >= 6 && list.length % 2 === 0) {
    const polygon: [number, number][] = [];
    for (let i = 0; i < list.length; i += 2) polygon.push([list[i]!, list[i + 1]!]);
    return polygon.every(([lon, lat]) => isPlace(lon, lat)) ? { polygon } : null;
  }
  return null;
}

const five = (value: number) => String(Number(value.toFixed(5)));

function writeShape(shape: Shape): string {
  if ('bbox' in shape) return `box:${shape.bbox.map(five).join(',')}`;
  if ('polygon' in shape) return `polygon:${shape.polygon.flat().map(five).join(',')}`;
  if ('circle' in shape) {
    const { lon, lat, radius_m } = shape.circle;
    return `circle:${five(lon)},${five(lat)},${Math.round(radius_m)}`;
  }
  return '';
}

function readStates(text: string): number {
  let states = 0;
  for (const name of text.split(',')) {
    const state = STATE_NAMES.findIndex((known) => known.toLowerCase() === name);
    if (state >= 0) states |= 1 << state;
  }
  return states === 0 ? ALL_STATES : states;
}

function writeStates(states: number): string {
  return STATE_NAMES.filter((_, state) => states & (1 << state))
    .map((name) => name.toLowerCase())
    .join(',');
}
