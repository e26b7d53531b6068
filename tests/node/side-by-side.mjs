// The migration of README.md: a Node gateway and Fleetcast side by side behind one Node ingestion, and one
// unchanged dashboard of each generation on both. Arguments: Fleetcast's URL, Redis URL, how many updates.
import { createServer } from "node:http";
import { createClient } from "redis";
import { Server } from "socket.io";
import { clients, report } from "./clients.mjs";

const [fleetcast, redisUrl, count] = process.argv.slice(2);
const FLEET = "north sea/7";

// The gateway that is to be replaced: a subscription of a fleet's channel, handed to the fleet's room.
async function nodeGateway() {
  const http = createServer();
  const io = new Server(http, { allowEIO3: true });
  const subscriber = await createClient({ url: redisUrl }).connect();
  await subscriber.subscribe(`updates:${FLEET}`, (message) => io.to(FLEET).emit("fleet_update", message));
  io.on("connection", (socket) => socket.join(socket.handshake.query.fleetId));
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${http.address().port}`;
}

function dashboard(version, url) {
  const seen = [];
  const socket = clients[version](url, { query: { fleetId: FLEET }, forceNew: true });
  socket.on("fleet_update", (...message) => seen.push(message));
  return new Promise((connected) => socket.on("connect", () => connected({ version, seen, socket })));
}

const node = await nodeGateway();
const pairs = [];
for (const version of ["2.5", "3.1", "4.8"]) {
  pairs.push([await dashboard(version, node), await dashboard(version, fleetcast)]);
}
const ingestion = await createClient({ url: redisUrl }).connect();
for (let n = 0; n < Number(count); n++) {
  const text = JSON.stringify({ assetId: `truck ${n % 20}`, ts: Date.now(), lat: 50 + n / 1e3, lon: 8, "temp °C": -18.5, n });
  await ingestion.publish(`updates:${FLEET}`, n % 3 ? text : ` ${text} `);
}
const deadline = Date.now() + 20_000;
const isComplete = () => pairs.flat().every(({ seen }) => seen.length >= Number(count));
while (!isComplete() && Date.now() < deadline) await new Promise((later) => setTimeout(later, 50));
for (const [before, after] of pairs) {
  report({
    version: before.version,
    updates: after.seen.length,
    same: JSON.stringify(before.seen) === JSON.stringify(after.seen),
  });
}
process.exit(0);
