// The operations page against the gateway's own figures.

import type { Page } from '@playwright/test';
import { Gateway, token } from './gateway';
import { expectAccessible, openLive } from './page';
import { expect, OUTAGE, test } from './test';

let gateway: Gateway;
test.beforeAll(async () => {
  gateway = await Gateway.start({ assets: 1_000, fleets: 10 });
});
test.afterAll(() => gateway.stop());

/** The newest value of a line, as the chart's legend shows it. */
async function legend(page: Page, chart: string, line: string): Promise<number> {
  const figure = page.getByRole('figure').filter({ hasText: chart });
  const text = await figure.getByRole('listitem').filter({ hasText: line }).textContent();
  return Number(/[\d,.]+/.exec(text?.replace(line, '') ?? '')?.[0].replaceAll(',', '') ?? 'NaN');
}

test('charts tell what the gateway does right now', { tag: '@core' }, async ({ page, context }) => {
  await page.goto(`${gateway.url}ops`);
  await expect(page.getByTestId('charts').getByRole('figure')).toHaveCount(7);
  expect(await legend(page, 'Viewers', 'websocket')).toBe(0);
  await openLive(await context.newPage(), gateway.url);
  await expect(async () => {
    expect(await legend(page, 'Viewers', 'websocket')).toBe(1);
    const updates = await legend(page, 'Messages per second', 'updates in');
    expect(updates).toBeGreaterThan(400);
    expect(updates).toBeLessThan(2_000);
    // The live map watches a region: its ages are told beside those of fleets.
    const age = await legend(page, 'Age of updates', 'regions p50');
    expect(age).toBeGreaterThan(0);
  }).toPass({ timeout: 20_000 });
  expect(await legend(page, 'Bytes per second', 'sent')).toBeGreaterThan(0);
  const replicas = page.getByTestId('replicas').locator('tbody tr');
  await expect(replicas).toHaveCount(1);
  await expect(replicas.locator('td').nth(1)).toHaveText('1');
  const drawn = await page
    .locator('.chart canvas')
    .first()
    .evaluate((element) => {
      const canvas = element as HTMLCanvasElement;
      const pixels = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.some((value) => value > 0);
    });
  expect(drawn).toBe(true);
  await expectAccessible(page);
});

test.describe('for whom it is not', () => {
  test.use({ allowed: /status of 403/ });

  test('without the admin grant the page asks for a token', async ({ page }) => {
    const guarded = await Gateway.start({ assets: 100, fleets: 1, auth: true });
    try {
      // A dashboard's token sees the map, and not this.
      await page.goto(`${guarded.url}ops#token=${token('*')}`);
      await expect(page.getByText('needs a token with the admin grant')).toBeVisible();
      await expect(page.getByTestId('charts')).toBeHidden();
      await expectAccessible(page);
      await page.getByLabel('Access token').fill(token('*', true));
      await page.getByRole('button', { name: 'Connect' }).click();
      await expect(page.getByTestId('charts')).toBeVisible();
    } finally {
      await guarded.stop();
    }
  });
});

test.describe('while the gateway is away', () => {
  test.use({ allowed: OUTAGE });

  test('a gateway that went away is said, and the charts stay', async ({ page }) => {
    await page.goto(`${gateway.url}ops`);
    await expect(page.getByTestId('charts')).toBeVisible();
    await gateway.kill();
    await expect(page.getByText('cannot be reached')).toBeVisible();
    await expect(page.getByTestId('charts')).toBeVisible();
    await gateway.restart();
    await expect(page.getByText('cannot be reached')).toBeHidden();
  });
});
