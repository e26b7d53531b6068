// Fails the build when the page, without the basemap's data, grows beyond its budget.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const BUDGET_KB = 450;
const assets = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'assets');

let total = 0;
for (const name of readdirSync(assets)) {
  if (!/\.(js|mjs|css)$/.test(name)) continue;
  const kb = gzipSync(readFileSync(join(assets, name))).length / 1000;
  total += kb;
  console.log(`budget: ${kb.toFixed(1).padStart(7)} kB  ${name}`);
}
console.log(
  `budget: ${total.toFixed(1)} kB gzip of ${BUDGET_KB} kB, without basemap data and fonts`,
);
if (total > BUDGET_KB) {
  console.error(`budget: over by ${(total - BUDGET_KB).toFixed(1)} kB`);
  process.exit(1);
}
