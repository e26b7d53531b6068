// What a fleet costs the browser: `npm run bench`, or `make bench-web` at the root.
//
// FLEETCAST_BENCH_ASSETS and FLEETCAST_BENCH_S change the size and the length. Every figure is of one
// run on this machine, with software GL; read the shares, not the frames.

import { readFileSync } from 'node:fs';
import { type CDPSession, expect, type Page, test } from '@playwright/test';
import { Gateway, standIn } from '../e2e/gateway';

const ASSETS = Number(process.env.FLEETCAST_BENCH_ASSETS ?? 50_000);
const SECONDS = Number(process.env.FLEETCAST_BENCH_S ?? 20);

const rows: [string, string][] = [];

test(`${ASSETS} assets at 1 Hz`, async ({ page, browser }) => {
  const gateway = await Gateway.start({ assets: ASSETS, fleets: 200, rate: 1 });
  try {
    await firstSight(page, gateway);
    const cdp = await page.context().newCDPSession(page);
    await cdp.send('Performance.enable');
    // Past the burst of the snapshot and of the map's own start.
    await page.waitForTimeout(5_000);
    await steady(page, cdp, '');
    const system = await browser.newBrowserCDPSession();
    await memory(cdp, system);
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

async function firstSight(page: Page, gateway: Gateway): Promise<void> {
  await page.goto(gateway.url);
  const first = await page.waitForFunction(
    () => performance.getEntriesByName('first-assets-drawn')[0]?.startTime,
  );
  rows.push(['first assets drawn after', `${Math.round((await first.jsonValue()) as number)} ms`]);
  const all = await page.waitForFunction((wanted) => {
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    const alive = (globalThis as any).fleetcast?.store.alive ?? 0;
    return alive >= wanted ? performance.now() : 0;
  }, ASSETS);
  rows.push([`all ${ASSETS} after`, `${Math.round((await all.jsonValue()) as number)} ms`]);
}

async function taskSeconds(cdp: CDPSession): Promise<{ task: number; script: number }> {
  const { metrics } = await cdp.send('Performance.getMetrics');
  const value = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? 0;
  return { task: value('TaskDuration'), script: value('ScriptDuration') };
}

/** The main thread's share, and what input would feel, while data flows. */
async function steady(page: Page, cdp: CDPSession, where: string): Promise<void> {
  const before = await taskSeconds(cdp);
  const frames = await page.evaluate(async (seconds) => {
    const gaps: number[] = [];
    // biome-ignore lint/suspicious/noExplicitAny: the page's own object
    const pointsDrawn = () => (globalThis as any).fleetcast.map.draws as number;
    const drawsBefore = pointsDrawn();
    const start = performance.now();
    let last = start;
    while (last - start < seconds * 1000) {
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      gaps.push(now - last);
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
  const updates = await page.locator('.pill-facts span').first().textContent();
  rows.push([`received${where}`, updates ?? '–']);
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
  const lines = rows.map(([name, value]) => `| ${name.padEnd(wide)} | ${value}`);
  console.log(
    [`\n| ${ASSETS} assets at 1 Hz${standIn() ? ' (stand-in gateway)' : ''}`, ...lines].join('\n'),
  );
  expect(rows.length).toBeGreaterThan(5);
}
