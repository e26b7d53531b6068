// The alerts that hold right now, the newest first.
// Invariant: it informs and never interrupts: no sound, no dialog.

import { X } from 'lucide';
import type { App } from '../app';
import { ALERT_FUEL, ALERT_SILENT, ALERT_TEMPERATURE, alertRows } from '../fleet/refresh';
import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';
import { StateMark } from './list';

const SHOWN_MAX = 60;

export function Alerts({ app }: { app: App }) {
  if (view.sheet.value !== 'alerts') return null;
  view.tick.value;
  const { store } = app;
  const rows = alertRows(store, SHOWN_MAX);
  const total = view.summary.value.alerts;
  return (
    <section class="alerts" aria-label={t.alerts} data-testid="alerts">
      <header class="panel-head">
        <h2>{t.alerts}</h2>
        <button
          type="button"
          class="link"
          aria-pressed={view.alertsOnly.value}
          onClick={() => app.set(view.alertsOnly, !view.alertsOnly.peek())}
        >
          {t.onlyAlerts}
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label={t.close}
          onClick={() => {
            view.sheet.value = 'none';
          }}
        >
          <Icon node={X} />
        </button>
      </header>
      {rows.length === 0 && <p class="soft alerts-none">{t.alertsNone}</p>}
      <ul>
        {rows.map((row) => (
          <li key={row}>
            <button
              type="button"
              class="alert-row"
              onClick={() => app.selection.select(store.key(row), true)}
            >
              <StateMark state={store.state[row]!} alert />
              <span class="row-main">
                <span class="row-name">{store.name[row] || store.id[row]}</span>
                <span class="row-sub">{reason(app, row)}</span>
              </span>
              <span class="row-sub">{format.ago(app.now() - store.alertSince[row]!)}</span>
            </button>
          </li>
        ))}
      </ul>
      {total > rows.length && (
        <p class="soft alerts-none">{t.alertsMore(format.count(total - rows.length))}</p>
      )}
    </section>
  );
}

function reason(app: App, row: number): string {
  const { store } = app;
  const alerts = store.alerts[row]!;
  const units = view.units.value;
  if (alerts & ALERT_TEMPERATURE) {
    return t.alertTemperature(
      format.temperature(store.temperatureC[row]!, units),
      format.temperature(view.temperatureMaxC.value, units),
    );
  }
  if (alerts & ALERT_FUEL) return t.alertFuel(format.percent(store.fuelPct[row]!));
  if (alerts & ALERT_SILENT) return t.alertSilent(format.span(app.now() - store.ts[row]!));
  return t.alertSource(store.alarmNames[store.alarm[row]!] ?? '');
}
