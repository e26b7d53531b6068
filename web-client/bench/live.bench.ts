// What a fleet costs the browser: `npm run bench`, or `make bench-web` at the root.
//
// FLEETCAST_BENCH_ASSETS and FLEETCAST_BENCH_S change the size and the length. Every figure is of one
// run on this machine, without a GPU unless it has one; read the shares, not the frames.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
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
    machine();
    await emptyPage(browser);
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
    await everyAsset(page);
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    await page.waitForFunction(() => (globalThis as any).fleetcast.map.map.loaded());
    await page.waitForTimeout(5_000);
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

/** Read before anything is started: what else the machine had to do. */
const loadBefore = loadavg()[0]!;

function machine(): void {
  rows.push([
    'processors; others ready to run on them before',
    `${availableParallelism()}; ${loadBefore.toFixed(1)}`,
  ]);
}

/** What the machine has to give, whatever the page does: the frames below are to be read against these. */
async function emptyPage(browser: Browser): Promise<void> {
  const page = await browser.newPage();
  await page.goto('about:blank');
  rows.push(['page frames of an empty page', frameText(await frames(page, SECONDS / 2))]);
  await page.close();
}

interface Frames {
  fps: number;
  p50: number;
  p95: number;
  worst: number;
}

const frameText = ({ fps, p50, p95, worst }: Frames) =>
  `${fps.toFixed(0)}/s (p50 ${p50.toFixed(1)}, p95 ${p95.toFixed(0)}, worst ${worst.toFixed(0)} ms)`;

function frames(page: Page, seconds: number): Promise<Frames> {
  return page.evaluate(async (length) => {
    const gaps: number[] = [];
    const start = performance.now();
    let last = start;
    while (last - start < length * 1000) {
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }
    gaps.sort((a, b) => a - b);
    const at = (share: number) => gaps[Math.floor(gaps.length * share)]!;
    const fps = gaps.length / ((last - start) / 1000);
    return { fps, p50: at(0.5), p95: at(0.95), worst: gaps.at(-1)! };
  }, seconds);
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
  const drawsBefore = await draws(page);
  const [seen, received] = await Promise.all([frames(page, SECONDS), receivedPerS(page)]);
  const after = await taskSeconds(cdp);
  const drawn = (await draws(page)) - drawsBefore;
  const share = (spent: number) => `${((spent / SECONDS) * 100).toFixed(1)} %`;
  rows.push([`main thread${where}`, share(after.task - before.task)]);
  rows.push([`… of it script${where}`, share(after.script - before.script)]);
  rows.push([`page frames${where}`, frameText(seen)]);
  rows.push([`draws of all points${where}`, `${(drawn / SECONDS).toFixed(1)}/s`]);
  rows.push([`received, mean${where}`, `${Math.round(received).toLocaleString('en')} updates/s`]);
}

const draws = (page: Page): Promise<number> =>
  // biome-ignore lint/suspicious/noExplicitAny: the page's own object
  page.evaluate(() => (globalThis as any).fleetcast.map.draws as number);

/** What the page itself says that arrives, read once a second. */
function receivedPerS(page: Page): Promise<number> {
  return page.evaluate(async (seconds) => {
    let sum = 0;
    for (let second = 0; second < seconds; second++) {
      await new Promise((done) => setTimeout(done, 1_000));
      const text = document.querySelector('.pill-facts span')?.textContent ?? '';
      sum += Number(/^[\d,]+/.exec(text)?.[0].replaceAll(',', '') ?? 0);
    }
    return sum / seconds;
  }, SECONDS);
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
  if (process.env.FLEETCAST_BENCH_PUBLISH) publish(lines);
  expect(rows.length).toBeGreaterThan(5);
}

/** Puts the table where the document has its place. */
function publish(lines: string[]): void {
  const path = fileURLToPath(new URL('../../docs/BENCHMARKS.md', import.meta.url));
  const text = readFileSync(path, 'utf8');
  const [begin, end] = ['<!-- web -->', '<!-- /web -->'];
  const place = new RegExp(`${begin}[^]*${end}`);
  expect(text).toMatch(place);
  writeFileSync(path, text.replace(place, `${begin}\n${lines.join('\n')}\n${end}`));
}
