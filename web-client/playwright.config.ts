import { defineConfig } from '@playwright/test';

// Debian's Chromium with software GL: works without a GPU, and the same everywhere.
export default defineConfig({
  projects: [
    { name: 'e2e', testDir: './e2e', testMatch: '*.spec.ts' },
    { name: 'bench', testDir: './bench', testMatch: '*.bench.ts', timeout: 300_000 },
    { name: 'screenshots', testDir: './e2e', testMatch: '*.shots.ts' },
  ],
  // One at a time: software GL takes every core there is.
  workers: 1,
  // The first map of a cold browser takes seconds to come up.
  timeout: 90_000,
  expect: { timeout: 25_000 },
  reporter: [['list']],
  use: {
    viewport: { width: 1280, height: 800 },
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
    },
    trace: 'off',
    screenshot: 'only-on-failure',
  },
});
