// The dashboard of today, unchanged, with the stock client of then and now, on every source.

import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Page } from '@playwright/test';
import { Gateway, type GatewayOptions, standIn } from './gateway';
import { Broker, hasBroker } from './kafka';
import { Redis } from './redis';
import { expect, OUTAGE, test } from './test';

const require = createRequire(import.meta.url);
const dashboard = readFileSync(
  fileURLToPath(new URL('../../examples/legacy-dashboard.html', import.meta.url)),
);

interface Source {
  name: string;
  fleet: string;
  tag: string[];
  /** Starts it; answers the gateway's options, and how it is stopped. */
  start(): Promise<{ options: GatewayOptions; stop(): Promise<void> }>;
}

const SOURCES: Source[] = [
  {
    name: 'the simulation',
    fleet: 'nordic-01',
    tag: ['@core'],
    start: async () => ({ options: { assets: 60, fleets: 2 }, stop: async () => {} }),
  },
  {
    name: "an ingestion's Redis channels",
    fleet: 'depot-7',
    tag: ['@core'],
    async start() {
      const redis = await Redis.start();
      redis.drive('depot-7', 5);
      const env = { FLEETCAST_SOURCE: 'redis', FLEETCAST_REDIS_URL: redis.url };
      return { options: { env, simulated: false }, stop: () => redis.stop() };
    },
  },
  {
    name: 'Kafka',
    fleet: 'depot-1',
    tag: [],
    async start() {
      test.skip(!hasBroker(), 'no broker: the Rust tests fetch it');
      const broker = await Broker.start();
      const topic = await broker.topic('telemetry');
      await broker.drive(topic, 40);
      const options = { kafka: { brokers: broker.brokers, topic } };
      return { options, stop: () => broker.stop() };
    },
  },
];

const CLIENTS = [
  ['4', 'socket.io-client/dist/socket.io.js'],
  ['2', 'socket.io-client-2/dist/socket.io.js'],
] as const;

test.use({ allowed: OUTAGE });

for (const source of SOURCES) {
  for (const [version, path] of CLIENTS) {
    test(`the legacy dashboard works unchanged: socket.io-client ${version}, ${source.name}`, {
      tag: source.tag,
    }, async ({ page }) => {
      test.skip(standIn(), 'the stand-in speaks only the new events');
      test.setTimeout(180_000);
      const web = await serve(readFileSync(require.resolve(path)));
      const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
      const { options, stop } = await source.start();
      const env = { ...options.env, FLEETCAST_CORS_ORIGINS: origin };
      const gateway = await Gateway.start({ ...options, env });
      try {
        await page.goto(`${origin}/?fleet=${source.fleet}&gateway=${gateway.url.slice(0, -1)}`);
        await expectLive(page);
        await gateway.kill();
        await expect(page.locator('#status')).toHaveText('offline');
        await gateway.restart();
        await expectLive(page);
      } finally {
        await gateway.stop();
        await stop();
        web.close();
      }
    });
  }
}

/** Connected, and what it shows changes. */
async function expectLive(page: Page): Promise<void> {
  await expect(page.locator('#status')).toHaveText('live');
  await expect(page.locator('tr').first()).toContainText('km/h');
  const before = await page.locator('table').textContent();
  await expect(page.locator('table')).not.toHaveText(before ?? '');
}

async function serve(client: Buffer): Promise<Server> {
  const web = createServer((request, response) => {
    const script = request.url === '/socket.io.js';
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(script ? client : dashboard);
  });
  await new Promise<void>((done) => web.listen(0, '127.0.0.1', done));
  return web;
}
