// The operations page: the gateway over the last minutes.
// Invariant: it costs the gateway one small answer per poll, and nothing while the tab is hidden.

import 'uplot/dist/uPlot.min.css';
import '../style/ops.css';
import { signal } from '@preact/signals';
import { ArrowLeft } from 'lucide';
import { useState } from 'preact/hooks';
import * as format from '../format';
import { t } from '../messages';
import { Icon } from '../panel/icon';
import { keepToken } from '../view/persist';
import { Chart, type Line } from './chart';
import { type OpsAnswer, OpsHistories, type OpsHistory, type OpsSample } from './samples';

const POLL_MS = 2_000;
const MEMORY_CLASSES_MAX = 6;
const COLORS = ['--state-0', '--state-1', '--state-2', '--alert', '--accent', '--state-3'];

type Access = 'loading' | 'open' | 'denied' | 'absent' | 'down';

const histories = new OpsHistories();
const access = signal<Access>('loading');
const answer = signal<OpsAnswer | null>(null);
/** The replica that the charts show. */
const shown = signal('');
let token: string | null = null;

export function startOps(withToken: string | null): void {
  token = withToken;
  const poll = async () => {
    if (!document.hidden) await ask();
    setTimeout(poll, POLL_MS);
  };
  void poll();
}

async function ask(): Promise<void> {
  try {
    const response = await fetch(`api/ops?since=${histories.since}`, {
      cache: 'no-store',
      headers: token ? { authorization: `Bearer ${token}` } : {},
    });
    if (response.status === 401 || response.status === 403) access.value = 'denied';
    else if (response.status === 404) access.value = 'absent';
    else if (!response.ok) access.value = 'down';
    else {
      const said = (await response.json()) as OpsAnswer;
      histories.add(said);
      if (!histories.of(shown.peek())) shown.value = said.replica;
      answer.value = said;
      access.value = 'open';
    }
  } catch {
    access.value = 'down';
  }
}

export function OpsPage() {
  const said = answer.value;
  return (
    <div class="ops">
      <header class="ops-head">
        <a class="button" href="./">
          <Icon node={ArrowLeft} size={16} />
          {t.opsBack}
        </a>
        <h1>{t.ops}</h1>
        {said && <ShownReplica names={histories.names} />}
        {access.value === 'down' && (
          <strong class="ops-down" role="status">
            {t.down}
          </strong>
        )}
      </header>
      <main>
        {access.value === 'denied' && <Denied />}
        {access.value === 'absent' && <p class="soft">{t.opsAbsent}</p>}
        {access.value === 'loading' && <p class="soft">{t.connecting}</p>}
        {said && <Charts history={histories.of(shown.value)} at={said.now} />}
        {said && <Replicas said={said} />}
      </main>
    </div>
  );
}

function Denied() {
  const [value, setValue] = useState('');
  return (
    <form
      class="token-form ops-token"
      onSubmit={(event) => {
        event.preventDefault();
        token = value.trim();
        keepToken(token);
        void ask();
      }}
    >
      <p>{t.opsDenied}</p>
      <label class="sr-only" for="ops-token">
        {t.tokenLabel}
      </label>
      <input
        id="ops-token"
        type="password"
        autocomplete="off"
        placeholder={t.tokenLabel}
        value={value}
        onInput={(event) => setValue(event.currentTarget.value)}
      />
      <button type="submit" class="button primary">
        {t.tokenSubmit}
      </button>
    </form>
  );
}

/** Which replica the charts are of; a choice where several answer, as behind a load balancer. */
function ShownReplica({ names }: { names: string[] }) {
  if (names.length < 2) return <span class="soft">{shown.value}</span>;
  return (
    <select
      aria-label={t.replica}
      value={shown.value}
      onChange={(event) => {
        shown.value = event.currentTarget.value;
      }}
    >
      {names.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

type Pick = (sample: OpsSample) => number | null | undefined;

function linesOf(history: OpsHistory, picks: [string, Pick][]): Line[] {
  return picks.map(([label, pick], i) => ({
    label,
    color: COLORS[i % COLORS.length]!,
    values: history.column(pick),
  }));
}

/** A history grows in place: `at` says that it may have. */
function Charts({ history }: { history: OpsHistory | undefined; at: number }) {
  if (!history) return null;
  const lines = (...picks: [string, Pick][]) => linesOf(history, picks);
  const times = history.times();
  if (times.length < 2) return <p class="soft">{t.opsSoon}</p>;
  const count = (value: number) => format.count(value);
  const bytes = (value: number) => format.bytes(value);
  const ms = (value: number) => format.lag(value);
  const fineMs = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  const kafka = lines([t.opsKafkaLag, (s) => s.kafka_lag]);
  const hasKafka = kafka[0]!.values.some((value) => value !== null);
  const memory = history
    .memoryClasses(MEMORY_CLASSES_MAX)
    .map((name): [string, Pick] => [name.replaceAll('_', ' '), (s) => s.memory[name]]);
  const charts: [string, Line[], (value: number) => string][] = [
    [t.opsViewers, lines(['websocket', (s) => s.websocket], ['polling', (s) => s.polling]), count],
    [
      t.opsRates,
      lines([t.opsUpdates, (s) => s.updates_per_s], [t.opsDeliveries, (s) => s.deliveries_per_s]),
      count,
    ],
    [t.opsBytes, lines([t.opsSent, (s) => s.bytes_per_s]), bytes],
    [
      t.opsAge,
      lines(
        [t.opsAgeFleets('p50'), (s) => s.age_p50_ms],
        [t.opsAgeFleets('p99'), (s) => s.age_p99_ms],
        [t.opsAgeRegions('p50'), (s) => s.region_age_p50_ms],
        [t.opsAgeRegions('p99'), (s) => s.region_age_p99_ms],
      ),
      ms,
    ],
    [t.opsLag, lines(['p99', (s) => s.runtime_lag_p99_ms]), fineMs],
    [
      t.opsSlow,
      lines(
        [t.opsLagging, (s) => s.lagging_per_s],
        [t.opsConflated, (s) => s.conflated_per_s],
        [t.opsResyncs, (s) => s.resyncs_per_s],
      ),
      count,
    ],
    [t.opsMemory, lines(...memory), bytes],
  ];
  if (hasKafka) charts.splice(5, 0, [t.opsKafkaLag, kafka, count]);
  return (
    <div class="charts" data-testid="charts">
      {charts.map(([title, series, show]) => (
        <Chart key={title} title={title} times={times} lines={series} format={show} />
      ))}
    </div>
  );
}

function Replicas({ said }: { said: OpsAnswer }) {
  return (
    <table class="replicas" data-testid="replicas">
      <caption>{t.opsReplicas}</caption>
      <thead>
        <tr>
          {[t.replica, t.version, t.opsViewers, t.opsUptime, t.opsSeen].map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {said.replicas.map((replica) => (
          <tr key={replica.name}>
            <th scope="row">{replica.name}</th>
            <td>{replica.version}</td>
            <td>{format.count(replica.viewers)}</td>
            <td>{format.span(replica.uptime_s * 1000)}</td>
            <td>{format.ago(replica.seen_ms)}</td>
          </tr>
        ))}
        {said.silent_replicas > 0 && (
          <tr>
            <td colSpan={5} class="soft">
              {t.opsSilent(said.silent_replicas)}
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}
