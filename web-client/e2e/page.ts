// What the tests do with the page, in their words.

import { expect, type Page } from '@playwright/test';
import { AxeBuilder } from './axe';

export async function openLive(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await expect(page.getByTestId('connection')).toContainText('Live');
  // The assets stand there before the map does; what the tests do next needs the map.
  await page.waitForFunction(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
    return Boolean((globalThis as any).fleetcast?.map);
  });
}

export const listCount = (page: Page) => page.getByTestId('list-count');

/** Waits until the list head says so many assets. */
export async function expectAssets(page: Page, count: number): Promise<void> {
  await expect(listCount(page)).toContainText(`${count.toLocaleString('en')} asset`);
}

/** The number of assets that the list shows right now. */
export async function shownAssets(page: Page): Promise<number> {
  const text = (await listCount(page).textContent()) ?? '';
  return Number(/^[\d,]+/.exec(text)?.[0].replaceAll(',', ''));
}

/**
 * Draws now and reads the points back in the same task, before the browser clears the buffer.
 * Answers how many assets on screen have a lit pixel where the store says that they are.
 */
export function litAssets(page: Page): Promise<{ onScreen: number; lit: number }> {
  return page.evaluate(() => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object, for tests
    const { map, store } = (globalThis as any).fleetcast;
    const now = performance.now();
    map.draw(now);
    const canvas = document.querySelector('canvas.points') as HTMLCanvasElement;
    const gl = canvas.getContext('webgl2') as WebGL2RenderingContext;
    const pixels = new Uint8Array(canvas.width * canvas.height * 4);
    gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    const ratio = canvas.width / map.camera.width;
    let onScreen = 0;
    let lit = 0;
    for (let row = 0; row < store.size; row++) {
      if (!store.isAlive(row) || store.isHidden(row)) continue;
      const { camera } = map;
      const dx = (store.positionX(row, now) - camera.x) | 0;
      const x = Math.floor((dx * camera.scale + camera.width / 2) * ratio);
      const dy = store.positionY(row, now) - camera.y;
      const y = Math.floor((dy * camera.scale + camera.height / 2) * ratio);
      if (x < 1 || y < 1 || x >= canvas.width - 1 || y >= canvas.height - 1) continue;
      onScreen += 1;
      const at = ((canvas.height - 1 - y) * canvas.width + x) * 4;
      if (pixels[at + 3]! > 60) lit += 1;
    }
    return { onScreen, lit };
  });
}

/** Fails on any accessibility finding; says which. */
export async function expectAccessible(page: Page): Promise<void> {
  const findings = await new AxeBuilder(page).run();
  expect(findings).toEqual([]);
}
