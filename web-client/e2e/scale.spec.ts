// Fifty thousand assets in one tab.

import { Gateway } from './gateway';
import { expectAssets, litAssets, openLive } from './page';
import { expect, test } from './test';

const ASSETS = 50_000;

test('50,000 moving assets: each a lit pixel, and the page keeps answering', {
  tag: '@core',
}, async ({ page }) => {
  test.setTimeout(180_000);
  const gateway = await Gateway.start({ assets: ASSETS, fleets: 200 });
  try {
    await openLive(page, `${gateway.url}?group=0&at=20,12,1.4`);
    await expectAssets(page, ASSETS);
    await expect(async () => {
      const { onScreen, lit } = await litAssets(page);
      expect(onScreen).toBeGreaterThan(ASSETS * 0.5);
      expect(lit).toBe(onScreen);
    }).toPass();
    // What this costs in time is measured by `npm run bench`; here the page has to answer at all.
    await page.keyboard.press('/');
    await page.keyboard.type('zzzz');
    await expect(page.getByText('Nothing matches these filters')).toBeVisible();
    await page.getByRole('button', { name: 'Clear filters' }).click();
    await expectAssets(page, ASSETS);
    const list = page.getByTestId('list');
    await list.evaluate((element) => {
      element.scrollTop = element.scrollHeight;
    });
    await expect(list.getByRole('option').last()).toHaveAttribute('aria-posinset', String(ASSETS));
    expect(await list.getByRole('option').count()).toBeLessThan(40);
  } finally {
    await gateway.stop();
  }
});
