// A real Node replica, or only an emitter, driven over HTTP: POST a function body, get what it returns as JSON.
// In scope: io, emitter, client(name, rooms, reply), received(name), notepack, sleep.
// A replica dies of what kills a replica in production: nothing here catches for it.
import { createServer } from "node:http";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import Redis from "ioredis";
import notepack from "notepack.io";
import { createClient, createCluster } from "redis";
import { Server } from "socket.io";
import { clients, report } from "./clients.mjs";

const url = process.env.REDIS_URL;
const kind = process.env.REDIS_CLIENT ?? "node-redis";
const options = JSON.parse(process.env.ADAPTER_OPTIONS ?? "{}");

const connect = async () => {
  if (kind === "ioredis-cluster") return new Redis.Cluster([url]);
  if (kind === "node-redis-cluster") {
    const cluster = createCluster({ rootNodes: [{ url }] });
    cluster.on("error", () => {});
    await cluster.connect();
    return cluster;
  }
  if (kind === "ioredis-sentinel") {
    const { hostname: host, port } = new URL(url);
    const redis = new Redis({ sentinels: [{ host, port: Number(port) }], name: "fleet" });
    redis.on("error", () => {});
    return redis;
  }
  if (kind === "ioredis") return new Redis(url);
  const redis = createClient({ url });
  // Both libraries reconnect by themselves; without a listener the process would end.
  redis.on("error", () => {});
  await redis.connect();
  return redis;
};

const pub = await connect();
const sub = await connect();
if (kind === "ioredis") for (const redis of [pub, sub]) redis.on("error", () => {});

const http = createServer();
const io = new Server(http, { serveClient: false });
const sharded = process.env.ADAPTER === "sharded";
const isMember = !process.env.EMITTER_ONLY;
if (isMember) io.adapter(sharded ? createShardedAdapter(pub, sub, options) : createAdapter(pub, sub, options));
const emitter = new Emitter(pub, options.key ? { key: options.key } : {});

// What servers are told by each other, and what they answer.
const serverEvents = [];
io.on("sse", (...args) => {
  const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
  serverEvents.push(args);
  ack?.({ node: io.of("/").adapter.uid, args });
});

io.on("connection", (socket) => {
  const { room, fleetId, marker } = socket.handshake.query;
  if (marker) socket.data.marker = marker;
  for (const name of [room ?? [], fleetId ?? []].flat()) socket.join(name);
});

/**
 * Serves fleets as a Node gateway does: what is published on updates:<fleet> goes to the sockets of this
 * replica. `spoil` says what becomes of a message.
 */
const relay = async (spoil = (text) => [text]) => {
  const updates = await connect();
  const deliver = (text, channel) => {
    const room = io.local.to(channel.slice("updates:".length));
    for (const message of spoil(text)) room.emit("fleet_update", message);
  };
  if (kind === "ioredis") {
    updates.on("pmessage", (_pattern, channel, text) => deliver(text, channel));
    await updates.psubscribe("updates:*");
  } else {
    await updates.pSubscribe("updates:*", deliver);
  }
};

/** The arguments of a packet of version 2, with the acknowledgement behind them if one is wanted. */
const eventArgs = (socket, { data, id }) => (id == null ? data : [...data, socket.ack(id)]);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sockets = new Map();

/**
 * Connects a stock dashboard, to this replica or to the gateway at `url`. `reply` is what it answers to
 * events that ask.
 */
const client = async (name, rooms = [], reply = undefined, options = {}) => {
  const { url = `http://127.0.0.1:${http.address().port}`, version = "4.8", ...rest } = options;
  const names = rooms.flatMap((room) => [["room", room], ["fleetId", room]]);
  const socket = clients[version](`${url}?${new URLSearchParams([["marker", name], ...names])}`, {
    transports: ["websocket"],
    forceNew: true,
    reconnection: false,
    ...rest,
  });
  const got = [];
  let reason = null;
  const answer = reply === undefined ? undefined : (ack) => ack(reply);
  sockets.set(name, { socket, got, answer, reason: () => reason });
  const onAny = (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
    got.push(args);
    const { answer } = sockets.get(name);
    if (ack && answer) answer(ack);
  };
  // Version 2 has no onAny, but one place that every event passes.
  if (socket.onAny) socket.onAny(onAny);
  else socket.onevent = (packet) => onAny(...eventArgs(socket, packet));
  socket.on("disconnect", (why) => (reason = why));
  await new Promise((resolve, reject) => socket.on("connect", resolve).on("connect_error", reject));
  return socket.id;
};

const received = (name) => sockets.get(name).got;
const reason = (name) => sockets.get(name).reason();
const kill = (name) => sockets.get(name).socket.disconnect();

/** JSON with binary values that survive. */
const json = (value) =>
  JSON.stringify(
    value,
    function (key, plain) {
      const original = this[key];
      if (Buffer.isBuffer(original)) return { $hex: original.toString("hex") };
      if (original instanceof ArrayBuffer) return { $hex: Buffer.from(original).toString("hex") };
      return plain;
    },
  ) ?? "null";

const AsyncFunction = (async () => {}).constructor;
const scope = { io, emitter, client, sockets, relay, received, reason, kill, serverEvents, notepack, pub, sleep, Buffer };

const control = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  try {
    const run = new AsyncFunction(...Object.keys(scope), "input", body.slice(body.indexOf("\n") + 1));
    const input = JSON.parse(body.slice(0, body.indexOf("\n")));
    response.end(json({ ok: await run(...Object.values(scope), input) }));
  } catch (error) {
    response.end(json({ error: String(error), responses: error?.responses }));
  }
});

http.listen(0, "127.0.0.1", () => {
  control.listen(0, "127.0.0.1", async () => {
    // Subscribed once the adapter counts itself.
    while (isMember && (await io.of("/").adapter.serverCount()) < 1) await sleep(5);
    report({ control: control.address().port, public: http.address().port, uid: io.of("/").adapter.uid ?? "" });
  });
});
