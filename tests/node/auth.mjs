// Stock clients with tokens. Arguments: the gateway, and [{label, version, transport, auth?, query?, headers?}].
// Reports per case whether it connected, or what it was told and whether it would try again.
import { clients, report } from "./clients.mjs";

const [url, cases] = [process.argv[2], JSON.parse(process.argv[3])];

await Promise.all(
  cases.map(
    ({ label, version = "4.8", transport = "websocket", auth, query, headers }) =>
      new Promise((done) => {
        const socket = clients[version](url, {
          transports: [transport],
          forceNew: true,
          auth,
          query,
          extraHeaders: headers,
          transportOptions: { polling: { extraHeaders: headers }, websocket: { extraHeaders: headers } },
        });
        const end = (fact) => {
          report({ label, ...fact });
          socket.disconnect();
          done();
        };
        socket.on("connect", () => end({ connected: true }));
        socket.on("connect_error", (error) => end({ refused: error.message, again: socket.active ?? null }));
        // 2.x has its own event for a refusal by the server.
        socket.on("error", (message) => end({ refused: message }));
      }),
  ),
);
process.exit(0);
