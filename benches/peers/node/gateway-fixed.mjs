// The same gateway, mended: one listener for the process, Socket.IO rooms for the fan-out, a Redis
// subscription per watched fleet, given back when its last viewer leaves. What a careful Node team runs.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const redis = () => new Redis(process.env.REDIS_URL);
const http = createServer();
const io = new Server(http, { adapter: createAdapter(redis(), redis()) });
const subscriber = redis();
const viewers = new Map(); // fleet -> sockets watching it

io.on("connection", (socket) => {
  const fleet = String(socket.handshake.query.fleetId);
  socket.join(fleet);
  const count = viewers.get(fleet) ?? 0;
  viewers.set(fleet, count + 1);
  if (count === 0) subscriber.subscribe(`updates:${fleet}`);

  socket.on("disconnect", () => {
    const left = viewers.get(fleet) - 1;
    if (left > 0) {
      viewers.set(fleet, left);
    } else {
      viewers.delete(fleet);
      subscriber.unsubscribe(`updates:${fleet}`);
    }
  });
});

subscriber.on("message", (channel, message) => {
  // `local`: every replica hears the channel itself, so the adapter must not carry it a second time.
  io.local.to(channel.slice("updates:".length)).emit("fleet_update", message);
});

http.listen(Number(process.env.PORT), "127.0.0.1");
