// Honest states: what the page says when not everything is well.

import { Gateway, SlowLink, standIn, token } from './gateway';
import { expectAccessible, expectAssets, openLive } from './page';
import { expect, OUTAGE, test } from './test';

test.describe('while the gateway is away', () => {
  test.use({ allowed: OUTAGE });

  test('gateway killed and started again: last known state, then back in step', {
    tag: '@core',
  }, async ({ page }) => {
    const gateway = await Gateway.start({ assets: 500, fleets: 5 });
    try {
      await openLive(page, gateway.url);
      await expectAssets(page, 500);
      await gateway.kill();
      await expect(page.getByTestId('banner-reconnecting')).toBeVisible();
      await expect(page.getByTestId('connection')).toContainText('Reconnecting');
      // What was known stays on screen.
      await expectAssets(page, 500);
      await gateway.restart();
      await expect(page.getByTestId('connection')).toContainText('Live');
      await expect(page.getByTestId('toast')).toContainText('up to date');
      await expect(page.getByTestId('banner-reconnecting')).toBeHidden();
      await expectAssets(page, 500);
    } finally {
      await gateway.stop();
    }
  });

  test('a gateway that is down from the start is said, and recovers by itself', async ({
    page,
  }) => {
    const gateway = await Gateway.start({ assets: 100, fleets: 2 });
    const link = await SlowLink.to(gateway.port);
    try {
      // The page comes, from a cache or another server; its data does not.
      link.cut = '/socket.io/';
      await page.goto(link.url);
      await expect(page.getByTestId('state-down')).toContainText('cannot be reached');
      await expectAccessible(page);
      await expect(page.getByTestId('connection')).toContainText('Reconnecting');
      link.cut = null;
      await expect(page.getByTestId('state-down')).toBeHidden();
      await expectAssets(page, 100);
      await expect(page.getByTestId('connection')).toContainText('Live');
    } finally {
      await link.stop();
      await gateway.stop();
    }
  });
});

test('loading is said, with how much has come, until all is there', { tag: '@core' }, async ({
  page,
}) => {
  const gateway = await Gateway.start({ assets: 20_000, fleets: 50 });
  const link = await SlowLink.to(gateway.port);
  try {
    link.only = '/socket.io/';
    link.bytesPerS = 400_000;
    await page.goto(link.url);
    await expect(page.getByTestId('connection')).toContainText(/Loading… [\d,]+ assets/);
    await expect(page.getByRole('progressbar')).toBeVisible();
    await expectAccessible(page);
    link.bytesPerS = Number.POSITIVE_INFINITY;
    await expectAssets(page, 20_000);
    await expect(page.getByRole('progressbar')).toBeHidden();
    await expect(page.getByTestId('connection')).toContainText('Live');
  } finally {
    await link.stop();
    await gateway.stop();
  }
});

test('an area with nothing in it says so and offers a way out', async ({ page }) => {
  const gateway = await Gateway.start({ assets: 300, fleets: 3 });
  try {
    // The middle of the South Pacific: no road, no shipping lane.
    await page.goto(`${gateway.url}?area=box:-130,-60,-125,-56`);
    await expect(page.getByTestId('state-empty')).toContainText('No assets here yet');
    await expectAccessible(page);
    await page.getByRole('button', { name: 'Show everything' }).click();
    await expectAssets(page, 300);
  } finally {
    await gateway.stop();
  }
});

test('a fleet that was not granted: no permission, and a way out', async ({ page }) => {
  const gateway = await Gateway.start({ assets: 300, fleets: 3, auth: true });
  try {
    await page.goto(`${gateway.url}?fleet=not-mine#token=${token(['some-other'])}`);
    await expect(page.getByTestId('state-forbidden')).toContainText('may not see');
    await expectAccessible(page);
    expect(page.url()).not.toContain('token');
  } finally {
    await gateway.stop();
  }
});

test('a wrong token is refused, and a good one pasted instead connects', { tag: '@core' }, async ({
  page,
}) => {
  const gateway = await Gateway.start({ assets: 300, fleets: 3, auth: true });
  try {
    await page.goto(`${gateway.url}#token=nonsense`);
    const card = page.getByTestId('state-refused');
    await expect(card).toContainText('Access was refused');
    await expectAccessible(page);
    await card.getByLabel('Access token').fill(token('*'));
    await card.getByRole('button', { name: 'Connect' }).click();
    await expectAssets(page, 300);
    await expect(card).toBeHidden();
    await page.reload();
    await expectAssets(page, 300);
  } finally {
    await gateway.stop();
  }
});

test('a link too slow for the data slows the updates, says so, and the page stays usable', async ({
  page,
}) => {
  test.skip(standIn(), 'the stand-in drops instead of conflating');
  const gateway = await Gateway.start({ assets: 8_000, fleets: 20 });
  const link = await SlowLink.to(gateway.port);
  try {
    await openLive(page, link.url);
    await expectAssets(page, 8_000);
    link.bytesPerS = 300_000;
    await expect(page.getByTestId('connection')).toContainText(/showing the newest every/, {
      timeout: 60_000,
    });
    await page.keyboard.press('/');
    await expect(page.locator('#search')).toBeFocused();
  } finally {
    await link.stop();
    await gateway.stop();
  }
});
