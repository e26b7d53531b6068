// The gateway that died: every connection adds its own listener to the one Redis subscriber, and no
// disconnect ever takes it away. A reconnecting dashboard leaves its old socket, reachable from the
// listener, behind; every later message calls every listener there ever was.
import { createServer } from "node:http";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);
const subscriber = new Redis(process.env.REDIS_URL);
subscriber.setMaxListeners(0); // the warning that was switched off

io.on("connection", (socket) => {
  const { fleetId } = socket.handshake.query;
  const channel = `updates:${fleetId}`;
  subscriber.subscribe(channel);
  subscriber.on("message", (from, message) => {
    if (from === channel) socket.emit("fleet_update", message);
  });
});

http.listen(Number(process.env.PORT), "127.0.0.1");
