// Every stock client over every transport: connects to a fleet, reports `ready`, then every message, byte
// for byte. Arguments: gateway URL, fleet, how many messages to expect. Ends when all clients have all.
import { clients, report } from "./clients.mjs";

const [url, fleet, wanted] = process.argv.slice(2);
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
let waiting = 0;

for (const [version, io] of Object.entries(clients)) {
  for (const [transport, list] of Object.entries(transports)) {
    waiting += 1;
    const messages = [];
    const socket = io(url, { query: { fleetId: fleet }, transports: list, forceNew: true, reconnection: false });
    let announced = false;
    const ready = () => {
      const now = socket.io.engine.transport.name;
      if (announced || (transport === "upgrade" && now !== "websocket")) return;
      announced = true;
      report({ event: "ready", version, transport, now, id: socket.id });
    };
    socket.on("connect", () => {
      ready();
      socket.io.engine.on("upgrade", ready);
    });
    socket.on("connect_error", (error) => report({ event: "error", version, transport, message: `${error.message ?? error}` }));
    socket.on("disconnect", (reason) => report({ event: "disconnect", version, transport, reason }));
    socket.on("fleet_update", (...args) => {
      messages.push(args);
      if (messages.length === Number(wanted)) {
        report({ event: "done", version, transport, messages });
        socket.close();
        waiting -= 1;
        if (waiting === 0) setTimeout(() => process.exit(0), 100);
      }
    });
  }
}
