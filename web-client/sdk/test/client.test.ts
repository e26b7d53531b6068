// The SDK against a real Socket.IO server that plays the gateway by script.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { afterEach, describe, expect, it } from 'vitest';
import { connect, type Fleetcast } from '../src/index';
import type { Asset } from '../src/protocol';

const asset = (id: string, ts: number, data = {}): Asset => ({
  id,
  fleet: 'f',
  ts,
  lat: 1,
  lon: 2,
  data,
});

interface Gateway {
  url: string;
  port: number;
  io: Server;
  /** Every subscribe request, in order. */
  asked: Record<string, unknown>[];
  close(): Promise<void>;
}

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function gateway(script: (socket: Socket, g: Gateway) => void, port = 0): Promise<Gateway> {
  const http = createServer();
  const io = new Server(http);
  const g: Gateway = { url: '', port: 0, io, asked: [], close: () => io.close() };
  io.on('connection', (socket) => {
    socket.onAny((event, body) => {
      if (String(event).endsWith('_subscribe')) g.asked.push({ event, ...body });
    });
    script(socket, g);
  });
  await new Promise<void>((done) => http.listen(port, '127.0.0.1', done));
  g.port = (http.address() as AddressInfo).port;
  g.url = `http://127.0.0.1:${g.port}`;
  open.push(g);
  return g;
}

function client(url: string, options = {}): Fleetcast {
  const made = connect(url, {
    ackTimeoutMs: 500,
    ...options,
    socket: { reconnectionDelay: 20, reconnectionDelayMax: 50 },
  });
  open.push(made);
  return made;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((again) => setTimeout(again, 5));
  }
}

type AckFn = (answer: unknown) => void;

/** Answers each region_subscribe like the gateway: a snapshot first, a difference after. */
function serveRegion(socket: Socket, snapshot: Asset[]): void {
  const known = new Set<string>();
  socket.on('region_subscribe', ({ region }, ack: AckFn) => {
    ack({ ok: true });
    if (known.has(region)) return;
    known.add(region);
    snapshot.forEach((one, i) => {
      socket.emit('region_snapshot', {
        region,
        part: i + 1,
        parts: snapshot.length,
        assets: [one],
      });
    });
  });
}

describe('subscriptions', () => {
  it('a snapshot in parts becomes the map, and says when it is whole', async () => {
    const g = await gateway((socket) => serveRegion(socket, [asset('a', 1), asset('b', 1)]));
    const region = client(g.url).subscribeRegion({ bbox: [-180, -90, 180, 90] });
    const seen: string[] = [];
    region.onState((state) => seen.push(state.kind));
    await until(() => region.state.kind === 'live', 'live');
    expect([...region.assets.keys()]).toEqual(['f/a', 'f/b']);
    expect(seen).toContain('loading');
  });

  it('an older report never replaces a newer one', async () => {
    const g = await gateway((socket) => {
      serveRegion(socket, [asset('a', 10, { n: 'new' })]);
      socket.on('go', () => {
        const moved = [asset('a', 9, { n: 'old' }), asset('b', 1)];
        socket.emit('region_updates', { region: 'r', entered: [], moved, left: [] });
      });
    });
    const c = client(g.url);
    const region = c.subscribeRegion({ bbox: [0, 0, 1, 1] }, { name: 'r' });
    await until(() => region.state.kind === 'live', 'live');
    c.socket.emit('go');
    await until(() => region.assets.has('f/b'), 'the update');
    expect(region.assets.get('f/a')).toMatchObject({ ts: 10, data: { n: 'new' } });
  });

  it('after a reconnect, what the new snapshot does not name has left', async () => {
    let snapshot = [asset('a', 1), asset('b', 1)];
    const g = await gateway((socket) => serveRegion(socket, snapshot));
    const region = client(g.url).subscribeRegion({ bbox: [0, 0, 1, 1] });
    await until(() => region.assets.size === 2, 'both');
    snapshot = [asset('b', 2)];
    const left: string[] = [];
    region.onChange((change) => left.push(...change.left.map(({ id }) => id)));
    for (const socket of await g.io.fetchSockets()) socket.disconnect(true);
    await until(() => region.assets.size === 1, 'a is gone');
    expect(left).toEqual(['a']);
    expect(region.assets.get('f/b')?.ts).toBe(2);
  });

  it('an update during the snapshot is not swept away at its end', async () => {
    const g = await gateway((socket) => {
      socket.on('region_subscribe', ({ region }, ack: AckFn) => {
        ack({ ok: true });
        socket.emit('region_snapshot', { region, part: 1, parts: 2, assets: [asset('a', 1)] });
        const entered = [asset('c', 5)];
        socket.emit('region_updates', { region, entered, moved: [], left: [] });
        socket.emit('region_snapshot', { region, part: 2, parts: 2, assets: [asset('b', 1)] });
      });
    });
    const region = client(g.url).subscribeRegion({ bbox: [0, 0, 1, 1] });
    await until(() => region.state.kind === 'live', 'live');
    expect([...region.assets.keys()].sort()).toEqual(['f/a', 'f/b', 'f/c']);
  });

  it('a moved region expects a difference and keeps what it has', async () => {
    const g = await gateway((socket) => {
      serveRegion(socket, [asset('a', 1)]);
      socket.on('region_subscribe', ({ bbox }) => {
        if (bbox[0] !== 5) return;
        const left = [{ id: 'a', fleet: 'f' }];
        socket.emit('region_updates', { region: 'r', entered: [asset('n', 1)], moved: [], left });
      });
    });
    const region = client(g.url).subscribeRegion({ bbox: [0, 0, 1, 1] }, { name: 'r' });
    await until(() => region.state.kind === 'live', 'live');
    const states: string[] = [];
    region.onState((state) => states.push(state.kind));
    region.move({ bbox: [5, 0, 6, 1] });
    await until(() => region.assets.has('f/n'), 'the difference');
    expect([...region.assets.keys()]).toEqual(['f/n']);
    expect(states).not.toContain('loading');
  });
});

describe('resume', () => {
  function serveFleet(socket: Socket, resumes: boolean): void {
    socket.on('fleet_subscribe', ({ fleet, since }, ack: AckFn) => {
      const resumed = resumes && since !== undefined;
      ack({ ok: true, resumed });
      const assets = resumed ? [asset('b', 9)] : [asset('a', 1), asset('b', 1)];
      const cursor = resumed ? 'c2' : 'c1';
      socket.emit('fleet_snapshot', { fleet, cursor, part: 1, parts: 1, assets });
    });
  }

  it('asks again from the last cursor, and keeps what did not change', async () => {
    const g = await gateway((socket) => serveFleet(socket, true));
    const fleet = client(g.url).subscribeFleet('f');
    await until(() => fleet.assets.size === 2, 'both');
    for (const socket of await g.io.fetchSockets()) socket.disconnect(true);
    await until(() => fleet.assets.get('f/b')?.ts === 9, 'the change');
    expect(fleet.assets.has('f/a')).toBe(true);
    expect(g.asked.map((body) => body.since)).toEqual([undefined, 'c1']);
  });

  it('an unknown cursor falls back to a snapshot that replaces the map', async () => {
    const g = await gateway((socket) => serveFleet(socket, false));
    const fleet = client(g.url).subscribeFleet('f');
    await until(() => fleet.assets.size === 2, 'both');
    fleet.update([asset('ghost', 1)]);
    for (const socket of await g.io.fetchSockets()) socket.disconnect(true);
    await until(() => !fleet.assets.has('f/ghost') && g.asked.length === 2, 'the replacement');
    expect(fleet.assets.size).toBe(2);
  });

  it('survives a gateway that is killed and started again', async () => {
    const first = await gateway((socket) => serveFleet(socket, true));
    const c = client(first.url);
    const fleet = c.subscribeFleet('f');
    await until(() => fleet.assets.size === 2, 'both');
    await first.close();
    await until(() => c.state.kind === 'reconnecting', 'noticed');
    const second = await gateway((socket) => serveFleet(socket, true), first.port);
    await until(() => second.asked.length === 1, 'asked again');
    expect(second.asked[0]).toMatchObject({ fleet: 'f', since: 'c1', mode: 'latest' });
  });
});

describe('refusals', () => {
  it('forbidden is final and carries the code', async () => {
    const g = await gateway((socket) => {
      socket.on('fleet_subscribe', (_: unknown, ack: AckFn) =>
        ack({ ok: false, error: { code: 'forbidden', message: 'no' } }),
      );
    });
    const fleet = client(g.url).subscribeFleet('f');
    await until(() => fleet.state.kind === 'failed', 'failed');
    await new Promise((later) => setTimeout(later, 50));
    expect(fleet.state).toMatchObject({ error: { code: 'forbidden' } });
    expect(g.asked).toHaveLength(1);
  });

  it('a request that nobody answers is asked again', async () => {
    const g = await gateway((socket, { asked }) => {
      socket.on('fleet_subscribe', (_: unknown, ack: AckFn) => {
        if (asked.length > 1) ack({ ok: true, resumed: true });
      });
    });
    const fleet = client(g.url).subscribeFleet('f');
    await until(() => fleet.state.kind === 'live', 'live at the second try');
    expect(g.asked.length).toBe(2);
  });

  it('a refused token is a state, and a better one connects', async () => {
    const g = await gateway(() => {});
    g.io.use((socket, next) =>
      next(socket.handshake.auth.token === 'good' ? undefined : new Error('invalid token')),
    );
    let token = 'bad';
    const c = client(g.url, { token: () => token });
    await until(() => c.state.kind === 'refused', 'refused');
    expect(c.state).toMatchObject({ message: 'invalid token' });
    token = 'good';
    c.retry();
    await until(() => c.state.kind === 'connected', 'connected');
  });

  it('answers auth_expiring with a fresh token', async () => {
    let refreshed = '';
    const g = await gateway((socket) => {
      socket.on('auth_refresh', ({ token }) => {
        refreshed = token;
      });
      socket.emit('auth_expiring', { in_ms: 1000 });
    });
    let n = 0;
    client(g.url, { token: async () => `t${++n}` });
    await until(() => refreshed === 't2', 'the second token');
  });
});

it('a resync replaces the map and tells why', async () => {
  const g = await gateway((socket) => {
    serveRegion(socket, [asset('a', 1)]);
    socket.on('go', () => {
      socket.emit('resync', { region: 'r', reason: 'slow' });
      const assets = [asset('b', 1)];
      socket.emit('region_snapshot', { region: 'r', part: 1, parts: 1, assets });
    });
  });
  const c = client(g.url);
  const region = c.subscribeRegion({ bbox: [0, 0, 1, 1] }, { name: 'r' });
  const reasons: string[] = [];
  region.onResync((reason) => reasons.push(reason));
  await until(() => region.state.kind === 'live', 'live');
  c.socket.emit('go');
  await until(() => region.assets.has('f/b'), 'the fresh snapshot');
  expect([...region.assets.keys()]).toEqual(['f/b']);
  expect(reasons).toEqual(['slow']);
});

it('the example of the README draws what is there and erases what left', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
  expect(example.trim().split('\n').length).toBeLessThanOrEqual(10);
  let token: unknown;
  const g = await gateway((socket) => {
    token = socket.handshake.auth.token;
    socket.on('region_subscribe', ({ region, bbox, interval_ms }, ack: AckFn) => {
      expect([bbox, interval_ms]).toEqual([[5, 45, 15, 55], 500]);
      ack({ ok: true });
      const assets = [asset('a', 1), asset('b', 1)];
      socket.emit('region_snapshot', { region, part: 1, parts: 1, assets });
      const left = [{ id: 'a', fleet: 'f' }];
      socket.emit('region_updates', { region, entered: [], moved: [asset('b', 2)], left });
    });
  });
  const told: unknown[][] = [];
  const names = ['connect', 'session', 'draw', 'erase'];
  const code = example.replace(/^import .*$/m, '').replace('https://gateway.example', g.url);
  const run = new Function(...names, `${code}; return fleetcast;`);
  open.push(
    run(
      connect,
      { token: () => 't' },
      (...drawn: unknown[]) => told.push(['draw', ...drawn]),
      (...erased: unknown[]) => told.push(['erase', ...erased]),
    ),
  );
  await until(() => told.length === 4, 'all four');
  expect(token).toBe('t');
  expect(told).toEqual([
    ['draw', 'f', 'a', 2, 1],
    ['draw', 'f', 'b', 2, 1],
    ['draw', 'f', 'b', 2, 1],
    ['erase', 'f', 'a'],
  ]);
});
