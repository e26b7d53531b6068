// The pictures of the README: `npm run screenshots` writes docs/images. Look at each before committing.

import { fileURLToPath } from 'node:url';
import { type Page, test } from '@playwright/test';
import { Gateway } from './gateway';
import { expectAssets, openLive } from './page';

const image = (name: string) =>
  fileURLToPath(new URL(`../../docs/images/${name}.jpg`, import.meta.url));

/** Photographs of maps: a third of what they take as PNG. */
const take = (page: Page, name: string) =>
  page.screenshot({ path: image(name), type: 'jpeg', quality: 86 });

let gateway: Gateway;
test.beforeAll(async () => {
  test.setTimeout(180_000);
  gateway = await Gateway.start({ assets: 50_000, fleets: 200 });
});
test.afterAll(() => gateway.stop());
test.describe.configure({ timeout: 600_000 });

/** Until the map's labels stand and nothing fades any more. */
async function settled(page: Page): Promise<void> {
  await page.waitForFunction(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    const { map } = (globalThis as any).fleetcast;
    return map.map.loaded() && !map.map.isMoving();
  });
  await page.waitForTimeout(2_500);
}

test.use({ viewport: { width: 1440, height: 900 } });

test('50,000 assets, dark', async ({ page }) => {
  await openLive(page, `${gateway.url}?theme=dark&at=30,12,1.75`);
  await expectAssets(page, 50_000);
  await settled(page);
  await take(page, 'world-dark');
});

test('a region with one asset in detail, light', async ({ page }) => {
  await openLive(page, `${gateway.url}?theme=light&at=50.1,8.5,8.2&sort=speed&inview=1`);
  await expectAssets(page, 50_000).catch(() => undefined);
  await settled(page);
  await page.getByTestId('list').getByRole('option').nth(2).click();
  // Not over the list, whose rows say on the map which they are.
  await page.mouse.move(700, 12);
  await page.waitForTimeout(20_000);
  await settled(page);
  await take(page, 'detail-light');
});

test('a watched area, dark', async ({ page }) => {
  await openLive(page, `${gateway.url}?theme=dark&at=48.2,11,6.2&area=circle:11.5,48.1,190000`);
  await settled(page);
  await page.keyboard.press('a');
  await page.waitForTimeout(1_500);
  await take(page, 'area-dark');
});

test('operations, with two dashboards open', async ({ page, context }) => {
  for (const at of ['48,9,5', '40,-95,4'])
    await openLive(await context.newPage(), `${gateway.url}?at=${at}`);
  await page.bringToFront();
  await page.goto(`${gateway.url}ops?theme=light`);
  await page.waitForTimeout(60_000);
  await take(page, 'operations-light');
});

test.describe('phone', () => {
  test.use({
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    hasTouch: true,
    isMobile: true,
  });
  test('the map on a phone', async ({ page }) => {
    await openLive(page, `${gateway.url}?theme=dark&at=47,9,4.2`);
    await settled(page);
    await take(page, 'phone');
  });
});
