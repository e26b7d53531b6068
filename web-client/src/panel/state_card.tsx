// What to say when there is nothing to see, or no way to see it.
// Invariant: exactly one reason at a time, the one nearest to the cause.

import { CircleSlash, KeyRound, MapPinOff, ServerOff } from 'lucide';
import { useState } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import { t } from '../messages';
import * as view from '../view/state';
import { Icon } from './icon';

export function StateCard({ app }: { app: App }) {
  const connection = view.connection.value;
  const feed = view.feed.value;
  const empty = view.summary.value.total === 0;
  if (connection.kind === 'refused') return <Refused app={app} reason={connection.message} />;
  if (connection.kind === 'reconnecting' && empty) {
    return (
      <Card id="down" icon={ServerOff} title={t.down} hint={t.downHint}>
        <code>{connection.reason}</code>
      </Card>
    );
  }
  if (connection.kind === 'connected' && feed.kind === 'failed') {
    return <Failed app={app} code={feed.error.code} message={feed.error.message} />;
  }
  if (connection.kind === 'connected' && feed.kind === 'live' && empty) return <Empty app={app} />;
  return null;
}

function Empty({ app }: { app: App }) {
  const { fleets, shape } = view.scope.value;
  const scoped = fleets.length > 0 || shape !== null;
  return (
    <Card id="empty" icon={MapPinOff} title={t.empty} hint={scoped ? t.emptyScope : t.emptyHint}>
      {scoped && (
        <button type="button" class="button primary" onClick={() => app.watchAll()}>
          {t.showEverything}
        </button>
      )}
    </Card>
  );
}

function Failed({ app, code, message }: { app: App; code: string; message: string }) {
  const forbidden = code === 'forbidden';
  return (
    <Card
      id={forbidden ? 'forbidden' : 'failed'}
      icon={CircleSlash}
      title={forbidden ? t.forbidden : t.failed}
      hint={forbidden ? t.forbiddenHint : message}
    >
      <div class="state-actions">
        {!forbidden && (
          <button type="button" class="button" onClick={() => app.watch({ ...view.scope.peek() })}>
            {t.retry}
          </button>
        )}
        <button type="button" class="button primary" onClick={() => app.watchAll()}>
          {t.showEverything}
        </button>
      </div>
    </Card>
  );
}

function Refused({ app, reason }: { app: App; reason: string }) {
  const [token, setToken] = useState('');
  return (
    <Card id="refused" icon={KeyRound} title={t.refused} hint={t.refusedHint}>
      <code>{reason}</code>
      <form
        class="token-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim() !== '') app.useToken(token.trim());
        }}
      >
        <label class="sr-only" for="token">
          {t.tokenLabel}
        </label>
        <input
          id="token"
          type="password"
          autocomplete="off"
          placeholder={t.tokenLabel}
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <button type="submit" class="button primary">
          {t.tokenSubmit}
        </button>
      </form>
    </Card>
  );
}

interface CardProps {
  id: string;
  icon: Parameters<typeof Icon>[0]['node'];
  title: string;
  hint: string;
  children?: preact.ComponentChildren;
}

function Card({ id, icon, title, hint, children }: CardProps) {
  return (
    <section class="state-card" role="status" data-testid={`state-${id}`}>
      <span class="state-icon">
        <Icon node={icon} size={26} />
      </span>
      <h2>{title}</h2>
      <p>{hint}</p>
      {children}
    </section>
  );
}

/** One line above the map while what it shows may be out of date. */
export function Banner() {
  const connection = view.connection.value;
  view.tick.value;
  if (connection.kind === 'reconnecting' && view.summary.value.total > 0) {
    return (
      <p class="banner banner-bad" role="status" data-testid="banner-reconnecting">
        <strong>{t.reconnecting}</strong> {t.reconnectingHint}
      </p>
    );
  }
  const expires = view.expiresAt.value;
  if (expires !== null) {
    return (
      <p class="banner banner-busy" role="status" data-testid="banner-expiring">
        {t.expiring(format.span(expires - Date.now()))}
      </p>
    );
  }
  return null;
}

export function Progress() {
  const feed = view.feed.value;
  if (feed.kind !== 'loading' || feed.parts === 0) return null;
  const share = Math.round((feed.part / feed.parts) * 100);
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={t.loading('')}
      aria-valuenow={share}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <div style={{ width: `${share}%` }} />
    </div>
  );
}

export function Toast() {
  const notice = view.notice.value;
  return (
    <div class="toast-place" role="status" aria-live="polite">
      {notice && (
        <p class="toast" data-testid="toast">
          {notice.text}
        </p>
      )}
    </div>
  );
}
