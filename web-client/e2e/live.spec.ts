// The map with data flowing: what an operator sees and does on a normal day.

import { Gateway } from './gateway';
import { expectAssets, litAssets, openLive, shownAssets } from './page';
import { expect, test } from './test';

let gateway: Gateway;
test.beforeAll(async () => {
  gateway = await Gateway.start({ assets: 3_000, fleets: 30 });
});
test.afterAll(() => gateway.stop());

test('the first visit shows every asset, from this host alone, without an error', {
  tag: '@core',
}, async ({ page }) => {
  const foreign: string[] = [];
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(gateway.url) && !url.startsWith('blob:')) foreign.push(url);
  });
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  await expect(page.getByTestId('list').getByRole('option').first()).toBeVisible();
  await expect(page).toHaveTitle('Fleetcast');
  expect(foreign).toEqual([]);
});

test('every asset on screen is a lit pixel where it belongs', { tag: '@core' }, async ({
  page,
}) => {
  await openLive(page, `${gateway.url}?group=0`);
  await expectAssets(page, 3_000);
  await expect(async () => {
    const { onScreen, lit } = await litAssets(page);
    expect(onScreen).toBeGreaterThan(1_500);
    expect(lit).toBe(onScreen);
  }).toPass();
});

test('without WebGL the assets are drawn nevertheless, and the page says what is missing', async ({
  page,
}) => {
  await page.addInitScript(() => {
    const { getContext } = HTMLCanvasElement.prototype;
    HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string) {
      return kind.startsWith('webgl') ? null : getContext.call(this, kind);
    } as typeof getContext;
  });
  await page.goto(`${gateway.url}?group=0`);
  await expectAssets(page, 3_000);
  await expect(page.getByTestId('toast')).toContainText('no WebGL 2');
  const lit = () =>
    page.evaluate(() => {
      const canvas = document.querySelector('canvas.dots') as HTMLCanvasElement;
      const pixels = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
      let count = 0;
      for (let at = 3; at < pixels.length; at += 4) if (pixels[at]! > 60) count += 1;
      return count;
    });
  await expect(async () => expect(await lit()).toBeGreaterThan(2_000)).toPass();
  await page.getByTestId('list').getByRole('option').first().click();
  await expect(page.getByTestId('detail')).toBeVisible();
});

test('assets move: the same asset is elsewhere a few seconds later', async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  const positions = () =>
    page.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
      const { store } = (globalThis as any).fleetcast;
      const now = performance.now();
      return Array.from({ length: 200 }, (_, row) => store.positionX(row, now));
    });
  const before = await positions();
  await expect(async () => {
    const after = await positions();
    const moved = after.filter((x, i) => x !== before[i]).length;
    expect(moved).toBeGreaterThan(80);
  }).toPass();
});

test('search narrows list and map to the same assets', { tag: '@core' }, async ({ page }) => {
  await openLive(page, `${gateway.url}?group=0`);
  await expectAssets(page, 3_000);
  const name =
    (await page
      .getByTestId('list')
      .getByRole('option')
      .nth(3)
      .locator('.row-name')
      .textContent()) ?? '';
  await page.keyboard.press('/');
  await page.keyboard.type(name.toLowerCase());
  await expect(async () => expect(await shownAssets(page)).toBeLessThan(3_000)).toPass();
  const shown = await shownAssets(page);
  expect(shown).toBeGreaterThan(0);
  const hidden = await page.evaluate(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
    const { store } = (globalThis as any).fleetcast;
    let visible = 0;
    for (let row = 0; row < store.size; row++) {
      if (store.isAlive(row) && !store.isHidden(row)) visible += 1;
    }
    return visible;
  });
  expect(hidden).toBe(shown);
  await expect(page).toHaveURL(/q=/);
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await expectAssets(page, 3_000);
});

test('a state chip shows as many assets as it says', async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  const chip = page.getByTestId('chip-stopped');
  await chip.click();
  await expect(chip).toHaveAttribute('aria-pressed', 'true');
  await expect(async () => {
    const said = Number((await chip.locator('.chip-count').textContent())?.replaceAll(',', ''));
    expect(await shownAssets(page)).toBe(said);
    expect(said).toBeGreaterThan(0);
  }).toPass();
  await expect(page).toHaveURL(/state=stopped/);
});

test('a box drawn on the map subscribes to what is inside, and to nothing else', {
  tag: '@core',
}, async ({ page }) => {
  await openLive(page, `${gateway.url}?at=48,9,4.6`);
  await expectAssets(page, 3_000);
  await page.getByRole('button', { name: 'Watch an area' }).click();
  await page.getByRole('menuitem', { name: /Box/ }).click();
  await expect(page.getByTestId('draw-hint')).toBeVisible();
  const map = (await page.locator('#map').boundingBox())!;
  await page.mouse.move(map.x + 250, map.y + 200);
  await page.mouse.down();
  await page.mouse.move(map.x + 650, map.y + 560, { steps: 6 });
  await page.mouse.up();
  await expect(page.getByTestId('area-tag')).toContainText('Box');
  await expect(page).toHaveURL(/area=box:/);
  await expect(async () => expect(await shownAssets(page)).toBeLessThan(2_500)).toPass();
  const [w, s, e, n] = new URL(page.url()).searchParams
    .get('area')!
    .slice(4)
    .split(',')
    .map(Number) as [number, number, number, number];
  const outside = await page.evaluate(
    ([west, south, east, north]) => {
      // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
      const { map: view, store } = (globalThis as any).fleetcast;
      let count = 0;
      for (let row = 0; row < store.size; row++) {
        if (!store.isAlive(row)) continue;
        const [lon, lat] = view.lonLat(row);
        // A fix a moment old may still be on its way across the edge.
        const slack = 0.01;
        if (lon < west - slack || lon > east + slack) count += 1;
        else if (lat < south - slack || lat > north + slack) count += 1;
      }
      return count;
    },
    [w, s, e, n] as const,
  );
  expect(outside).toBe(0);
  expect(await shownAssets(page)).toBeGreaterThan(0);
  await page.keyboard.press('x');
  await expectAssets(page, 3_000);
});

test('a polygon by clicks and a circle by drag watch their areas', async ({ page }) => {
  await openLive(page, `${gateway.url}?at=48,9,4.6`);
  await expectAssets(page, 3_000);
  const map = (await page.locator('#map').boundingBox())!;
  await page.keyboard.press('p');
  for (const [x, y] of [
    [200, 200],
    [600, 220],
    [420, 560],
  ] as const) {
    await page.mouse.click(map.x + x, map.y + y);
  }
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('area-tag')).toContainText('Polygon');
  await page.keyboard.press('o');
  await page.mouse.move(map.x + 400, map.y + 350);
  await page.mouse.down();
  await page.mouse.move(map.x + 560, map.y + 350, { steps: 4 });
  await page.mouse.up();
  await expect(page.getByTestId('area-tag')).toContainText('Circle');
  await expect(page).toHaveURL(/area=circle:/);
  await expect(page.getByTestId('connection')).toContainText('Live');
});

test('a fleet chosen in the picker is the only one subscribed to', async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  await page.getByTestId('scope').click();
  const fleet = page.getByTestId('fleet-picker').locator('.picker-row').nth(1);
  const name = (await fleet.locator('span').first().textContent())!;
  const size = Number((await fleet.locator('.soft').textContent())!.replaceAll(',', ''));
  await fleet.locator('input').check();
  await expectAssets(page, size);
  await expect(page).toHaveURL(new RegExp(`fleet=${name}`));
  await page.reload();
  await expectAssets(page, size);
  await expect(page.getByTestId('scope')).toContainText(name);
});

test('selecting shows live detail; following keeps the asset in the middle', {
  tag: '@core',
}, async ({ page }) => {
  await openLive(page, `${gateway.url}?sort=speed`);
  await expectAssets(page, 3_000);
  await page.getByTestId('list').getByRole('option').first().click();
  const detail = page.getByTestId('detail');
  await expect(detail).toContainText('Moving');
  await expect(detail.getByText('km/h')).toBeVisible();
  await detail.getByRole('button', { name: 'Follow' }).click();
  await expect(page).toHaveURL(/follow=1/);
  await page.waitForTimeout(3_000);
  const offset = () =>
    page.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
      const { map, selection } = (globalThis as any).fleetcast;
      const { x, y } = map.map.project(map.lonLat(selection.row));
      const { camera } = map;
      return Math.hypot(x - camera.width / 2, y - camera.height / 2);
    });
  await expect(async () => expect(await offset()).toBeLessThan(60)).toPass();
  await expect(detail.getByRole('img').first()).toBeVisible();
});

test('the same link shows a colleague the same view', async ({ page, context }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  await page.getByTestId('list').getByRole('option').nth(5).click();
  await page.keyboard.press('2');
  await page.keyboard.press('u');
  await expect(page).toHaveURL(/units=imperial/);
  await expect(page).toHaveURL(/at=/);
  const other = await context.newPage();
  await other.goto(page.url());
  await expect(other.getByTestId('detail')).toContainText('mph');
  await expect(other.getByTestId('chip-stopped')).toHaveAttribute('aria-pressed', 'true');
  const title = page.getByTestId('detail').locator('h2');
  await expect(other.getByTestId('detail').locator('h2')).toHaveText((await title.textContent())!);
});

test('hovering tells what it is, clicking selects it', async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  await page.keyboard.press('j');
  await expect(page.getByTestId('detail')).toBeVisible();
  await page.waitForTimeout(1_500);
  const spot = await page.evaluate(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
    const { map, selection } = (globalThis as any).fleetcast;
    return map.map.project(map.lonLat(selection.row));
  });
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('detail')).toBeHidden();
  const map = (await page.locator('#map').boundingBox())!;
  await page.mouse.move(map.x + spot.x, map.y + spot.y);
  await expect(page.locator('.hover strong')).toBeVisible();
  await page.mouse.click(map.x + spot.x, map.y + spot.y);
  await expect(page.getByTestId('detail')).toBeVisible();
});

test('alerts: the list explains each, and shows the asset', async ({ page }) => {
  await openLive(page, gateway.url);
  await expectAssets(page, 3_000);
  await page.keyboard.press('s');
  await page.getByLabel('Fuel below').fill('60');
  await page.getByLabel('Fuel below').press('Tab');
  await page.keyboard.press('Escape');
  await page.keyboard.press('a');
  const alerts = page.getByTestId('alerts');
  await expect(alerts.locator('.alert-row').first()).toContainText(/Fuel at|above|Silent|alarm/);
  await alerts.locator('.alert-row').first().click();
  await expect(page.getByTestId('detail')).toBeVisible();
});
