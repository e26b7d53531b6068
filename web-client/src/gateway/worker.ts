// The gateway worker: the socket, JSON and merging, away from the thread that draws.
// Invariant: at most one `rows` message per FLUSH_MS, whatever the gateway sends.

import { type Asset, type Change, connect, type Fleetcast } from 'fleetcast-client';
import { Columns, transferables } from './columns';
import type { FromWorker, ToWorker } from './messages';
import { RateMeter } from './rates';
import { ScopeFeed } from './scope_feed';

/** Parts of a snapshot arrive by the hundred; the page wants a few large messages. */
const FLUSH_MS = 40;
/** A hidden page needs its counts and alerts, not its frames. */
const FLUSH_HIDDEN_MS = 5_000;

const columns = new Columns();
const meter = new RateMeter();
let client: Fleetcast | null = null;
let feed: ScopeFeed | null = null;
let token: string | null = null;
let selected: number | null = null;
let visible = true;
let flushTimer: ReturnType<typeof setTimeout> | undefined;
/** The first assets are worth a message of their own: until they come the map is empty. */
let flushedOnce = false;

function say(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

function flush(): void {
  flushTimer = undefined;
  const packed = columns.take();
  if (!packed) return;
  flushedOnce = true;
  say({ kind: 'rows', ...packed }, transferables(packed));
}

function flushSoon(): void {
  if (!flushedOnce) flush();
  else flushTimer ??= setTimeout(flush, visible ? FLUSH_MS : FLUSH_HIDDEN_MS);
}

function applied(change: Change): void {
  const now = Date.now();
  meter.count(change.entered.length + change.updated.length);
  for (const asset of change.entered) columns.put(asset);
  for (const asset of change.updated) {
    columns.put(asset);
    meter.age(now - asset.ts);
  }
  for (const ref of change.left) columns.remove(ref);
  flushSoon();
  if (selected !== null) detail(selected);
}

let detailed: Asset | undefined;

/** The whole asset, for the one that the page shows in full. */
function detail(row: number): void {
  const asset = columns.asset(row);
  if (!asset || asset === detailed) return;
  detailed = asset;
  // After the columns that give the row its place, so the page knows which asset it is.
  flush();
  say({ kind: 'detail', row, asset });
}

function start(message: Extract<ToWorker, { kind: 'connect' }>): void {
  token = message.token;
  client = connect(message.url, { token: () => token ?? '' });
  client.onState((state) => say({ kind: 'connection', state }));
  client.socket.on('auth_expiring', ({ in_ms }) => say({ kind: 'expiring', inMs: in_ms }));
  feed = new ScopeFeed(client, message.intervalMs, {
    changed: applied,
    cleared: () => {
      columns.clear();
      flushSoon();
    },
    state: (state) => {
      if (state.kind === 'live') flush();
      say({ kind: 'feed', feed: state });
    },
    resynced: (reason) => say({ kind: 'resync', reason }),
    interval: (intervalMs, slowed) => say({ kind: 'interval', intervalMs, slowed }),
  });
  feed.watch(message.scope);
}

async function history(row: number, fromTs: number): Promise<void> {
  const asset = columns.asset(row);
  if (!asset || !client) return;
  try {
    const track = await client.history(asset.id, { fleet: asset.fleet, fromTs, limit: 1_000 });
    say({ kind: 'history', row, track, error: null });
  } catch (error) {
    say({ kind: 'history', row, track: [], error: String((error as Error).message) });
  }
}

async function fleets(): Promise<void> {
  if (!client) return;
  try {
    say({ kind: 'fleets', fleets: await client.fleets(), error: null });
  } catch (error) {
    say({ kind: 'fleets', fleets: [], error: String((error as Error).message) });
  }
}

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case 'connect':
      return start(data);
    case 'scope':
      return feed?.watch(data.scope);
    case 'interval':
      return feed?.setInterval(data.intervalMs);
    case 'token':
      token = data.token;
      if (client?.state.kind === 'refused') client.retry();
      else if (client?.socket.connected) client.socket.emit('auth_refresh', { token }, () => {});
      return;
    case 'select':
      selected = data.row;
      detailed = undefined;
      if (selected !== null) detail(selected);
      return;
    case 'history':
      return void history(data.row, data.fromTs);
    case 'fleets':
      return void fleets();
    case 'visible':
      visible = data.visible;
      if (visible) {
        clearTimeout(flushTimer);
        flush();
      }
      return;
  }
};

setInterval(() => {
  if (!client) return;
  const rates = meter.take();
  const transport = client.socket.io.engine?.transport?.name ?? '';
  feed?.judge(rates.lagMs);
  say({ kind: 'rates', rates: { ...rates, transport } });
}, 1_000);
