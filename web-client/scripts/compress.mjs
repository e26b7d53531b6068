// Writes `.br` and `.gz` beside every text of the build, so that the gateway never compresses.
// What is named by its content is compressed once per machine: the basemap takes half a minute.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync, constants as zlib } from 'node:zlib';

/** Smaller files fit in a packet as they are. */
const FROM_BYTES = 1_024;
/** Beyond this the best quality takes a second per 300 kB, for two percent. */
const BEST_UP_TO_BYTES = 1_000_000;

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, '..', 'dist');
const cache = join(here, '..', 'node_modules', '.cache', 'compressed');
mkdirSync(cache, { recursive: true });

function brotli(text) {
  return brotliCompressSync(text, {
    params: {
      [zlib.BROTLI_PARAM_MODE]: zlib.BROTLI_MODE_TEXT,
      [zlib.BROTLI_PARAM_QUALITY]: text.length > BEST_UP_TO_BYTES ? 9 : 11,
      [zlib.BROTLI_PARAM_SIZE_HINT]: text.length,
      [zlib.BROTLI_PARAM_LGWIN]: 24,
    },
  });
}

const gzip = (text) => gzipSync(text, { level: 9 });

let before = 0;
let after = 0;
for (const name of ['index.html', ...readdirSync(join(dist, 'assets')).map((n) => `assets/${n}`)]) {
  if (!/\.(html|js|css|svg|geojson)$/.test(name)) continue;
  const text = readFileSync(join(dist, name));
  if (text.length < FROM_BYTES) continue;
  for (const [ending, compress] of [
    ['br', brotli],
    ['gz', gzip],
  ]) {
    const to = join(dist, `${name}.${ending}`);
    const kept = join(cache, `${name.replace('assets/', '')}.${ending}`);
    if (name.startsWith('assets/') && existsSync(kept)) copyFileSync(kept, to);
    else {
      writeFileSync(to, compress(text));
      if (name.startsWith('assets/')) copyFileSync(to, kept);
    }
    if (ending === 'br') {
      before += text.length;
      after += readFileSync(to).length;
    }
  }
}
console.log(
  `compressed: ${(before / 1e6).toFixed(1)} MB to ${(after / 1e6).toFixed(1)} MB (brotli)`,
);
