// The edge beside a real Node server, case by case. Arguments: Fleetcast's URL, the URL of a Fleetcast with a short
// heartbeat; instead of the first `--list`, which only tells the differences that stay, or `--node`, which compares
// Node with itself: whatever differs then is chance, and no matter for a case.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { report } from "./clients.mjs";
import { httpCases } from "./comparison/http-cases.mjs";
import { wsCases } from "./comparison/ws-cases.mjs";
import { packetCases } from "./comparison/packet-cases.mjs";
import { DIFFERENCES, differenceOf } from "./comparison/differences.mjs";

// How many cases run at a time.
const WIDTH = 48;
// A case that surprises is run again by itself: on a crowded machine an answer may come late, and a difference
// that is one is there each time.
const AGAIN = 2;

const [first, second, only] = process.argv.slice(2);

async function nodeServer(pingInterval, pingTimeout) {
  const http = createServer((request, response) =>
    response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("not found\n"),
  );
  const io = new Server(http, {
    allowEIO3: true,
    pingInterval,
    pingTimeout,
    maxHttpBufferSize: 65_536,
    cors: { origin: ["https://good.com"], credentials: true },
  });
  io.on("connection", (socket) => {
    socket.on("fleet_unsubscribe", (body, acknowledge) => {
      if (typeof acknowledge === "function") acknowledge({ ok: typeof body?.fleet === "string" });
    });
    // Without a listener this event of a client would end the process; a gateway has one.
    socket.on("error", () => {});
  });
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  return { host: "127.0.0.1", port: http.address().port };
}

const targetOf = (url) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) });

if (first === "--list") {
  for (const { what, node, fleetcast, why } of DIFFERENCES) report({ difference: { what, node, fleetcast, why } });
  process.exit(0);
}

const node = { plain: await nodeServer(25_000, 20_000), beating: await nodeServer(1000, 1000) };
const other =
  first === "--node"
    ? { plain: await nodeServer(25_000, 20_000), beating: await nodeServer(1000, 1000) }
    : { plain: targetOf(first), beating: targetOf(second) };
const filter = first === "--node" ? second : only;
const all = [...httpCases, ...wsCases, ...packetCases].filter(({ name }) => !filter || name.includes(filter));
const names = new Set(all.map(({ name }) => name));
if (names.size !== all.length) throw new Error("two cases have the same name");

async function outcome(run, target) {
  try {
    return (await run(target)).map((line) => String(line).slice(0, 300));
  } catch (error) {
    return [`failed: ${error.message}`];
  }
}

async function look({ run, isBeating }) {
  const of = (targets) => outcome(run, isBeating ? targets.beating : targets.plain);
  const [ofNode, ofOther] = await Promise.all([of(node), of(other)]);
  return { ofNode, ofOther, differs: JSON.stringify(ofNode) !== JSON.stringify(ofOther) };
}

// Whether it is as it should be: equal, or different in the way that the list says.
function isExpected({ name }, { ofOther, differs }) {
  const row = first === "--node" ? undefined : differenceOf(name);
  if (!row) return !differs;
  return differs && (!row.shows || row.shows.test(ofOther.join("\n")));
}

const surprises = [];
let differing = 0;
async function work(queue) {
  for (let next = queue.shift(); next; next = queue.shift()) {
    const found = await look(next);
    if (!isExpected(next, found)) surprises.push(next);
    else if (found.differs) differing++;
  }
}

// The longest first, so that nothing is waited for at the end.
const queue = [...all].sort((one, two) => Number(two.isLong ?? false) - Number(one.isLong ?? false));
await Promise.all(Array.from({ length: WIDTH }, () => work(queue)));

for (const next of surprises) {
  let found;
  for (let n = 0; n < AGAIN; n++) {
    found = await look(next);
    if (isExpected(next, found)) break;
  }
  if (isExpected(next, found)) {
    if (found.differs) differing++;
    continue;
  }
  const listed = differenceOf(next.name)?.key ?? null;
  report({ surprise: next.name, listed, differs: found.differs, node: found.ofNode, fleetcast: found.ofOther });
}
const unused = filter || first === "--node" ? [] : DIFFERENCES.flatMap(({ key, cases }) =>
  cases.filter((pattern) => ![...names].some((name) => differenceOf(name, [{ key, cases: [pattern] }]))).map((pattern) => `${key}: ${pattern}`),
);
report({ compared: all.length, differing, unused });
process.exit(0);
