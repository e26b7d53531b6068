// Settings and the keyboard help, as modal dialogs.
// Invariant: native <dialog>, so focus stays inside and Escape closes.

import { X } from 'lucide';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import { STATE_HINTS, STATE_NAMES, t } from '../messages';
import { COMMANDS } from '../view/keys';
import * as view from '../view/state';
import { Icon } from './icon';
import { StateMark } from './list';

export function Dialogs({ app }: { app: App }) {
  if (view.sheet.value === 'settings') return <SettingsDialog app={app} />;
  if (view.sheet.value === 'help') return <HelpDialog />;
  return null;
}

interface DialogProps {
  title: string;
  sheet: view.Sheet;
  children: ComponentChildren;
}

function Dialog({ title, sheet, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  const close = () => {
    // The close event comes late: another sheet may be open by then.
    if (view.sheet.peek() === sheet) view.sheet.value = 'none';
  };
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself
    <dialog
      ref={element}
      aria-label={title}
      onClose={close}
      onClick={(event) => {
        // A click on the backdrop hits the dialog element itself.
        if (event.target === element.current) close();
      }}
    >
      <div class="dialog-body">
        <header class="panel-head">
          <h2>{title}</h2>
          <button type="button" class="icon-button" aria-label={t.close} onClick={close}>
            <Icon node={X} />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

const GROUPS = ['Find', 'Asset', 'Map', 'Areas', 'Page'] as const;

function HelpDialog() {
  return (
    <Dialog title={t.help} sheet="help">
      <div class="help" data-testid="help">
        {GROUPS.map((group) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl class="keys">
              {COMMANDS.filter((command) => command.group === group).map((command) => (
                <div key={command.keys[0]}>
                  <dt>
                    <kbd>{command.keys[0] === 'Escape' ? 'Esc' : command.keys[0]}</kbd>
                  </dt>
                  <dd>{command.label}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>{t.legend}</h3>
          <dl class="keys">
            {STATE_NAMES.map((name, state) => (
              <div key={name}>
                <dt>
                  <StateMark state={state} />
                </dt>
                <dd>
                  {name} <span class="soft">{STATE_HINTS[state]}</span>
                </dd>
              </div>
            ))}
            <div>
              <dt>
                <StateMark state={0} alert />
              </dt>
              <dd>{t.alerts}</dd>
            </div>
          </dl>
        </section>
      </div>
    </Dialog>
  );
}

const INTERVALS = [250, 500, 1_000, 2_000, 5_000];

function SettingsDialog({ app }: { app: App }) {
  const units = view.units.value;
  const imperial = units === 'imperial';
  const toShown = (celsius: number) => (imperial ? (celsius * 9) / 5 + 32 : celsius);
  const toCelsius = (shown: number) => (imperial ? ((shown - 32) * 5) / 9 : shown);
  const version = view.config.value.version;
  return (
    <Dialog title={t.settings} sheet="settings">
      <div class="settings" data-testid="settings">
        <Choice
          label={t.theme}
          value={view.theme.value}
          options={t.themes}
          onChange={(value) => {
            view.theme.value = value as view.ThemeChoice;
          }}
        />
        <Choice
          label={t.units}
          value={units}
          options={t.unitNames}
          onChange={(value) => {
            view.units.value = value as view.Units;
          }}
        />
        <Choice
          label={t.interval}
          value={String(view.intervalMs.value)}
          options={Object.fromEntries(
            INTERVALS.map((ms) => [ms, ms < 1000 ? `${ms} ms` : format.span(ms)]),
          )}
          onChange={(value) => {
            view.intervalMs.value = Number(value);
            app.link.say({ kind: 'interval', intervalMs: Number(value) });
          }}
        />
        <h3>{t.thresholds}</h3>
        <label class="setting">
          <span>{t.thresholdTemperature}</span>
          <span class="with-unit">
            <input
              class="field"
              type="number"
              step="0.5"
              value={Number(toShown(view.temperatureMaxC.value).toFixed(1))}
              onChange={(event) =>
                app.set(view.temperatureMaxC, toCelsius(event.currentTarget.valueAsNumber || 0))
              }
            />
            {imperial ? '°F' : '°C'}
          </span>
        </label>
        <label class="setting">
          <span>{t.thresholdFuel}</span>
          <span class="with-unit">
            <input
              class="field"
              type="number"
              min="0"
              max="100"
              value={view.fuelMinPct.value}
              onChange={(event) => app.set(view.fuelMinPct, event.currentTarget.valueAsNumber || 0)}
            />
            %
          </span>
        </label>
        <p class="soft">{t.thresholdSilent(format.span(view.config.value.offline_after_ms))}</p>
        <p class="soft">
          {version && `${t.product} ${version} · ${view.config.value.replica} · `}
          <a class="link" href="./ops">
            {t.ops}
          </a>
        </p>
      </div>
    </Dialog>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: Record<string, string>;
  onChange(value: string): void;
}

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <fieldset class="setting">
      <legend>{label}</legend>
      <div class="segments">
        {Object.entries(options).map(([key, name]) => (
          <label key={key} class="segment">
            <input
              type="radio"
              name={label}
              checked={key === value}
              onChange={() => onChange(key)}
            />
            <span>{name}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
