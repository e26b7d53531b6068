// A stand-in for the gateway, for working on the page alone: it speaks the new-style events with
// simulated assets and serves dist/. Tests run against the real gateway, not against this.
//
//   node dev/server.mjs [--port 3000] [--assets 50000] [--fleets 200] [--rate 1] [--secret s]

import { createHmac } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createGzip } from 'node:zlib';
import { Server } from 'socket.io';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '3000' },
    assets: { type: 'string', default: '2000' },
    fleets: { type: 'string', default: '40' },
    rate: { type: 'string', default: '1' },
    secret: { type: 'string' },
  },
});
const ASSETS = Number(values.assets);
const FLEETS = Number(values.fleets);
const TICK_MS = 1000 / Number(values.rate);
const PART_ASSETS = 90;
const HISTORY = 300;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { features } = JSON.parse(
  readFileSync(join(root, 'src/map/basemap-data/cities.geojson'), 'utf8'),
);
/** The largest cities of the basemap; more would only take longer to start. */
const cities = features.slice(0, 500).map(({ geometry }) => ({ loc: geometry }));

let seed = 7;
/** Park and Miller's generator: the same fleet at every start. */
function random() {
  seed = (seed * 48271) % 2147483647;
  return seed / 2147483647;
}
const oneOf = (list) => list[Math.floor(random() * list.length)];

const near = new Map();
function neighbours(city) {
  if (!near.has(city)) {
    const [lon, lat] = city.loc.coordinates;
    const distance = (other) =>
      Math.hypot(
        (other.loc.coordinates[0] - lon) * Math.cos((lat * Math.PI) / 180),
        other.loc.coordinates[1] - lat,
      );
    near.set(
      city,
      cities
        .filter((other) => other !== city)
        .sort((a, b) => distance(a) - distance(b))
        .slice(0, 6),
    );
  }
  return near.get(city);
}

const KINDS = ['truck', 'van', 'reefer', 'container'];
const assets = Array.from({ length: ASSETS }, (_, i) => {
  const from = oneOf(cities);
  const kind = KINDS[i % 4];
  const roll = random();
  return {
    id: `${kind}-${String(i).padStart(6, '0')}`,
    fleet: `fleet-${String(i % FLEETS).padStart(3, '0')}`,
    from,
    to: oneOf(neighbours(from)),
    progress: random(),
    kind,
    name: `${oneOf(['Aurora', 'Boreal', 'Cargo', 'Delta', 'Eagle', 'Falcon', 'Gale'])} ${i}`,
    speed: 40 + random() * 70,
    stopped: roll < 0.2,
    // A few fall silent: some for a minute now and then, some for good.
    silent: roll > 0.985 ? 'offline' : roll > 0.96 ? 'stale' : '',
    fuel: 5 + random() * 95,
    temperature: kind === 'reefer' ? 2 + random() * 5 + (random() < 0.02 ? 6 : 0) : undefined,
    ts: Date.now(),
    track: [],
  };
});

function drive(asset, now, seconds) {
  const [lon0, lat0] = asset.from.loc.coordinates;
  const [lon1, lat1] = asset.to.loc.coordinates;
  const km = Math.max(
    1,
    Math.hypot((lon1 - lon0) * Math.cos((lat0 * Math.PI) / 180), lat1 - lat0) * 111,
  );
  if (!asset.stopped) asset.progress += ((asset.speed / 3600) * seconds) / km;
  if (asset.progress >= 1) {
    asset.from = asset.to;
    asset.to = oneOf(neighbours(asset.from));
    asset.progress = 0;
  }
  asset.speed = Math.max(20, Math.min(120, asset.speed + (random() - 0.5) * 6));
  asset.fuel = asset.fuel < 2 ? 100 : asset.fuel - 0.004;
  if (asset.temperature !== undefined) asset.temperature += (random() - 0.5) * 0.12;
  const age = { offline: 400_000, stale: 60_000, '': 0 }[asset.silent];
  asset.ts = now - age;
  const lon = lon0 + (lon1 - lon0) * asset.progress;
  const lat = lat0 + (lat1 - lat0) * asset.progress;
  const bearing =
    (Math.atan2((lon1 - lon0) * Math.cos((lat0 * Math.PI) / 180), lat1 - lat0) * 180) / Math.PI;
  asset.out = {
    id: asset.id,
    fleet: asset.fleet,
    ts: asset.ts,
    lat: Number(lat.toFixed(6)),
    lon: Number(lon.toFixed(6)),
    data: {
      name: asset.name,
      kind: asset.kind,
      status: asset.stopped ? 'parked' : 'driving',
      speed_kmh: asset.stopped ? 0 : Number(asset.speed.toFixed(1)),
      heading_deg: Math.round((bearing + 360) % 360),
      fuel_pct: Number(asset.fuel.toFixed(1)),
      ...(asset.temperature !== undefined && {
        temperature_c: Number(asset.temperature.toFixed(1)),
      }),
    },
  };
  asset.track.push({ ts: asset.ts, lat, lon, ...asset.out.data });
  if (asset.track.length > HISTORY) asset.track.shift();
}
for (const asset of assets) drive(asset, Date.now(), 0);

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.geojson': 'application/geo+json',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};
const http = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  if (path === '/api/config') {
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        version: 'dev',
        replica: 'dev-1',
        auth: values.secret ? 'jwt' : 'none',
        basemap: null,
        stale_after_ms: 30_000,
        offline_after_ms: 300_000,
      }),
    );
    return;
  }
  const file = join(
    root,
    'dist',
    normalize(path === '/' || path === '/ops' ? '/index.html' : path),
  );
  if (!file.startsWith(join(root, 'dist')) || !existsSync(file)) {
    response.statusCode = 404;
    response.end();
    return;
  }
  response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream');
  const plain = extname(file) === '.woff2';
  if (!plain) response.setHeader('content-encoding', 'gzip');
  const stream = createReadStream(file);
  (plain ? stream : stream.pipe(createGzip({ level: 1 }))).pipe(response);
});

const OPS_STEP_MS = 2_000;
/** Two minutes of a past that never was, so that the charts have something to show at once. */
const opsSamples = Array.from({ length: 60 }, (_, i) =>
  opsSample(Date.now() - (60 - i) * OPS_STEP_MS),
);
setInterval(() => {
  opsSamples.push(opsSample(Date.now()));
  opsSamples.splice(0, opsSamples.length - 300);
}, OPS_STEP_MS);

function opsSample(ts) {
  const wave = 1 + 0.2 * Math.sin(ts / 30_000) + 0.05 * Math.random();
  return {
    ts,
    websocket: Math.round(930 * wave),
    polling: Math.round(64 * wave),
    updates_per_s: Math.round(ASSETS * wave),
    deliveries_per_s: Math.round(ASSETS * 8 * wave),
    bytes_per_s: Math.round(ASSETS * 1400 * wave),
    conflated_per_s: Math.round(300 * wave),
    age_p50_ms: 40 * wave,
    age_p99_ms: 180 * wave + 60 * Math.random(),
    region_age_p50_ms: 500 + 30 * wave,
    region_age_p99_ms: 980 * wave + 60 * Math.random(),
    runtime_lag_p99_ms: 0.6 * wave,
    kafka_lag: null,
    lagging_per_s: Math.round(3 * Math.random()),
    resyncs_per_s: 0,
    memory: {
      outboxes: 38e6 * wave,
      sessions: 21e6 * wave,
      fleet_state: 16e6,
      regions: 7e6,
      other: 9e6,
    },
  };
}

const io = new Server(http, { maxHttpBufferSize: 1e6 });
io.use((socket, next) => {
  if (!values.secret) return next();
  const [head, body, signature] = String(socket.handshake.auth.token).split('.');
  const good = createHmac('sha256', values.secret).update(`${head}.${body}`).digest('base64url');
  next(signature === good ? undefined : new Error('the token is not valid'));
});

function contains(shape, asset) {
  const { lon, lat } = asset.out;
  if (shape.bbox) {
    const [w, s, e, n] = shape.bbox;
    return lat >= s && lat <= n && (w <= e ? lon >= w && lon <= e : lon >= w || lon <= e);
  }
  if (shape.circle) {
    const c = shape.circle;
    const dx = (lon - c.lon) * Math.cos((lat * Math.PI) / 180);
    return Math.hypot(dx, lat - c.lat) * 111_195 <= c.radius_m;
  }
  let odd = false;
  const ring = shape.polygon ?? [];
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i];
    const [xj, yj] = ring[j];
    if (yi > lat !== yj > lat && lon < ((xj - xi) * (lat - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

const key = (asset) => `${asset.fleet}/${asset.id}`;
function parts(socket, event, base, list) {
  const count = Math.max(1, Math.ceil(list.length / PART_ASSETS));
  for (let i = 0; i < count; i++) {
    const some = list.slice(i * PART_ASSETS, (i + 1) * PART_ASSETS).map((asset) => asset.out);
    socket.emit(event, { ...base, part: i + 1, parts: count, assets: some });
  }
}

let round = 0;
io.on('connection', (socket) => {
  const regions = new Map();
  const fleets = new Map();
  socket.on('fleets', (_, ack) => {
    const counts = new Map();
    for (const asset of assets) counts.set(asset.fleet, (counts.get(asset.fleet) ?? 0) + 1);
    ack({ ok: true, fleets: [...counts].map(([fleet, n]) => ({ fleet, assets: n })) });
  });
  socket.on('fleet_subscribe', ({ fleet, interval_ms = 250, since }, ack) => {
    const mine = assets.filter((asset) => asset.fleet === fleet);
    if (mine.length === 0) {
      ack({
        ok: false,
        error: { code: 'forbidden', message: `fleet ${fleet} is not yours to see` },
      });
      return;
    }
    ack({ ok: true, resumed: Boolean(since) });
    parts(socket, 'fleet_snapshot', { fleet, cursor: String(round) }, mine);
    clearInterval(fleets.get(fleet));
    const send = () =>
      socket.emit('fleet_updates', {
        fleet,
        cursor: String(round),
        assets: mine.map((a) => a.out),
      });
    fleets.set(fleet, setInterval(send, Math.max(TICK_MS, interval_ms)));
  });
  socket.on('fleet_unsubscribe', ({ fleet }, ack) => {
    clearInterval(fleets.get(fleet));
    ack?.({ ok: true });
  });
  socket.on('region_subscribe', ({ region, interval_ms = 250, fleets: only, ...shape }, ack) => {
    const wanted = (asset) => contains(shape, asset) && (!only || only.includes(asset.fleet));
    const old = regions.get(region);
    ack({ ok: true });
    const inside = new Set(old?.inside ?? []);
    if (!old) {
      const list = assets.filter(wanted);
      for (const asset of list) inside.add(key(asset));
      parts(socket, 'region_snapshot', { region }, list);
    }
    clearInterval(old?.timer);
    const send = () => {
      const change = { region, entered: [], moved: [], left: [] };
      for (const asset of assets) {
        const name = key(asset);
        const now = wanted(asset);
        if (now && !inside.has(name)) change.entered.push(asset.out);
        else if (now && !asset.silent) change.moved.push(asset.out);
        else if (!now && inside.has(name)) change.left.push({ id: asset.id, fleet: asset.fleet });
        if (now) inside.add(name);
        else inside.delete(name);
      }
      if (socket.conn.writeBuffer.length < 8) socket.emit('region_updates', change);
    };
    if (old) send();
    regions.set(region, { inside, timer: setInterval(send, Math.max(TICK_MS, interval_ms)) });
  });
  socket.on('region_unsubscribe', ({ region }, ack) => {
    clearInterval(regions.get(region)?.timer);
    regions.delete(region);
    ack?.({ ok: true });
  });
  socket.on('asset_history', ({ asset, from_ts = 0 }, ack) => {
    const found = assets.find((one) => one.id === asset);
    ack({ ok: true, track: (found?.track ?? []).filter((point) => point.ts >= from_ts) });
  });
  socket.on('disconnect', () => {
    for (const { timer } of regions.values()) clearInterval(timer);
    for (const timer of fleets.values()) clearInterval(timer);
  });
});

setInterval(() => {
  round += 1;
  const now = Date.now();
  for (const asset of assets) drive(asset, now, TICK_MS / 1000);
}, TICK_MS);

http.listen(Number(values.port), '127.0.0.1', () => {
  console.log(`stand-in gateway: http://127.0.0.1:${http.address().port}/ with ${ASSETS} assets`);
});
