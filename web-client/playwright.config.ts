import { defineConfig } from '@playwright/test';

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';

// Debian's Chromium with software GL: works without a GPU, and the same everywhere. CHROMIUM_ARGS gives it
// other flags: empty, it composes pages on the CPU where there is no GPU.
const args = process.env.CHROMIUM_ARGS ?? '--use-angle=swiftshader --enable-unsafe-swiftshader';

export default defineConfig({
  projects: [
    { name: 'e2e', testDir: './e2e', testMatch: '*.spec.ts' },
    {
      name: 'bench',
      testDir: './bench',
      testMatch: '*.bench.ts',
      timeout: 300_000,
    },
    { name: 'screenshots', testDir: './e2e', testMatch: '*.shots.ts' },
  ],
  // One at a time: software GL takes every core there is.
  workers: 1,
  // The first map of a cold browser takes seconds to come up, and on a busy machine everything does.
  timeout: 180_000,
  expect: { timeout: 25_000 },
  // On CI a test that failed on a busy machine gets a second run, and is then listed as flaky.
  retries: process.env.CI ? 1 : 0,
  reporter: [['list']],
  use: {
    viewport: { width: 1280, height: 800 },
    launchOptions: {
      executablePath: chromium,
      args: args.split(' ').filter((arg) => arg !== ''),
    },
    trace: 'off',
    screenshot: 'only-on-failure',
  },
});
