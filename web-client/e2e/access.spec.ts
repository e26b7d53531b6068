// Keyboard, small screens, and what assistive technology gets.

import { Gateway } from './gateway';
import { expectAccessible, expectAssets, openLive, shownAssets } from './page';
import { expect, test } from './test';

let gateway: Gateway;
test.beforeAll(async () => {
  gateway = await Gateway.start({ assets: 1_000, fleets: 10 });
});
test.afterAll(() => gateway.stop());

test('everything by keyboard alone', { tag: '@core' }, async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 1_000);
  await page.keyboard.press('?');
  await expect(page.getByTestId('help')).toContainText('Follow the asset');
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('help')).toBeHidden();

  await page.keyboard.press('l');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await expect(page.getByTestId('detail')).toBeVisible();
  const list = page.getByTestId('list');
  await expect(list).toHaveAttribute('aria-activedescendant', /row-/);
  await page.keyboard.press('End');
  await expect(page.locator('[role=option][aria-selected=true]')).toHaveAttribute(
    'aria-posinset',
    '1000',
  );
  await page.keyboard.press('f');
  await expect(page.getByRole('button', { name: 'Following' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('detail')).toBeHidden();

  await page.keyboard.press('1');
  await expect(page.getByTestId('chip-moving')).toHaveAttribute('aria-pressed', 'true');
  await page.keyboard.press('1');
  await expectAssets(page, 1_000);

  await page.keyboard.press('+');
  await page.keyboard.press('+');
  await page.keyboard.press('+');
  await page.waitForTimeout(1_500);
  await page.keyboard.press('v');
  await expect(page.getByTestId('area-tag')).toBeVisible();
  await expect(async () => expect(await shownAssets(page)).toBeLessThan(1_000)).toPass();
  await page.keyboard.press('x');
  await expectAssets(page, 1_000);

  await page.keyboard.press('b');
  await expect(page.getByTestId('draw-hint')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('draw-hint')).toBeHidden();
});

for (const theme of ['light', 'dark', 'contrast'] as const) {
  test(`axe finds nothing in the ${theme} theme, whatever is open`, async ({ page }) => {
    test.setTimeout(240_000);
    await openLive(page, `${gateway.url}?theme=${theme}`);
    await expectAssets(page, 1_000);
    await expectAccessible(page);
    await page.getByTestId('list').getByRole('option').nth(2).click();
    await expect(page.getByTestId('detail')).toContainText('Speed');
    await expectAccessible(page);
    for (const key of ['a', 's', '?', 'w']) {
      await page.keyboard.press(key);
      await page.waitForTimeout(300);
      await expectAccessible(page);
      await page.keyboard.press('Escape');
      await page.keyboard.press('Escape');
    }
    await page.getByTestId('connection').getByRole('button').click();
    await expect(page.getByTestId('connection-card')).toContainText('On reconnect');
    await expectAccessible(page);
  });
}

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

  test('the map comes first, the list opens as a sheet, an asset as another', async ({ page }) => {
    await openLive(page, gateway.url);
    await expect(page.getByTestId('list')).toBeHidden();
    const toggle = page.getByRole('button', { name: 'List' });
    await toggle.tap();
    await expect(page.getByTestId('list')).toBeVisible();
    await page.getByTestId('list').getByRole('option').nth(1).tap();
    const detail = page.getByTestId('detail');
    await expect(detail).toBeVisible();
    const box = (await detail.boundingBox())!;
    expect(box.width).toBe(390);
    expect(box.y + box.height).toBeLessThanOrEqual(845);
    await expectAccessible(page);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(overflow).toBe(390);
  });
});

test.describe('with reduced motion', () => {
  test.use({ contextOptions: { reducedMotion: 'reduce' } });

  test('nothing glides, nothing pulses', async ({ page }) => {
    await openLive(page, gateway.url);
    await expectAssets(page, 1_000);
    await page.keyboard.press('j');
    await expect(page.getByTestId('detail')).toBeVisible();
    const moving = () =>
      page.evaluate(() => {
        // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
        const { map, store } = (globalThis as any).fleetcast;
        const now = performance.now();
        const glides = Array.from({ length: store.size }, (_, row) => row).filter(
          (row) => store.positionX(row, now) !== store.positionX(row, now + 60_000),
        );
        const running = document.getAnimations().filter((one) => one.playState === 'running');
        return [map.map.isMoving(), glides.length, running.length];
      });
    expect(await moving()).toEqual([false, 0, 0]);
    await page.waitForTimeout(2_500);
    expect(await moving()).toEqual([false, 0, 0]);
  });
});
