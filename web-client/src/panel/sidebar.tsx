// The left column: search, filters by state, scope and the list.
// Invariant: every filter shown here applies to the list and to the map alike.

import { ChevronDown, ChevronUp, Search, X } from 'lucide';
import type { App } from '../app';
import type { SortBy } from '../fleet/order';
import { ALL_STATES } from '../fleet/refresh';
import * as format from '../format';
import { SORT_NAMES, STATE_HINTS, STATE_NAMES, t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';
import { AssetList, StateMark } from './list';
import { ScopeBar } from './scope';

export function Sidebar({ app }: { app: App }) {
  return (
    <aside class="sidebar" aria-label={t.listTitle}>
      <header class="brand">
        <BrandMark />
        <h1>{t.product}</h1>
        <ScopeBar app={app} />
        <button
          type="button"
          class="icon-button list-toggle"
          aria-label={t.openList}
          aria-expanded={view.listOpen.value}
          onClick={() => {
            view.listOpen.value = !view.listOpen.value;
          }}
        >
          <Icon node={view.listOpen.value ? ChevronDown : ChevronUp} />
        </button>
      </header>
      <SearchBox app={app} />
      <StateChips app={app} />
      <ListHead app={app} />
      <AssetList app={app} />
    </aside>
  );
}

function BrandMark() {
  return (
    <svg class="brand-mark" width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M16 6 24.5 25 16 21 7.5 25Z" />
    </svg>
  );
}

function SearchBox({ app }: { app: App }) {
  const change = (value: string) => app.set(view.query, value);
  return (
    <search class="search">
      <Icon node={Search} />
      <input
        id="search"
        type="search"
        placeholder={t.search}
        aria-label={t.search}
        autocomplete="off"
        spellcheck={false}
        value={view.query.value}
        onInput={(event) => change(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'ArrowDown' && event.key !== 'Enter') return;
          event.preventDefault();
          app.selection.step(1);
          if (event.key === 'ArrowDown') document.getElementById('asset-list')?.focus();
        }}
      />
      {view.query.value ? (
        <button type="button" class="plain" aria-label={t.searchClear} onClick={() => change('')}>
          <Icon node={X} size={16} />
        </button>
      ) : (
        <kbd>/</kbd>
      )}
    </search>
  );
}

function StateChips({ app }: { app: App }) {
  const { counts } = view.summary.value;
  const chosen = view.states.value;
  return (
    <fieldset class="chips">
      <legend class="sr-only">{t.legend}</legend>
      {STATE_NAMES.map((name, state) => (
        <button
          type="button"
          key={name}
          class="chip"
          title={STATE_HINTS[state]}
          aria-pressed={chosen !== ALL_STATES && (chosen & (1 << state)) !== 0}
          data-testid={`chip-${name.toLowerCase()}`}
          onClick={() => app.toggleState(state)}
        >
          <StateMark state={state} />
          <span class="chip-name">{name}</span>
          <span class="chip-count">{format.count(counts[state]!)}</span>
        </button>
      ))}
    </fieldset>
  );
}

function ListHead({ app }: { app: App }) {
  const { total } = view.summary.value;
  const shown = view.listRows.value.length;
  const filtered = shown !== total;
  return (
    <div class="list-head">
      <span data-testid="list-count" class="list-count">
        {t.listCount(format.count(shown), format.count(total))}
        {filtered && (
          <button type="button" class="link" onClick={() => app.clearFilters()}>
            {t.listClearFilters}
          </button>
        )}
      </span>
      <KindSelect app={app} />
      <label class="select">
        <span class="sr-only">{t.sort}</span>
        <select
          value={view.sortBy.value}
          onChange={(event) => app.set(view.sortBy, event.currentTarget.value as SortBy)}
        >
          {Object.entries(SORT_NAMES).map(([by, name]) => (
            <option key={by} value={by}>
              {name}
            </option>
          ))}
        </select>
        <Icon node={ChevronDown} size={14} />
      </label>
      <label class="check" title={`${t.inView} (I)`}>
        <input
          type="checkbox"
          checked={view.inViewOnly.value}
          onChange={(event) => app.set(view.inViewOnly, event.currentTarget.checked)}
        />
        {t.inView}
      </label>
    </div>
  );
}

function KindSelect({ app }: { app: App }) {
  view.tick.value;
  const kinds = app.store.kinds.filter((kind) => kind !== '').sort();
  if (kinds.length < 2) return null;
  return (
    <label class="select">
      <span class="sr-only">{t.allKinds}</span>
      <select
        value={view.assetKind.value}
        onChange={(event) => app.set(view.assetKind, event.currentTarget.value)}
      >
        <option value="">{t.allKinds}</option>
        {kinds.map((kind) => (
          <option key={kind} value={kind}>
            {kind}
          </option>
        ))}
      </select>
      <Icon node={ChevronDown} size={14} />
    </label>
  );
}
