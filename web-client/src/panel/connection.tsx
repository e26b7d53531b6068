// The state of the connection: always on screen, never in the way.
// Invariant: it says what is true of the data on the map, not only of the socket.

import { useSignal } from '@preact/signals';
import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';

type Tone = 'good' | 'busy' | 'bad';

export function ConnectionPill() {
  const open = useSignal(false);
  const { tone, text } = connectionText();
  const rates = view.rates.value;
  return (
    <section class={`pill tone-${tone}`} aria-label={t.connection} data-testid="connection">
      {open.value && <ConnectionCard />}
      <button
        type="button"
        class="pill-button"
        aria-expanded={open.value}
        onClick={() => {
          open.value = !open.value;
        }}
      >
        <span class="pill-dot" aria-hidden="true" />
        <strong role="status">{text}</strong>
        {tone === 'good' && (
          <span class="pill-facts">
            <span>{t.updatesPerS(format.count(rates.updatesPerS))}</span>
            {rates.lagMs !== null && <span>{t.lag(format.lag(rates.lagMs))}</span>}
          </span>
        )}
      </button>
    </section>
  );
}

function ConnectionCard() {
  const connection = view.connection.value;
  const rates = view.rates.value;
  const config = view.config.value;
  const facts: [string, string][] = [
    [t.updates, t.updatesPerS(format.count(rates.updatesPerS))],
    [t.lagLong, format.lag(rates.lagMs)],
    [t.interval, format.lag(view.intervalMs.value)],
    [t.transport, rates.transport || format.NONE],
    [t.replica, config.replica || format.NONE],
    [t.socketId, connection.kind === 'connected' ? connection.socketId : format.NONE],
    [t.version, config.version || format.NONE],
  ];
  return (
    <div class="pill-card" data-testid="connection-card">
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <p>
        <strong>{t.onReconnect}:</strong> {t.onReconnectHint}
      </p>
    </div>
  );
}

export function connectionText(): { tone: Tone; text: string } {
  const connection = view.connection.value;
  const feed = view.feed.value;
  if (connection.kind === 'connecting') return { tone: 'busy', text: t.connecting };
  if (connection.kind === 'refused') return { tone: 'bad', text: t.refused };
  if (connection.kind === 'reconnecting') return { tone: 'bad', text: t.reconnecting };
  if (feed.kind === 'failed') return { tone: 'bad', text: t.failed };
  if (feed.kind === 'loading' || feed.kind === 'waiting') {
    return { tone: 'busy', text: t.loading(format.count(view.summary.value.total)) };
  }
  if (view.slowed.value) {
    return { tone: 'busy', text: t.slow(format.span(view.intervalMs.value)) };
  }
  return { tone: 'good', text: t.live };
}
