// The pictures of the README: `npm run screenshots` writes docs/images. Look at each before committing.

import { fileURLToPath } from 'node:url';
import { type Page, test } from '@playwright/test';
import { Gateway } from './gateway';
import { expectAssets, openLive } from './page';

const image = (name: string) =>
  fileURLToPath(new URL(`../../docs/images/${name}.png`, import.meta.url));

let gateway: Gateway;
test.beforeAll(async () => {
  test.setTimeout(180_000);
  gateway = await Gateway.start({ assets: 50_000, fleets: 200 });
});
test.afterAll(() => gateway.stop());
test.describe.configure({ timeout: 180_000 });

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
  await page.screenshot({ path: image('world-dark') });
});

test('a region with one asset in detail, light', async ({ page }) => {
  await openLive(page, `${gateway.url}?theme=light&at=50.1,8.5,8.2&sort=speed&inview=1`);
  await expectAssets(page, 50_000).catch(() => undefined);
  await settled(page);
  await page.getByTestId('list').getByRole('option').nth(2).click();
  await page.waitForTimeout(20_000);
  await settled(page);
  await page.screenshot({ path: image('detail-light') });
});

test('a watched area, dark', async ({ page }) => {
  await openLive(page, `${gateway.url}?theme=dark&at=48.2,11,6.2&area=circle:11.5,48.1,190000`);
  await settled(page);
  await page.keyboard.press('a');
  await page.waitForTimeout(1_500);
  await page.screenshot({ path: image('area-dark') });
});

test.describe('phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
  test('the map on a phone', async ({ page }) => {
    await openLive(page, `${gateway.url}?theme=dark&at=47,9,4.2`);
    await settled(page);
    await page.screenshot({ path: image('phone') });
  });
});
