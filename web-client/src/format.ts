// Numbers, units and times as people read them.
// Invariant: pure; an unknown value is shown as an en dash, never as zero.

import type { Units } from './view/state';

export const NONE = '–';

const whole = new Intl.NumberFormat('en');

export const count = (value: number): string => whole.format(Math.round(value));

export function speed(kmh: number, units: Units): string {
  if (!Number.isFinite(kmh)) return NONE;
  return units === 'metric' ? `${Math.round(kmh)} km/h` : `${Math.round(kmh * 0.621371)} mph`;
}

export function temperature(celsius: number, units: Units): string {
  if (!Number.isFinite(celsius)) return NONE;
  return units === 'metric'
    ? `${celsius.toFixed(1)} °C`
    : `${((celsius * 9) / 5 + 32).toFixed(1)} °F`;
}

export function percent(value: number): string {
  return Number.isFinite(value) ? `${Math.round(value)} %` : NONE;
}

const POINTS = ['N', 'NE', 'E', 'SE', 'S', 'SW', 'W', 'NW'] as const;

export function heading(degrees: number): string {
  if (!(degrees >= 0)) return NONE;
  return `${POINTS[Math.round(degrees / 45) % 8]} ${Math.round(degrees)}°`;
}

export function bytes(value: number): string {
  if (value < 1_000) return `${Math.round(value)} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)} kB`;
  if (value < 1e9) return `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}

export function position(lat: number | undefined, lon: number | undefined): string {
  if (lat === undefined || lon === undefined) return NONE;
  const ns = lat < 0 ? 'S' : 'N';
  const ew = lon < 0 ? 'W' : 'E';
  return `${Math.abs(lat).toFixed(4)}° ${ns}, ${Math.abs(lon).toFixed(4)}° ${ew}`;
}

/** A length of time, coarse: `now`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function ago(ms: number): string {
  return ms < 2_000 ? 'now' : `${span(ms)} ago`;
}

export function lag(ms: number | null): string {
  if (ms === null) return NONE;
  if (ms < 1_000) return `${Math.max(0, Math.round(ms / 10) * 10)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : span(ms);
}
