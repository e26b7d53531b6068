// The operations page against the gateway's own figures.

import { expect, type Page, test } from '@playwright/test';
import { Gateway } from './gateway';
import { expectAccessible, openLive } from './page';

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

test('charts tell what the gateway does right now', async ({ page, context }) => {
  await openLive(await context.newPage(), gateway.url);
  await page.goto(`${gateway.url}ops`);
  await expect(page.getByTestId('charts').getByRole('figure')).toHaveCount(7);
  await expect(async () => {
    expect(await legend(page, 'Viewers', 'websocket')).toBe(1);
    const updates = await legend(page, 'Messages per second', 'updates in');
    expect(updates).toBeGreaterThan(400);
    expect(updates).toBeLessThan(2_000);
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

test('without the admin grant the page asks for a token, and sends it', async ({ page }) => {
  const tokens: (string | undefined)[] = [];
  await page.route('**/api/ops*', (route) => {
    const token = route.request().headers().authorization;
    tokens.push(token);
    return token === 'Bearer good' ? route.continue() : route.fulfill({ status: 403 });
  });
  await page.goto(`${gateway.url}ops`);
  await expect(page.getByText('needs a token with the admin grant')).toBeVisible();
  await expectAccessible(page);
  await page.getByLabel('Access token').fill('good');
  await page.getByRole('button', { name: 'Connect' }).click();
  await expect(page.getByTestId('charts')).toBeVisible();
  expect(tokens[0]).toBeUndefined();
});

test('a gateway that went away is said, and the charts stay', async ({ page }) => {
  await page.goto(`${gateway.url}ops`);
  await expect(page.getByTestId('charts')).toBeVisible();
  await gateway.kill();
  await expect(page.getByText('cannot be reached')).toBeVisible();
  await expect(page.getByTestId('charts')).toBeVisible();
  await gateway.restart();
  await expect(page.getByText('cannot be reached')).toBeHidden();
});
