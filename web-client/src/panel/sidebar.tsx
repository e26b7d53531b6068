// The left column: search, filters by state, scope and the list.
// Invariant: every filter shown here applies to the list and to the map alike.

import { ChevronDown, Search, X } from 'lucide';
import type { App } from '../app';
import type { SortBy } from '../fleet/order';
import { ALL_STATES } from '../fleet/refresh';
import * as format from '../format';
import { SORT_NAMES, STATE_HINTS, STATE_NAMES, t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';
import { AssetList, StateMark } from './list';

export function Sidebar({ app }: { app: App }) {
  return (
    <aside class="sidebar" aria-label={t.listTitle}>
      <SearchBox app={app} />
      <StateChips app={app} />
      <ListHead app={app} />
      <AssetList app={app} />
    </aside>
  );
}

function SearchBox({ app }: { app: App }) {
  const change = (value: string) => {
    view.query.value = value;
    app.refreshNow();
  };
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
          if (event.key === 'ArrowDown' || event.key === 'Enter') app.listKey(down(event));
        }}
      />
      {view.query.value ? (
        <button type="button" class="plain" aria-label={t.searchClear} onClick={() => change('')}>
          <Icon node={X} size={16} />
        </button>
      ) : (
        <kbd aria-hidden="true">/</kbd>
      )}
    </search>
  );
}

/** From the search field, Enter and the arrow go to the first match. */
function down(event: KeyboardEvent): KeyboardEvent {
  event.preventDefault();
  return new KeyboardEvent('keydown', { key: 'ArrowDown' });
}

function StateChips({ app }: { app: App }) {
  const { counts } = view.summary.value;
  const chosen = view.states.value;
  const toggle = (state: number) => {
    const bit = 1 << state;
    // From "all" a click asks for that one alone; the last one off means all again.
    const next = chosen === ALL_STATES ? bit : chosen ^ bit;
    view.states.value = next === 0 ? ALL_STATES : next;
    app.refreshNow();
  };
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
          onClick={() => toggle(state)}
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
  return (
    <div class="list-head">
      <span data-testid="list-count">
        {t.listCount(format.count(view.listRows.value.length), format.count(total))}
      </span>
      <button
        type="button"
        class="link"
        aria-pressed={view.inViewOnly.value}
        onClick={() => {
          view.inViewOnly.value = !view.inViewOnly.value;
          app.refreshNow();
        }}
      >
        {t.inView}
      </button>
      <label class="select">
        <span class="sr-only">{t.sort}</span>
        <select
          value={view.sortBy.value}
          onChange={(event) => {
            view.sortBy.value = event.currentTarget.value as SortBy;
            app.refreshNow();
          }}
        >
          {Object.entries(SORT_NAMES).map(([by, name]) => (
            <option key={by} value={by}>
              {name}
            </option>
          ))}
        </select>
        <Icon node={ChevronDown} size={14} />
      </label>
    </div>
  );
}
