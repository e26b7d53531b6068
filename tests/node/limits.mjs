// Two stock clients of one user, of whom the gateway takes one at a time. Arguments: the gateway, a token, versions.
// Reports per version what the second was told, and whether it came in by itself when the first had left.
import { clients, report } from "./clients.mjs";

const [url, token, ...versions] = process.argv.slice(2);
const connect = (version) =>
  // 2.x has no payload of CONNECT.
  clients[version](url, { forceNew: true, auth: { token }, query: { token }, reconnectionDelay: 200, reconnectionDelayMax: 400 });
const connected = (socket) => new Promise((done) => socket.on("connect", done));
const later = (ms) => new Promise((done) => setTimeout(done, ms));

for (const version of versions) {
  const first = connect(version);
  await connected(first);
  const second = connect(version);
  const told = [];
  for (const event of ["connect_error", "error"]) second.on(event, (error) => told.push(error?.message ?? String(error)));
  const isIn = connected(second);
  const early = await Promise.race([isIn.then(() => "in"), later(1500).then(() => "out")]);
  first.disconnect();
  const late = await Promise.race([isIn.then(() => "in"), later(15_000).then(() => "out")]);
  report({ version, early, late, told: told.filter((message) => !/^(websocket|xhr|timeout)/.test(message)) });
  second.disconnect();
  await later(300);
}
process.exit(0);
