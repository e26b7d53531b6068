// The list of assets: the map's text twin, as a virtual listbox.
// Invariant: only the rows on screen are in the DOM, whatever the size of the fleet.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import { STATE_NAMES, t } from '../messages';
import * as view from '../view/state';

const ROW_PX = 58;
const OVERSCAN = 4;

export function AssetList({ app }: { app: App }) {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const rows = view.listRows.value;
  // Reading the tick redraws the values of the rows on screen.
  view.tick.value;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      height.value = element.clientHeight;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const selected = view.selectedKey.value;
  useEffect(() => {
    const element = box.current;
    const row = selected === null ? undefined : app.store.rowOfKey(selected);
    if (!element || row === undefined) return;
    const at = view.listRows.peek().indexOf(row) * ROW_PX;
    if (at < 0) return;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at + ROW_PX > element.scrollTop + element.clientHeight) {
      element.scrollTop = at + ROW_PX - element.clientHeight;
    }
  }, [selected]);

  const first = Math.max(0, Math.floor(top.value / ROW_PX) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((top.value + height.value) / ROW_PX) + OVERSCAN);
  const shown = Array.from(rows.subarray(first, last));
  const selectedRow = selected === null ? undefined : app.store.rowOfKey(selected);
  return (
    <div
      class="list"
      id="asset-list"
      ref={box}
      role="listbox"
      tabIndex={0}
      aria-label={t.listTitle}
      aria-activedescendant={
        selectedRow !== undefined && shown.includes(selectedRow) ? `row-${selectedRow}` : undefined
      }
      data-testid="list"
      onScroll={(event) => {
        top.value = event.currentTarget.scrollTop;
      }}
      onKeyDown={(event) => listKey(app, event)}
    >
      <div
        role="presentation"
        style={{ height: `${rows.length * ROW_PX}px`, position: 'relative' }}
      >
        {rows.length === 0 && app.store.alive > 0 && (
          <p class="list-none">{t.listNothingMatches}</p>
        )}
        {shown.map((row, i) => (
          <ListRow
            key={row}
            app={app}
            row={row}
            index={first + i}
            total={rows.length}
            selected={row === selectedRow}
          />
        ))}
      </div>
    </div>
  );
}

const STEPS: Record<string, number> = {
  ArrowDown: 1,
  ArrowUp: -1,
  PageDown: 10,
  PageUp: -10,
  Home: -1e9,
  End: 1e9,
};

function listKey(app: App, event: KeyboardEvent): void {
  const by = STEPS[event.key];
  if (by === undefined) return;
  event.preventDefault();
  app.selection.step(by);
}

interface RowProps {
  app: App;
  row: number;
  index: number;
  total: number;
  selected: boolean;
}

function ListRow({ app, row, index, total, selected }: RowProps) {
  const { store } = app;
  const state = store.state[row]!;
  const ageMs = app.now() - store.ts[row]!;
  const units = view.units.value;
  const name = store.name[row] || store.id[row];
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the listbox handles keys for its options
    <div
      id={`row-${row}`}
      class="row"
      role="option"
      tabIndex={-1}
      aria-selected={selected}
      aria-setsize={total}
      aria-posinset={index + 1}
      style={{ transform: `translateY(${index * ROW_PX}px)` }}
      onClick={() => app.selection.select(store.key(row), true)}
      onMouseEnter={() => app.hover(row)}
      onMouseLeave={() => app.hover(null)}
    >
      <StateMark state={state} alert={store.alerts[row] !== 0} />
      <span class="row-main">
        <span class="row-name">{name}</span>
        <span class="row-sub">
          {store.fleetName(row)}
          {store.kindName(row) && ` · ${store.kindName(row)}`}
        </span>
      </span>
      <span class="row-side">
        <span class="row-value">
          {state <= 1 ? format.speed(store.speedKmh[row]!, units) : STATE_NAMES[state]}
        </span>
        <span class="row-sub">{format.ago(ageMs)}</span>
      </span>
    </div>
  );
}

export function StateMark({ state, alert = false }: { state: number; alert?: boolean }) {
  return (
    <svg class={`mark mark-${state}`} width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
      {alert && <circle class="mark-alert" cx="9" cy="9" r="8" />}
      {state === 0 && <circle cx="9" cy="9" r="5" />}
      {state === 1 && <rect x="4.5" y="4.5" width="9" height="9" rx="1.5" />}
      {state === 2 && <rect x="5.2" y="5.2" width="7.6" height="7.6" transform="rotate(45 9 9)" />}
      {state === 3 && <circle cx="9" cy="9" r="4.2" />}
    </svg>
  );
}
