import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** The gateway that `npm run dev` passes requests on to. */
const gateway = process.env.FLEETCAST_URL ?? 'http://127.0.0.1:3000';

export default defineConfig({
  // Relative, so that the page also works behind a path prefix.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  resolve: {
    alias: { 'fleetcast-client': fileURLToPath(new URL('./sdk/src/index.ts', import.meta.url)) },
  },
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 1500 },
  worker: { format: 'es' },
  server: {
    proxy: {
      '/socket.io': { target: gateway, ws: true },
      '/api': { target: gateway },
    },
  },
  test: { include: ['src/**/*.test.ts', 'sdk/**/*.test.ts'], environment: 'node' },
});
