import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** The gateway that `npm run dev` passes requests on to. */
const gateway = process.env.FLEETCAST_URL ?? 'http://127.0.0.1:3000';
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const MAP_WORKER = 'virtual:map-worker-url';

/**
 * MapLibre's published page and worker files carry the same 130 kB (gzip) twice. Built from its
 * published source in one graph, both import what they share from one chunk.
 */
function mapWorker(): Plugin {
  let serving = false;
  let reference = '';
  return {
    name: 'map-worker',
    configResolved: (config) => {
      serving = config.command === 'serve';
    },
    buildStart() {
      if (serving) return;
      reference = this.emitFile({
        type: 'chunk',
        id: here('./node_modules/maplibre-gl/src/source/worker.ts'),
        name: 'map-worker',
      });
    },
    resolveId: (id) => (id === MAP_WORKER ? `\0${MAP_WORKER}` : undefined),
    load(id) {
      if (id !== `\0${MAP_WORKER}`) return;
      return serving
        ? `export { default } from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';`
        : `export default import.meta.ROLLUP_FILE_URL_${reference};`;
    },
  };
}

export default defineConfig(({ command }) => ({
  // Relative, so that the page also works behind a path prefix.
  base: './',
  plugins: [mapWorker()],
  oxc: {
    jsx: { runtime: 'automatic', importSource: 'preact' },
    // MapLibre's source counts on fields without a value being types only.
    typescript: { removeClassFieldsWithoutInitializer: true },
    assumptions: { setPublicClassFields: true },
  },
  resolve: {
    alias: [
      { find: 'fleetcast-client', replacement: here('./sdk/src/index.ts') },
      ...(command === 'build'
        ? [{ find: /^maplibre-gl$/, replacement: here('./node_modules/maplibre-gl/src/index.ts') }]
        : []),
    ],
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
}));
