// The slower pass over all assets: their state by age, their alerts, and whether a filter hides them.
// Invariant: it depends only on the store, the criteria and the time, so it can be repeated freely.

import { AssetState, type FleetStore, MOVING_KMH, STATES } from './store';

export interface Criteria {
  /** One bit per `AssetState` that is shown. */
  states: number;
  /** Lower case; every word must occur in the id or the name. */
  query: string;
  /** Name of the kind of asset, '' for any. */
  assetKind: string;
  alertsOnly: boolean;
}

export interface Thresholds {
  staleAfterMs: number;
  offlineAfterMs: number;
  /** For assets that report a temperature. */
  temperatureMaxC: number;
  fuelMinPct: number;
  /** Silence in itself is an alert after this long. */
  silentAfterMs: number;
}

export interface Summary {
  /** By `AssetState`, of everything in scope. */
  counts: number[];
  alerts: number;
  total: number;
  shown: number;
}

export const ALERT_TEMPERATURE = 1;
export const ALERT_FUEL = 2;
export const ALERT_SILENT = 4;
/** The source itself reports an alarm. */
export const ALERT_SOURCE = 8;

export const ALL_STATES = 0b1111;

/** Which rows the search text matches, remembered until the text or the membership changes. */
export class SearchIndex {
  #query = '';
  #membership = -1;
  #matches = new Uint8Array(0);

  matches(store: FleetStore, query: string): Uint8Array | null {
    if (query === '') return null;
    if (query === this.#query && store.membership === this.#membership) return this.#matches;
    const words = query.split(/\s+/).filter((word) => word !== '');
    const matches = new Uint8Array(store.size);
    for (let row = 0; row < store.size; row++) {
      const hay = store.haystack[row]!;
      matches[row] = words.every((word) => hay.includes(word)) ? 1 : 0;
    }
    this.#query = query;
    this.#membership = store.membership;
    this.#matches = matches;
    return matches;
  }
}

export function refresh(
  store: FleetStore,
  criteria: Criteria,
  limits: Thresholds,
  search: SearchIndex,
  nowEpochMs: number,
): Summary {
  const counts = STATES.map(() => 0);
  const summary: Summary = { counts, alerts: 0, total: 0, shown: 0 };
  const matches = search.matches(store, criteria.query);
  const kind = criteria.assetKind === '' ? -1 : store.kinds.indexOf(criteria.assetKind);
  for (let row = 0; row < store.size; row++) {
    if (!store.isAlive(row)) continue;
    const ageMs = nowEpochMs - store.ts[row]!;
    const state = stateOf(ageMs, store.speedKmh[row]!, limits);
    const alerts = alertsOf(store, row, ageMs, limits);
    const found =
      (matches === null || matches[row] === 1) &&
      (criteria.assetKind === '' || store.assetKind[row] === kind);
    const shown =
      found && (criteria.states & (1 << state)) !== 0 && (!criteria.alertsOnly || alerts !== 0);
    if (alerts !== 0 && store.alerts[row] === 0) {
      // Silence began with the last report, long before it became an alert.
      const silent = alerts === ALERT_SILENT;
      store.alertSince[row] = silent ? store.ts[row]! + limits.silentAfterMs : nowEpochMs;
    }
    store.alerts[row] = alerts;
    store.setLook(row, state, alerts !== 0, !shown);
    summary.total += 1;
    // The chips count what the other filters leave, so that a click shows as many as it says.
    if (found) counts[state]! += 1;
    if (found && alerts !== 0) summary.alerts += 1;
    if (shown) summary.shown += 1;
  }
  store.looks += 1;
  store.version += 1;
  return summary;
}

export function stateOf(ageMs: number, speedKmh: number, limits: Thresholds): AssetState {
  if (ageMs > limits.offlineAfterMs) return AssetState.Offline;
  if (ageMs > limits.staleAfterMs) return AssetState.Stale;
  return speedKmh >= MOVING_KMH ? AssetState.Moving : AssetState.Stopped;
}

function alertsOf(store: FleetStore, row: number, ageMs: number, limits: Thresholds): number {
  let alerts = 0;
  // Comparisons with NaN are false: what an asset does not report cannot alarm.
  if (store.temperatureC[row]! > limits.temperatureMaxC) alerts |= ALERT_TEMPERATURE;
  if (store.fuelPct[row]! < limits.fuelMinPct) alerts |= ALERT_FUEL;
  if (store.alarm[row] !== 0) alerts |= ALERT_SOURCE;
  if (ageMs > limits.silentAfterMs) alerts |= ALERT_SILENT;
  return alerts;
}

/** Rows with alerts, the newest first, at most `max` of them. */
export function alertRows(store: FleetStore, max: number): number[] {
  const rows: number[] = [];
  for (let row = 0; row < store.size; row++) {
    if (store.isAlive(row) && store.alerts[row] !== 0) rows.push(row);
  }
  rows.sort((a, b) => store.alertSince[b]! - store.alertSince[a]! || a - b);
  return rows.slice(0, max);
}
