// What a fleet costs the browser: `npm run bench`, or `make bench-web` at the root.
//
// FLEETCAST_BENCH_ASSETS and FLEETCAST_BENCH_S change the size and the length. Every figure is of one
// run on this machine, without a GPU unless it has one; read the shares, not the frames.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type Browser, type CDPSession, expect, type Page, test } from '@playwright/test';
import { Gateway, standIn } from '../e2e/gateway';

const ASSETS = Number(process.env.FLEETCAST_BENCH_ASSETS ?? 50_000);
const SECONDS = Number(process.env.FLEETCAST_BENCH_S ?? 20);

/** Openings, each with an empty cache; the median counts. */
const OPENINGS = 5;

/** The page asks for one update a second; a gateway that cuts what it owes tells more when asked more often. */
const FAST_MS = 50;

const rows: [string, string][] = [];

test(`${ASSETS} assets at 1 Hz`, async ({ page, browser }) => {
  const gateway = await Gateway.start({ assets: ASSETS, fleets: 200, rate: 1 });
  try {
    bundle();
    await firstSight(browser, gateway);
    await page.goto(gateway.url);
    await everyAsset(page);
    const cdp = await page.context().newCDPSession(page);
    await cdp.send('Performance.enable');
    // Past the burst of the snapshot and of the map's own start.
    await page.waitForTimeout(5_000);
    await steady(page, cdp, '');
    await askEvery(page, FAST_MS);
    await steady(page, cdp, `, asked for every ${FAST_MS} ms`);
    await memory(cdp, await browser.newBrowserCDPSession());
    await page.goto(`${gateway.url}?at=48.5,9,9`);
    await page.waitForTimeout(8_000);
    await steady(page, await fresh(page), ', zoom 9');
  } finally {
    await gateway.stop();
    print();
  }
});

async function fresh(page: Page): Promise<CDPSession> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  return cdp;
}

function bundle(): void {
  const assets = fileURLToPath(new URL('../dist/assets/', import.meta.url));
  const code = readdirSync(assets).filter((name) => /\.(js|css)$/.test(name));
  const bytes = code.map((name) => gzipSync(readFileSync(assets + name)).length);
  const total = bytes.reduce((sum, size) => sum + size, 0);
  rows.push(['bundle, gzip, without basemap and fonts', `${(total / 1e3).toFixed(0)} kB`]);
}

async function firstSight(browser: Browser, gateway: Gateway): Promise<void> {
  const first: number[] = [];
  const all: number[] = [];
  for (let opening = 0; opening < OPENINGS; opening++) {
    const page = await browser.newPage();
    await page.goto(gateway.url);
    const drawn = await page.waitForFunction(
      () => performance.getEntriesByName('first-assets-drawn')[0]?.startTime,
    );
    first.push((await drawn.jsonValue()) as number);
    all.push(await everyAsset(page));
    await page.close();
  }
  rows.push([`first assets on screen after, median of ${OPENINGS}`, `${median(first)} ms`]);
  rows.push([`all ${ASSETS} after, median of ${OPENINGS}`, `${median(all)} ms`]);
}

async function everyAsset(page: Page): Promise<number> {
  const all = await page.waitForFunction((wanted) => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    const { store, map } = (globalThis as any).fleetcast ?? {};
    return map && store.alive >= wanted ? performance.now() : 0;
  }, ASSETS);
  return (await all.jsonValue()) as number;
}

const median = (values: number[]): number =>
  Math.round(values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!);

async function taskSeconds(cdp: CDPSession): Promise<{ task: number; script: number }> {
  const { metrics } = await cdp.send('Performance.getMetrics');
  const value = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? 0;
  return { task: value('TaskDuration'), script: value('ScriptDuration') };
}

async function askEvery(page: Page, intervalMs: number): Promise<void> {
  await page.evaluate((ms) => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    (globalThis as any).fleetcast.link.say({ kind: 'interval', intervalMs: ms });
  }, intervalMs);
  await page.waitForTimeout(5_000);
}

/** The main thread's share, and what input would feel, while data flows. */
async function steady(page: Page, cdp: CDPSession, where: string): Promise<void> {
  const before = await taskSeconds(cdp);
  const frames = await page.evaluate(async (seconds) => {
    const gaps: number[] = [];
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    const pointsDrawn = () => (globalThis as any).fleetcast.map.draws as number;
    const drawsBefore = pointsDrawn();
    const shownRate = () => {
      const text = document.querySelector('.pill-facts span')?.textContent ?? '';
      return Number(/^[\d,]+/.exec(text)?.[0].replaceAll(',', '') ?? 0);
    };
    const rates: number[] = [];
    const start = performance.now();
    let last = start;
    while (last - start < seconds * 1000) {
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      gaps.push(now - last);
      if (now - start > (rates.length + 1) * 1_000) rates.push(shownRate());
      last = now;
    }
    gaps.sort((a, b) => a - b);
    const at = (share: number) => gaps[Math.floor(gaps.length * share)]!;
    const took = (last - start) / 1000;
    return {
      fps: gaps.length / took,
      p50: at(0.5),
      p95: at(0.95),
      worst: gaps.at(-1)!,
      received: rates.reduce((sum, rate) => sum + rate, 0) / rates.length,
      draws: (pointsDrawn() - drawsBefore) / took,
    };
  }, SECONDS);
  const after = await taskSeconds(cdp);
  const share = (spent: number) => `${((spent / SECONDS) * 100).toFixed(1)} %`;
  rows.push([`main thread${where}`, share(after.task - before.task)]);
  rows.push([`… of it script${where}`, share(after.script - before.script)]);
  rows.push([
    `page frames${where}`,
    `${frames.fps.toFixed(0)}/s (p50 ${frames.p50.toFixed(1)}, p95 ${frames.p95.toFixed(0)}, worst ${frames.worst.toFixed(0)} ms)`,
  ]);
  rows.push([`draws of all points${where}`, `${frames.draws.toFixed(1)}/s`]);
  const received = Math.round(frames.received).toLocaleString('en');
  rows.push([`received, mean${where}`, `${received} updates/s`]);
}

async function memory(cdp: CDPSession, system: CDPSession): Promise<void> {
  await cdp.send('HeapProfiler.collectGarbage');
  const { usedSize } = await cdp.send('Runtime.getHeapUsage');
  rows.push(['page heap', megabytes(usedSize)]);
  const { processInfo } = await system.send('SystemInfo.getProcessInfo');
  const renderers = processInfo.filter((one) => one.type === 'renderer');
  const largest = Math.max(...renderers.map((one) => pss(one.id)));
  rows.push(['renderer process (PSS: page, workers, code)', megabytes(largest)]);
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

function pss(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}

function print(): void {
  const wide = Math.max(...rows.map(([name]) => name.length));
  const title = `${ASSETS} assets at 1 Hz${standIn() ? ' (stand-in gateway)' : ''}`;
  const lines = [[title, ''], ['-'.repeat(wide), '---'], ...rows].map(
    ([name, value]) => `| ${name!.padEnd(wide)} | ${value} |`,
  );
  console.log(`\n${lines.join('\n')}`);
  expect(rows.length).toBeGreaterThan(5);
}
