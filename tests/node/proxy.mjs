// Every stock client over every transport through a proxy, from many addresses. Counts each update, and tells
// when all have everything: first before a replica goes away, then after the clients came back elsewhere.
//
// usage: proxy.mjs <url> <fleet> <messages per phase>
import { Agent } from "node:http";
import { clients, report } from "./clients.mjs";

const [url, fleet, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

const viewers = [];
let address = 1;
for (const [version, io] of Object.entries(clients)) {
  for (const [transport, list] of Object.entries(transports)) {
    address += 1;
    const name = `${version}/${transport}`;
    const socket = io(url, {
      transports: list,
      query: { fleetId: fleet },
      forceNew: true,
      // The proxy picks the replica by the client's address; `localAddress` alone would miss polling.
      agent: new Agent({ localAddress: `127.0.0.${address}`, keepAlive: true }),
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
    });
    const viewer = { name, socket, seen: [], connects: 0, errors: [] };
    viewers.push(viewer);
    socket.on("connect", () => {
      viewer.connects += 1;
      if (viewers.every((v) => v.socket.connected)) {
        report({ fact: "all connected", connects: viewers.reduce((sum, v) => sum + v.connects, 0) });
      }
    });
    socket.on("connect_error", (error) => viewer.errors.push(error.message));
    socket.on("fleet_update", (message) => {
      viewer.seen.push(message);
      if (viewers.every((v) => v.seen.length >= count)) check("phase", 0);
      if (viewers.every((v) => v.seen.length >= 2 * count)) check("phase", 1);
    });
  }
}

const reported = new Set();
function check(fact, phase) {
  if (reported.has(phase)) return;
  reported.add(phase);
  const wrong = viewers.flatMap((viewer) => {
    const expected = Array.from({ length: (phase + 1) * count }, (_, at) => `{"assetId":"a","n":${at}}`);
    const same = viewer.seen.length === expected.length && viewer.seen.every((text, at) => text === expected[at]);
    return same ? [] : [{ name: viewer.name, seen: viewer.seen.length, last: viewer.seen.at(-1) }];
  });
  report({ fact, phase, wrong });
}

// A state for whoever reads the log of a failed run; bounded by the test's own patience.
setInterval(() => {
  const state = viewers.map((v) => `${v.name}:${v.socket.connected ? "up" : "down"}:${v.seen.length}:${v.errors.at(-1) ?? ""}`);
  console.error(state.join(" "));
}, 2000);
