// The operator's own tiles or style instead of the built-in map, by the gateway's configuration.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from '@playwright/test';
import { Gateway, standIn } from './gateway';
import { expectAssets, openLive } from './page';
import { expect, test } from './test';

/** One pixel of pink, which no theme has. */
const PINK = [255, 0, 128];
const TILE = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z9AAAAOBAYCirZaBAAAAAElFTkSuQmCC',
  'base64',
);

/** The operator's tile server, on another origin. */
class Tiles {
  readonly asked: string[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.asked.push(request.url ?? '');
      response.setHeader('access-control-allow-origin', '*');
      if (request.url === '/style.json') response.end(JSON.stringify(this.#style()));
      else if (/^\/\d+\/\d+\/\d+\.png$/.test(request.url ?? '')) response.end(TILE);
      else response.writeHead(404).end();
    });
  }

  static async start(): Promise<Tiles> {
    const tiles = new Tiles();
    await new Promise<void>((done) => tiles.#server.listen(0, '127.0.0.1', done));
    return tiles;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #style() {
    return {
      version: 8,
      sources: {
        own: { type: 'raster', tiles: [`${this.origin}/{z}/{x}/{y}.png`], tileSize: 256 },
      },
      layers: [{ id: 'own', type: 'raster', source: 'own' }],
    };
  }
}

let tiles: Tiles;
test.beforeAll(async () => {
  tiles = await Tiles.start();
});
test.afterAll(() => tiles.stop());
test.beforeEach(() => test.skip(standIn(), 'it is the gateway that is configured'));

/** What the map itself draws in its middle, without what is above it. */
function middle(page: Page): Promise<number[]> {
  return page.evaluate(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
    const { map } = (globalThis as any).fleetcast.map;
    map.redraw();
    const canvas = map.getCanvas() as HTMLCanvasElement;
    const gl = canvas.getContext('webgl2') as WebGL2RenderingContext;
    const pixel = new Uint8Array(4);
    const [x, y] = [Math.floor(canvas.width / 2), Math.floor(canvas.height / 2)];
    gl.readPixels(x, y, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    return [...pixel.subarray(0, 3)];
  });
}

const withMap = (env: Record<string, string>) => Gateway.start({ assets: 300, fleets: 3, env });

test('tiles of another host fill the map, with their credit, and nothing is refused', {
  tag: '@core',
}, async ({ page }) => {
  const gateway = await withMap({
    FLEETCAST_MAP_TILES: `${tiles.origin}/{z}/{x}/{y}.png`,
    FLEETCAST_MAP_ATTRIBUTION: '© <a href="https://example.com/">Our survey</a>',
  });
  try {
    await openLive(page, gateway.url);
    await expect(async () => expect(await middle(page)).toEqual(PINK)).toPass();
    await expect(page.locator('.maplibregl-ctrl-attrib')).toContainText('Our survey');
    await expectAssets(page, 300);
    expect(tiles.asked.filter((path) => path.endsWith('.png')).length).toBeGreaterThan(0);
  } finally {
    await gateway.stop();
  }
});

test("a style of the operator's own fills the map, in every theme", async ({ page }) => {
  const gateway = await withMap({ FLEETCAST_MAP_STYLE: `${tiles.origin}/style.json` });
  try {
    await openLive(page, gateway.url);
    await expect(async () => expect(await middle(page)).toEqual(PINK)).toPass();
    await page.keyboard.press('t');
    await page.waitForTimeout(1_000);
    expect(await middle(page)).toEqual(PINK);
    await expectAssets(page, 300);
  } finally {
    await gateway.stop();
  }
});

test.describe('a style that is not there', () => {
  test.use({ allowed: /status of 404/ });

  test('is said, and the built-in map stays', async ({ page }) => {
    const gateway = await withMap({ FLEETCAST_MAP_STYLE: `${tiles.origin}/none.json` });
    try {
      await openLive(page, gateway.url);
      await expect(page.getByTestId('toast')).toContainText('could not be loaded');
      await expect(async () => {
        const [red, green, blue] = await middle(page);
        expect(red! + green! + blue!).toBeGreaterThan(0);
        expect([red, green, blue]).not.toEqual(PINK);
      }).toPass();
      await expectAssets(page, 300);
    } finally {
      await gateway.stop();
    }
  });
});
