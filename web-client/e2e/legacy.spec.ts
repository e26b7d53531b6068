// The dashboard of today, unchanged, with the stock client of then and now.

import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@playwright/test';
import { Gateway, standIn } from './gateway';

const require = createRequire(import.meta.url);
const dashboard = readFileSync(
  fileURLToPath(new URL('../../examples/legacy-dashboard.html', import.meta.url)),
);

for (const [version, path] of [
  ['4', 'socket.io-client/dist/socket.io.js'],
  ['2', 'socket.io-client-2/dist/socket.io.js'],
] as const) {
  test(`the legacy dashboard works unchanged with socket.io-client ${version}`, {
    tag: '@core',
  }, async ({ page }) => {
    test.skip(standIn(), 'the stand-in speaks only the new events');
    const web = await serve(readFileSync(require.resolve(path)));
    const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    const gateway = await Gateway.start({
      assets: 60,
      fleets: 2,
      env: { FLEETCAST_CORS_ORIGINS: origin },
    });
    try {
      await page.goto(`${origin}/?fleet=nordic-01&gateway=${gateway.url.slice(0, -1)}`);
      await expect(page.locator('#status')).toHaveText('live');
      await expect(page.locator('tr').first()).toContainText('km/h');
      const before = await page.locator('table').textContent();
      await expect(page.locator('table')).not.toHaveText(before ?? '');
      await gateway.kill();
      await expect(page.locator('#status')).toHaveText('offline');
      await gateway.restart();
      await expect(page.locator('#status')).toHaveText('live');
    } finally {
      await gateway.stop();
      web.close();
    }
  });
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
