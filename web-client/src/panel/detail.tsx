// Everything about the selected asset, live.
// Invariant: every value shown is of one and the same report, except the age, which grows.

import { Crosshair, Link2, Locate, X } from 'lucide';
import type { App } from '../app';
import type { Metric } from '../fleet/series';
import * as format from '../format';
import { heading as headingOf, KNOWN_FIELDS, number } from '../gateway/fields';
import { STATE_NAMES, t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';
import { StateMark } from './list';
import { Sparkline } from './sparkline';

export function Detail({ app }: { app: App }) {
  const key = view.selectedKey.value;
  view.tick.value;
  if (key === null) return null;
  const detail = view.detail.value;
  return (
    <section class="detail" aria-label={key} data-testid="detail">
      {detail ? <Present app={app} /> : <Absent app={app} keyName={key} />}
    </section>
  );
}

function Absent({ app, keyName }: { app: App; keyName: string }) {
  const live = view.feed.value.kind === 'live';
  return (
    <>
      <DetailHead app={app} title={keyName.slice(keyName.indexOf('/') + 1)} sub={keyName} />
      <p class="detail-gone">{live ? t.gone : t.connecting}</p>
    </>
  );
}

function DetailHead({ app, title, sub }: { app: App; title: string; sub: string }) {
  return (
    <header class="detail-head">
      <div class="detail-titles">
        <h2>{title}</h2>
        <p>{sub}</p>
      </div>
      <button
        type="button"
        class="icon-button"
        aria-label={t.close}
        title={`${t.close} (Esc)`}
        onClick={() => app.selection.select(null, false)}
      >
        <Icon node={X} />
      </button>
    </header>
  );
}

function Present({ app }: { app: App }) {
  const { row, asset } = view.detail.value!;
  const { store } = app;
  const state = store.state[row]!;
  const following = view.follow.value;
  const kind = store.kindName(row);
  return (
    <>
      <DetailHead
        app={app}
        title={store.name[row] || asset.id}
        sub={[asset.id, asset.fleet, kind].filter(Boolean).join(' · ')}
      />
      <div class="detail-state">
        <StateMark state={state} alert={store.alerts[row] !== 0} />
        <strong>{STATE_NAMES[state]}</strong>
        <span class="soft" data-testid="detail-age">
          {format.ago(app.now() - asset.ts)}
        </span>
      </div>
      <div class="detail-actions">
        <button
          type="button"
          class={following ? 'button primary' : 'button'}
          aria-pressed={following}
          title="F"
          onClick={() => app.toggleFollow()}
        >
          <Icon node={Locate} size={16} />
          {following ? t.following : t.follow}
        </button>
        <button type="button" class="button" title="C" onClick={() => app.centre()}>
          <Icon node={Crosshair} size={16} />
          {t.center}
        </button>
        <button type="button" class="button" title="Y" onClick={() => void app.copyLink()}>
          <Icon node={Link2} size={16} />
          {t.copyLink}
        </button>
      </div>
      {/* Focusable, so that the keyboard can scroll it where it is too tall. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: as said */}
      <section class="detail-body" tabIndex={0} aria-label={t.detailBody}>
        <Metrics app={app} />
        <Facts />
      </section>
    </>
  );
}

function Metrics({ app }: { app: App }) {
  const { asset } = view.detail.value!;
  const units = view.units.value;
  const card = (
    metric: Metric,
    label: string,
    show: (value: number) => string,
    minSpan: number,
    alarm: boolean,
    threshold?: number,
  ) => {
    const value = number(asset.data, metric);
    if (!Number.isFinite(value)) return null;
    return (
      <div class={alarm ? 'metric metric-alarm' : 'metric'}>
        <div class="metric-head">
          <span>{label}</span>
          <strong>{show(value)}</strong>
        </div>
        <Sparkline
          values={app.selection.series.values(metric)}
          label={label}
          format={show}
          minSpan={minSpan}
          {...(threshold !== undefined && { threshold })}
        />
      </div>
    );
  };
  const maxC = view.temperatureMaxC.value;
  const minPct = view.fuelMinPct.value;
  const limits = app.thresholds();
  const speedText = (value: number) => format.speed(value, units);
  const temperatureText = (value: number) => format.temperature(value, units);
  const tooWarm = number(asset.data, 'temperatureC') > limits.temperatureMaxC;
  const tooLow = number(asset.data, 'fuelPct') < limits.fuelMinPct;
  return (
    <div class="metrics">
      {card('speedKmh', t.speed, speedText, 20, false)}
      {card('temperatureC', t.temperature, temperatureText, 4, tooWarm, maxC)}
      {card('fuelPct', t.fuel, format.percent, 10, tooLow, minPct)}
    </div>
  );
}

function Facts() {
  const { asset } = view.detail.value!;
  const others = Object.entries(asset.data).filter(
    ([name, value]) => !KNOWN_FIELDS.has(name) && value !== null && value !== undefined,
  );
  return (
    <dl class="facts">
      <div>
        <dt>{t.heading}</dt>
        <dd>{format.heading(headingOf(asset.data))}</dd>
      </div>
      <div>
        <dt>{t.position}</dt>
        <dd>{format.position(asset.lat, asset.lon)}</dd>
      </div>
      <div>
        <dt>{t.lastReport}</dt>
        <dd>{new Date(asset.ts).toLocaleTimeString()}</dd>
      </div>
      {others.slice(0, OTHERS_MAX).map(([name, value]) => (
        <div key={name}>
          <dt>{name.replaceAll('_', ' ')}</dt>
          <dd>{typeof value === 'object' ? JSON.stringify(value) : String(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A source may send hundreds of fields; the rest is for other tools. */
const OTHERS_MAX = 40;
