// Old and new clients over each transport: all messages of a burst, in order.
// Arguments: gateway URL, fleet, how many messages.
import { clients, report } from "./clients.mjs";

const [url, fleet, wanted] = process.argv.slice(2);
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
for (const version of ["2.5", "4.8"]) {
  for (const [transport, list] of Object.entries(transports)) {
    const numbers = [];
    const socket = clients[version](url, { query: { fleetId: fleet }, transports: list, forceNew: true });
    socket.on("connect", () => report({ event: "ready", version, transport }));
    socket.on("disconnect", (reason) => report({ event: "disconnect", version, transport, reason }));
    socket.on("fleet_update", (text) => {
      numbers.push(JSON.parse(text).n);
      if (numbers.length === Number(wanted)) {
        report({ event: "done", version, transport, in_order: numbers.every((n, at) => n === at) });
      }
    });
  }
}
