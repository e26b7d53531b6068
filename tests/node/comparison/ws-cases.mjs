// What is asked over websockets: handshakes, frames, upgrades, heartbeats.
import { Connection, UPGRADE, binary, clientFrame, requestHead, text } from "./raw.mjs";
import { later } from "./http-cases.mjs";
import { Polling, Websocket, answered, decodedPackets, query } from "./sessions.mjs";

const OFFERED = ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions", "content-type"];

// A websocket handshake: [name, path, headers, method]. An answer of 101 is followed by what comes first.
const direct = query(4, "websocket");
const HANDSHAKES = [
  ["4", direct],
  ["3", query(3, "websocket")],
  ["in lower case, with keep-alive", direct, { Connection: "keep-alive, upgrade" }],
  ["Connection in two lines", direct, { Connection: ["keep-alive", "Upgrade"] }],
  ["Upgrade in capitals", direct, { Upgrade: "WebSocket" }],
  ["Upgrade to something else", direct, { Upgrade: "h2c" }],
  ["Upgrade to two things", direct, { Upgrade: "websocket, h2c" }],
  ["no Upgrade", direct, { Upgrade: undefined }],
  ["no Connection", direct, { Connection: undefined }],
  ["no key", direct, { "Sec-WebSocket-Key": undefined }],
  ["a key too short", direct, { "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ==" }],
  ["a key that is no base64", direct, { "Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!==" }],
  ["a key of one padding", direct, { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZTE=" }],
  ["version 8", direct, { "Sec-WebSocket-Version": "8" }],
  ["version 12", direct, { "Sec-WebSocket-Version": "12" }],
  ["version 13.0", direct, { "Sec-WebSocket-Version": "13.0" }],
  ["no version", direct, { "Sec-WebSocket-Version": undefined }],
  ["a subprotocol", direct, { "Sec-WebSocket-Protocol": "v1.fleet" }],
  ["two subprotocols", direct, { "Sec-WebSocket-Protocol": "one, two" }],
  ["permessage-deflate offered", direct, { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" }],
  ["an extension that is none", direct, { "Sec-WebSocket-Extensions": "x;;=\"" }],
  ["a cookie", direct, { Cookie: "io=x" }],
  ["POST", direct, {}, "POST"],
  ["no transport", "/socket.io/?EIO=4"],
  ["an unknown transport", query(4, "__proto__")],
  ["transport polling", query(4, "polling")],
  ["no EIO", "/socket.io/?transport=websocket"],
  ["EIO 5", query(5, "websocket")],
  ["EIO a word", query("four", "websocket")],
  ["an unknown sid", query(4, "websocket", "nobody")],
  ["sid __proto__", query(4, "websocket", "__proto__")],
  ["an empty sid", query(4, "websocket", "")],
  ["percent-encoded", "/socket.io/?%45IO=4&trans%70ort=websocke%74"],
  ["a foreign origin", direct, { Origin: "https://evil.com" }],
  ["an allowed origin", direct, { Origin: "https://good.com" }],
];

const handshakes = HANDSHAKES.map(([name, path, headers = {}, method]) => ({
  name: `websocket: ${name}`,
  run: async (target) => {
    const connection = Connection.open(target);
    connection.send(requestHead(target, { method, path, headers: { ...UPGRADE, ...headers } }));
    const response = await connection.response();
    // What HTTP/1.1 does anyway need not be said.
    if (response?.headers.connection === "keep-alive") delete response.headers.connection;
    const lines = [answered(response, OFFERED)];
    if (response?.status === 101) {
      const session = Object.assign(new Websocket(), { connection });
      lines.push(...(await session.until((packet) => packet.startsWith("0"))));
    }
    connection.close();
    return lines;
  },
}));

const handshakesWithData = [
  ["CONNECT right behind the handshake", text("40")],
  ["an unmasked frame behind the handshake", clientFrame(0x81, "40", { masked: false })],
].map(([name, behind]) => ({
  name: `websocket: ${name}`,
  run: async (target) => {
    const session = await Websocket.open(target, 4, { behind });
    const seen = await session.until((packet) => packet.startsWith("40"));
    session.connection.close();
    return seen;
  },
}));

// Frames in a connected session.
const code = (number, reason = "") => Buffer.concat([Buffer.from([number >> 8, number & 0xff]), Buffer.from(reason)]);
const header = (...bytes) => Buffer.from(bytes);
const event = '42["x"]';
const FRAMES = [
  ["a text message", text(event)],
  ["reserved bit 1", clientFrame(0xc1, event)],
  ["reserved bit 2", clientFrame(0xa1, event)],
  ["reserved bit 3", clientFrame(0x91, event)],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, clientFrame(0x80 | opcode, "x")]),
  ["unmasked", clientFrame(0x81, event, { masked: false })],
  ["an unmasked ping", clientFrame(0x89, "", { masked: false })],
  ["invalid UTF-8", text(Buffer.from([0x34, 0x32, 0xff]))],
  ["UTF-8 cut in two messages", text(Buffer.from([0x34, 0xe2, 0x82]))],
  ["UTF-8 cut in two fragments", Buffer.concat([clientFrame(0x01, Buffer.from('42["h\xe2\x82', "latin1")), clientFrame(0x80, Buffer.from('\xac"]', "latin1"))])],
  ["a surrogate in UTF-8", text(Buffer.from([0x34, 0xed, 0xa0, 0x80]))],
  ["an overlong slash", text(Buffer.from([0x34, 0xc0, 0xaf]))],
  ["two fragments", Buffer.concat([clientFrame(0x01, "42["), clientFrame(0x80, '"x"]')])],
  ["three fragments, the middle empty", Buffer.concat([clientFrame(0x01, "42["), clientFrame(0x00, ""), clientFrame(0x80, '"x"]')])],
  ["a ping between fragments", Buffer.concat([clientFrame(0x01, "42["), clientFrame(0x89, "p"), clientFrame(0x80, '"x"]')])],
  ["a continuation of nothing", clientFrame(0x80, "x")],
  ["a text inside a fragmented one", Buffer.concat([clientFrame(0x01, "42["), text(event)])],
  ["a fragmented ping", clientFrame(0x09, "p")],
  ["a fragmented close", clientFrame(0x08, code(1000))],
  ["a ping", clientFrame(0x89, "")],
  ["a ping with data", clientFrame(0x89, "hello")],
  ["a ping of 125 bytes", clientFrame(0x89, "x".repeat(125))],
  ["a ping of 126 bytes", clientFrame(0x89, "x".repeat(126))],
  ["a pong nobody asked for", clientFrame(0x8a, "x")],
  ["a close", clientFrame(0x88, "")],
  ["a close of one byte", clientFrame(0x88, "x")],
  ...[1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999].map((n) => [`close ${n}`, clientFrame(0x88, code(n))]),
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535].map((n) => [`close ${n}, which must not be sent`, clientFrame(0x88, code(n))]),
  ["a close with a reason", clientFrame(0x88, code(1000, "bye"))],
  ["a close with a reason that is no UTF-8", clientFrame(0x88, Buffer.from([3, 232, 255]))],
  ["something behind a close", Buffer.concat([clientFrame(0x88, code(1000)), text(event)])],
  ["a message of the limit", text(`42["${"x".repeat(65_530)}"]`.slice(0, 65_534) + '"]')],
  ["a message over the limit", text(`42["${"x".repeat(65_536)}"]`)],
  ["a binary message over the limit", binary(Buffer.alloc(70_000))],
  ["fragments over the limit", Buffer.concat([clientFrame(0x01, "x".repeat(40_000)), clientFrame(0x80, "x".repeat(40_000))])],
  ["a length of 2^63", header(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
  ["a length of 2^53", header(0x81, 0xff, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
  ["a length of 1 GiB", header(0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0)],
  ["a length in more bytes than it needs", Buffer.concat([header(0x81, 0xfe, 0, 3, 0, 0, 0, 0), Buffer.from("421")]).subarray(0, 8 + 2)],
  ["a thousand fragments of a byte", Buffer.concat([clientFrame(0x01, "4"), ...Array(1000).fill(clientFrame(0x00, "2")), clientFrame(0x80, "x")])],
  ["two thousand fragments of a byte", Buffer.concat([clientFrame(0x01, "4"), ...Array(2000).fill(clientFrame(0x00, "2")), clientFrame(0x80, "x")])],
  ["a thousand pings", Buffer.concat(Array(1000).fill(clientFrame(0x89, ""))), "quietly"],
  // Engine.IO's own packets.
  ["an empty text", text("")],
  ["packet 0", text("0{}")],
  ["packet 1", text("1")],
  ["packet 2", text("2")],
  ["packet 2 with data", text("2probe")],
  ["packet 3", text("3")],
  ["packet 3 with data", text("3probe")],
  ["packet 4, empty", text("4")],
  ["packet 5", text("5")],
  ["packet 6", text("6")],
  ["packet 7", text("7")],
  ["packet 9 with data", text("9abc")],
  ["a letter", text("x")],
  ["a space", text(" 2")],
  ["a separator between two packets", text(`${event}\x1e4${event}`)],
  ["base64 of a binary packet", text("bAQID")],
  ["base64 of a binary packet, protocol 3", text("b4AQID")],
  ["binary that nobody expects", binary([1, 2, 3])],
  ["binary, type 4", binary([4, 1, 2, 3])],
  ["binary, type 2", binary([2])],
  ["binary, type 9", binary([9, 1])],
  ["binary, empty", binary([])],
];

const frames = FRAMES.flatMap(([name, bytes, quietly]) =>
  [4, 3].map((eio) => ({
    name: `frames (${eio}): ${name}`,
    run: async (target) => {
      const session = await Websocket.connected(target, eio);
      session.send(bytes);
      const seen = await session.fate();
      return quietly ? [`${seen.length}`, seen.at(-1)] : seen;
    },
  })),
);

const before = [
  ["an event before CONNECT", '42["x"]'],
  ["a disconnect before CONNECT", "41"],
  ["an acknowledgement before CONNECT", "431[]"],
].map(([name, packet]) => ({
  name: `frames (4): ${name}`,
  run: async (target) => {
    const session = await Websocket.open(target, 4);
    await session.until((first) => first.startsWith("0"));
    session.send(text(packet), text("40"));
    const seen = await session.until((packet) => packet.startsWith("40"));
    session.connection.close();
    return seen;
  },
}));

// A websocket beside a polling session. `act` gets the session and the open websocket; the fate is the polling
// session's, unless it was upgraded.
const probe = async (socket) => {
  socket.send(text("2probe"));
  return socket.until((packet) => packet === "3probe");
};
const rest = (socket) => socket.until(() => false, { patienceMs: 1000 });

const UPGRADES = [
  ["done as clients do it", async (session, socket) => {
    const seen = await probe(socket);
    const get = session.get();
    socket.send(text("5"));
    await get;
    return [...seen, ...(await socket.fate()), answered(await session.get())];
  }],
  ["without a GET under way", async (session, socket) => [
    ...(await probe(socket)),
    ...(socket.send(text("5")), await socket.fate()),
  ]],
  ["a message right behind the upgrade packet", async (session, socket) => [
    ...(await probe(socket)),
    ...(socket.send(text("5"), text('427["fleet_unsubscribe",{"fleet":"f"}]')), await socket.fate()),
  ]],
  ["GETs while it is probed are answered with a noop", async (session, socket) => {
    const get = session.get();
    const seen = await probe(socket);
    const response = await get;
    socket.connection.close();
    return [...seen, answered(response)];
  }],
  ["POSTs while it is probed", async (session, socket) => {
    const seen = await probe(socket);
    const posted = await session.packets('427["fleet_unsubscribe",{"fleet":"f"}]');
    socket.send(text("5"));
    return [...seen, answered(posted), ...(await socket.fate())];
  }],
  ["POSTs after it", async (session, socket) => {
    const seen = await probe(socket);
    socket.send(text("5"));
    await later(100);
    return [...seen, answered(await session.packets('42["x"]')), ...(await socket.fate())];
  }],
  ["left before the probe", async (session, socket) => {
    socket.connection.close();
    await later(100);
    return session.fate();
  }],
  ["reset before the probe", async (session, socket) => {
    socket.connection.reset();
    await later(100);
    return session.fate();
  }],
  ["left after the probe", async (session, socket) => {
    const seen = await probe(socket);
    socket.connection.close();
    await later(100);
    return [...seen, ...(await session.fate())];
  }],
  ["closed politely after the probe", async (session, socket) => {
    const seen = await probe(socket);
    socket.send(clientFrame(0x88, code(1000)));
    return [...seen, ...(await rest(socket)), ...(await session.fate())];
  }],
  ["a wrong probe", async (session, socket) => [
    ...(socket.send(text("2wrong")), await rest(socket)), ...(await session.fate()),
  ]],
  ["a ping that is no probe", async (session, socket) => [
    ...(socket.send(text("2")), await rest(socket)), ...(await session.fate()),
  ]],
  ["the upgrade packet before the probe", async (session, socket) => [
    ...(socket.send(text("5")), await rest(socket)), ...(await session.fate()),
  ]],
  ["a message before the probe", async (session, socket) => [
    ...(socket.send(text('42["x"]')), await rest(socket)), ...(await session.fate()),
  ]],
  ["a message instead of the upgrade packet", async (session, socket) => [
    ...(await probe(socket)), ...(socket.send(text('42["x"]')), await rest(socket)), ...(await session.fate()),
  ]],
  ["nonsense instead of a probe", async (session, socket) => [
    ...(socket.send(text("x")), await rest(socket)), ...(await session.fate()),
  ]],
  ["binary instead of a probe", async (session, socket) => [
    ...(socket.send(binary([1])), await rest(socket)), ...(await session.fate()),
  ]],
  ["an unmasked frame instead of a probe", async (session, socket) => [
    ...(socket.send(clientFrame(0x81, "2probe", { masked: false })), await rest(socket)), ...(await session.fate()),
  ]],
  ["invalid UTF-8 instead of a probe", async (session, socket) => [
    ...(socket.send(text(Buffer.from([0xff]))), await rest(socket)), ...(await session.fate()),
  ]],
  ["a message over the limit instead of a probe", async (session, socket) => [
    ...(socket.send(text("x".repeat(70_000))), await rest(socket)), ...(await session.fate()),
  ]],
  ["the probe twice", async (session, socket) => {
    const seen = [...(await probe(socket)), ...(await probe(socket))];
    socket.send(text("5"));
    return [...seen, ...(await socket.fate())];
  }],
  ["a websocket's ping while it is probed", async (session, socket) => {
    socket.send(clientFrame(0x89, "x"));
    const seen = await socket.until((packet) => packet.startsWith("ws pong"), { patienceMs: 1000 });
    return [...seen, ...(await probe(socket)), ...(socket.send(text("5")), await socket.fate())];
  }],
  ["a second websocket while one is probed", async (session, socket) => {
    const seen = await probe(socket);
    const second = await Websocket.open(session.target, session.eio, { path: session.websocketPath() });
    seen.push(`second: ${second.response.status} ${await second.until(() => false, { patienceMs: 2000 })}`);
    socket.send(text("5"));
    return [...seen, ...(await socket.fate())];
  }],
  ["a second websocket after the upgrade", async (session, socket) => {
    const seen = await probe(socket);
    socket.send(text("5"));
    await later(100);
    const second = await Websocket.open(session.target, session.eio, { path: session.websocketPath() });
    seen.push(`second: ${second.response?.status} ${await second.until(() => false, { patienceMs: 2000 })}`);
    return [...seen, ...(await socket.fate())];
  }],
  ["again after one that failed", async (session, socket) => {
    socket.send(text("x"));
    const seen = await rest(socket);
    const second = await Websocket.open(session.target, session.eio, { path: session.websocketPath() });
    return [...seen, ...(await probe(second)), ...(second.send(text("5")), await second.fate())];
  }],
  ["the session closed by a POST while it is probed", async (session, socket) => {
    const seen = await probe(socket);
    await session.packets("1");
    return [...seen, ...(await rest(socket)), ...(await session.fate())];
  }],
  ["the websocket is reset after the upgrade", async (session, socket) => {
    const seen = await probe(socket);
    socket.send(text("5"));
    await later(100);
    socket.connection.reset();
    await later(200);
    return [...seen, answered(await session.get())];
  }],
  ["never probed", async (session, socket) => [
    ...(await socket.until(() => false, { patienceMs: 12_000 })), ...(await session.fate()),
  ]],
  ["probed and never upgraded", async (session, socket) => [
    ...(await probe(socket)), ...(await socket.until(() => false, { patienceMs: 12_000 })), ...(await session.fate()),
  ]],
];

const upgrades = UPGRADES.flatMap(([name, act]) =>
  [4, 3].map((eio) => ({
    name: `upgrade (${eio}): ${name}`,
    run: async (target) => {
      const session = await Polling.connected(target, eio);
      const socket = await Websocket.open(target, eio, { path: session.websocketPath() });
      const seen = await act(session, socket);
      socket.connection.close();
      return [String(socket.response.status), ...seen];
    },
  })),
);

const upgradesRefused = [
  ["with the other protocol's number", (session) => [session.websocketPath(7 - session.eio)]],
  ["without EIO", (session) => [`/socket.io/?transport=websocket&sid=${session.sid}`]],
  ["with transport polling", (session) => [query(session.eio, "polling", session.sid)]],
  ["from a foreign origin", (session) => [session.websocketPath(), { Origin: "https://evil.com" }]],
  ["with a bad key", (session) => [session.websocketPath(), { "Sec-WebSocket-Key": "x" }]],
  ["with version 12", (session) => [session.websocketPath(), { "Sec-WebSocket-Version": "12" }]],
  ["with a sid twice", (session) => [`${session.websocketPath()}&sid=nobody`]],
].flatMap(([name, how]) =>
  [4, 3].map((eio) => ({
    name: `upgrade (${eio}): ${name}`,
    run: async (target) => {
      const session = await Polling.connected(target, eio);
      const [path, headers] = how(session);
      const socket = await Websocket.open(target, eio, { path, headers });
      const lines = [answered(socket.response)];
      if (socket.response?.status === 101) {
        lines.push(...(await probe(socket)));
        // Whether it could take the session over: it leaves before it would.
        socket.connection.close();
        await later(100);
      }
      return [...lines, ...(await session.fate())];
    },
  })),
);

// How a session that polls is told that it is over: the GET under way, and the next request.
const ENDS = [
  ["a close packet", ["1"]],
  ["nonsense", ["x"]],
  ["a heartbeat in the wrong direction", (eio) => [eio === 4 ? "2" : "3"]],
  ["a disconnect of the namespace", ["41"]],
  ["a malformed event", ["42{}"]],
];

const ends = ENDS.flatMap(([name, packets]) =>
  [4, 3].flatMap((eio) => {
    const sent = typeof packets === "function" ? packets(eio) : packets;
    return [
      {
        name: `end (${eio}): ${name}, a GET under way`,
        run: async (target) => {
          const session = await Polling.connected(target, eio);
          const get = session.get();
          await later(100);
          await session.packets(...sent);
          if (sent[0] === "41") await session.packets("6");
          const response = await Promise.race([get, later(700).then(() => undefined)]);
          const told = response && response.status === 200 ? decodedPackets(eio, response.body) : [answered(response)];
          return [...told, answered(await session.get())].map(String);
        },
      },
      {
        name: `end (${eio}): ${name}, no GET under way`,
        run: async (target) => {
          const session = await Polling.connected(target, eio);
          await session.packets(...sent);
          await later(150);
          const lines = [];
          for (let n = 0; n < 2; n++) {
            const response = await Promise.race([session.get(), later(700).then(() => undefined)]);
            lines.push(answered(response, []));
          }
          return lines;
        },
      },
    ];
  }),
);

export const wsCases = [...handshakes, ...handshakesWithData, ...frames, ...before, ...upgrades, ...upgradesRefused, ...ends];
