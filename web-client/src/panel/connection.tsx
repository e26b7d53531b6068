// The state of the connection: always on screen, never in the way.
// Invariant: it says what is true of the data on the map, not only of the socket.

import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';

type Tone = 'good' | 'busy' | 'bad';

export function ConnectionPill() {
  const { tone, text } = connectionText();
  const rates = view.rates.value;
  const live = tone === 'good';
  return (
    <section class={`pill tone-${tone}`} aria-label={t.transport} data-testid="connection">
      <span class="pill-dot" aria-hidden="true" />
      <strong role="status">{text}</strong>
      {live && (
        <span class="pill-facts">
          <span>{t.updatesPerS(format.count(rates.updatesPerS))}</span>
          {rates.lagMs !== null && <span>{t.lag(format.lag(rates.lagMs))}</span>}
          {rates.transport && <span>{rates.transport}</span>}
          {view.config.value.replica && <span>{view.config.value.replica}</span>}
        </span>
      )}
    </section>
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
