// A stock dashboard with its default reconnection: reports each connect, disconnect and message. Its process is
// what the test suspends. Arguments: gateway URL, fleet.
import { clients, report } from "./clients.mjs";

const [url, fleet] = process.argv.slice(2);
const socket = clients["4.8"](url, { query: { fleetId: fleet }, transports: ["websocket"] });
socket.on("connect", () => report({ event: "connect" }));
socket.on("disconnect", (reason) => report({ event: "disconnect", reason }));
socket.on("fleet_update", (message) => report({ event: "update", message }));
