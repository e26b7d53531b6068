#!/usr/bin/env node
// What can be said of npm packages without asking anybody: each is pinned by a hash, none runs a script when it
// is installed, none says where it is to be fetched from, and all licences are among those that are known.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const licences = new Set(
  ["MIT", "ISC", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "MPL-2.0", "OFL-1.1"].concat(
    ["MIT OR Apache-2.0", "(MIT OR Apache-2.0)"],
  ),
);
const files = execFileSync("git", ["ls-files", "*package-lock.json"], { encoding: "utf8" }).trim().split("\n");
const wrong = [];
let count = 0;
for (const file of files) {
  for (const [name, entry] of Object.entries(JSON.parse(readFileSync(file, "utf8")).packages)) {
    if (name === "" || entry.link) continue;
    count += 1;
    const say = (what) => wrong.push(`${file}: ${name}: ${what}`);
    if (!entry.integrity) say("no hash");
    if (entry.hasInstallScript) say("runs a script when it is installed");
    if (entry.resolved) say("says where it is to be fetched from");
    // Old packages have none in the lock file.
    if (entry.license && !licences.has(entry.license)) say(`licence ${entry.license}`);
  }
}
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
console.log(`${count} npm packages in ${files.length} lock files: hashes, scripts, sources and licences are in order`);
