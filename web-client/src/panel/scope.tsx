// Which fleets and which area are subscribed to.
// Invariant: what it says is what the gateway was asked for.

import { ChevronDown, Shapes, X } from 'lucide';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';

/** The picker shows this many at once; search finds the rest. */
const FLEETS_SHOWN_MAX = 100;

export function ScopeBar({ app }: { app: App }) {
  const { fleets, shape } = view.scope.value;
  const open = view.sheet.value === 'scope';
  return (
    <div class="scope">
      <button
        type="button"
        class="scope-button"
        aria-expanded={open}
        aria-haspopup="dialog"
        data-testid="scope"
        title={`${t.fleets} (W)`}
        onClick={() => {
          view.sheet.value = open ? 'none' : 'scope';
        }}
      >
        <span>{fleets.length === 0 ? t.fleetsAll : t.fleetsSome(fleets.length, fleets[0]!)}</span>
        <Icon node={ChevronDown} size={16} />
      </button>
      {shape && (
        <span class="tag" data-testid="area-tag">
          <Icon node={Shapes} size={14} />
          {areaName(shape)}
          <button
            type="button"
            class="plain"
            aria-label={t.stopRegion}
            onClick={() => app.watchShape(null)}
          >
            <Icon node={X} size={14} />
          </button>
        </span>
      )}
      {open && <FleetPicker app={app} />}
    </div>
  );
}

function areaName(shape: object): string {
  if ('circle' in shape) return t.drawCircle;
  return 'polygon' in shape ? t.drawPolygon : t.drawBox;
}

function FleetPicker({ app }: { app: App }) {
  const [find, setFind] = useState('');
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    app.link.say({ kind: 'fleets' });
    search.current?.focus();
  }, [app]);
  const all = view.fleets.value;
  const chosen = view.scope.value.fleets;
  const matching = (all ?? []).filter(({ fleet }) =>
    fleet.toLowerCase().includes(find.trim().toLowerCase()),
  );
  const toggle = (fleet: string) => {
    const next = chosen.includes(fleet)
      ? chosen.filter((one) => one !== fleet)
      : [...chosen, fleet];
    app.watch({ ...view.scope.peek(), fleets: next });
  };
  return (
    <div class="picker" role="dialog" aria-label={t.fleets} data-testid="fleet-picker">
      <input
        type="search"
        class="field"
        placeholder={t.fleetsSearch}
        aria-label={t.fleetsSearch}
        value={find}
        ref={search}
        onInput={(event) => setFind(event.currentTarget.value)}
      />
      <div class="picker-list">
        <label class="picker-row">
          <input
            type="checkbox"
            checked={chosen.length === 0}
            onChange={() => app.watch({ ...view.scope.peek(), fleets: [] })}
          />
          <span>{t.fleetsAll}</span>
        </label>
        {all?.length === 0 && <p class="soft">{t.fleetsNone}</p>}
        {matching.slice(0, FLEETS_SHOWN_MAX).map(({ fleet, assets }) => (
          <label class="picker-row" key={fleet}>
            <input
              type="checkbox"
              checked={chosen.includes(fleet)}
              onChange={() => toggle(fleet)}
            />
            <span>{fleet}</span>
            <span class="soft">{format.count(assets)}</span>
          </label>
        ))}
      </div>
    </div>
  );
}
