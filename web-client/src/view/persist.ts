// Ties the signals to the address bar, and the operator's taste to this browser.
// Invariant: a token is never written to the query, where proxies and histories would keep it.

import { batch, effect } from '@preact/signals';
import * as view from './state';
import { read, write } from './url';

const STORED = 'fleetcast.preferences';
const TOKEN = 'fleetcast.token';
/** Browsers refuse more than about 200 history changes in 30 s. */
const WRITE_MS = 400;

interface Preferences {
  theme?: view.ThemeChoice;
  units?: view.Units;
  temperatureMaxC?: number;
  fuelMinPct?: number;
}

export function restoreView(): void {
  const from = read(location.search);
  const stored = preferences();
  batch(() => {
    view.scope.value = { fleets: from.fleets, shape: from.shape };
    view.selectedKey.value = from.asset;
    view.place.value = from.place;
    view.states.value = from.states;
    view.query.value = from.query;
    view.assetKind.value = from.assetKind;
    view.alertsOnly.value = from.alertsOnly;
    view.inViewOnly.value = from.inViewOnly;
    view.follow.value = from.follow;
    view.grouping.value = from.grouping;
    view.sortBy.value = from.sortBy;
    view.theme.value = from.theme === 'auto' ? (stored.theme ?? 'auto') : from.theme;
    view.units.value = from.units === 'metric' ? (stored.units ?? 'metric') : from.units;
    view.temperatureMaxC.value = stored.temperatureMaxC ?? view.temperatureMaxC.value;
    view.fuelMinPct.value = stored.fuelMinPct ?? view.fuelMinPct.value;
  });
}

export function keepView(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let query = '';
  effect(() => {
    query = write({
      fleets: view.scope.value.fleets,
      shape: view.scope.value.shape,
      asset: view.selectedKey.value,
      place: view.place.value,
      states: view.states.value,
      query: view.query.value.trim(),
      assetKind: view.assetKind.value,
      alertsOnly: view.alertsOnly.value,
      inViewOnly: view.inViewOnly.value,
      follow: view.follow.value,
      grouping: view.grouping.value,
      sortBy: view.sortBy.value,
      theme: view.theme.value,
      units: view.units.value,
    });
    // Not put off by the next change: while an asset is followed, the place never rests.
    if (timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      history.replaceState(null, '', location.pathname + query);
    }, WRITE_MS);
  });
  effect(() => {
    const kept: Preferences = {
      theme: view.theme.value,
      units: view.units.value,
      temperatureMaxC: view.temperatureMaxC.value,
      fuelMinPct: view.fuelMinPct.value,
    };
    stash(() => localStorage.setItem(STORED, JSON.stringify(kept)));
  });
}

function preferences(): Preferences {
  return stash(() => JSON.parse(localStorage.getItem(STORED) ?? '{}') as Preferences) ?? {};
}

/** From `#token=…`, which is taken out of the address at once, or from this tab's session. */
export function takeToken(): string | null {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get('token');
  if (token) {
    history.replaceState(null, '', location.pathname + location.search);
    keepToken(token);
    return token;
  }
  return stash(() => sessionStorage.getItem(TOKEN)) ?? null;
}

export function keepToken(token: string): void {
  stash(() => sessionStorage.setItem(TOKEN, token));
}

/** Storage may be forbidden to the page; then nothing is remembered, and nothing breaks. */
function stash<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
