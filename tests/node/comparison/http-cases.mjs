// What is asked over plain HTTP: handshakes, requests of a session, bodies, origins.
import { Connection, UPGRADE, request, requestHead } from "./raw.mjs";
import { Polling, answered, query } from "./sessions.mjs";

const PATH = "/socket.io/";
const long = "x".repeat(6000);

// Without a session: [name, request]. `path` is behind /socket.io/.
const HANDSHAKES = [
  ["4, polling", { path: "?EIO=4&transport=polling" }],
  ["3, polling", { path: "?EIO=3&transport=polling" }],
  ["3, polling, base64", { path: "?EIO=3&transport=polling&b64=1" }],
  ["a timestamp", { path: "?EIO=4&transport=polling&t=PabcDEF" }],
  ["foreign keys", { path: "?EIO=4&transport=polling&fleet=a&x[]=1&__proto__=2" }],
  ["percent-encoded key and value", { path: "?%45IO=4&trans%70ort=poll%69ng" }],
  ["plus for space", { path: "?EIO=4&transport=poll+ing" }],
  ["broken percent-encoding", { path: "?EIO=4&transport=polling&x=%zz" }],
  ["invalid UTF-8 in the query", { path: "?EIO=4&transport=polling&x=%ff" }],
  ["empty sid", { path: "?EIO=4&transport=polling&sid=" }],
  ["sid without a value", { path: "?EIO=4&transport=polling&sid" }],
  ["unknown sid", { path: "?EIO=4&transport=polling&sid=nobody" }],
  ["unknown sid of the right length", { path: "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA" }],
  ["sid __proto__", { path: "?EIO=4&transport=polling&sid=__proto__" }],
  ["sid constructor", { path: "?EIO=4&transport=polling&sid=constructor" }],
  ["sid of 6,000 characters", { path: `?EIO=4&transport=polling&sid=${long}` }],
  ["sid with a NUL", { path: "?EIO=4&transport=polling&sid=a%00b" }],
  ["sid that is no UTF-8", { path: "?EIO=4&transport=polling&sid=%ff%fe" }],
  ["unknown sid over websocket, no upgrade", { path: "?EIO=4&transport=websocket&sid=nobody" }],
  ["no query", { path: "" }],
  ["empty query", { path: "?" }],
  ["no transport", { path: "?EIO=4" }],
  ["empty transport", { path: "?EIO=4&transport=" }],
  ["transport in capitals", { path: "?EIO=4&transport=POLLING" }],
  ["transport __proto__", { path: "?EIO=4&transport=__proto__" }],
  ["transport constructor", { path: "?EIO=4&transport=constructor" }],
  ["transport toString", { path: "?EIO=4&transport=toString" }],
  ["transport hasOwnProperty", { path: "?EIO=4&transport=hasOwnProperty" }],
  ["transport webtransport", { path: "?EIO=4&transport=webtransport" }],
  ["transport flashsocket", { path: "?EIO=4&transport=flashsocket" }],
  ["transport of 6,000 characters", { path: `?EIO=4&transport=${long}` }],
  ["transport websocket without an upgrade", { path: "?EIO=4&transport=websocket" }],
  ["3, transport websocket without an upgrade", { path: "?EIO=3&transport=websocket" }],
  ["no EIO", { path: "?transport=polling" }],
  ["EIO empty", { path: "?EIO=&transport=polling" }],
  ["EIO 2", { path: "?EIO=2&transport=polling" }],
  ["EIO 5", { path: "?EIO=5&transport=polling" }],
  ["EIO 44", { path: "?EIO=44&transport=polling" }],
  ["EIO a word", { path: "?EIO=four&transport=polling" }],
  ["EIO twice", { path: "?EIO=3&EIO=4&transport=polling" }],
  ["transport twice", { path: "?EIO=4&transport=websocket&transport=polling" }],
  ["sid twice, both unknown", { path: "?EIO=4&transport=polling&sid=a&sid=b" }],
  ["JSONP", { path: "?EIO=3&transport=polling&j=0" }],
  ["JSONP with a script for a number", { path: "?EIO=3&transport=polling&j=alert(1)" }],
  ["no slash behind the path", { whole: "/socket.io?EIO=4&transport=polling" }],
  ["something behind the path", { whole: "/socket.io/x?EIO=4&transport=polling" }],
  ["two slashes", { whole: "/socket.io//?EIO=4&transport=polling" }],
  ["path in capitals", { whole: "/Socket.IO/?EIO=4&transport=polling" }],
  ["an absolute target", { whole: "http://elsewhere.example/socket.io/?EIO=4&transport=polling" }],
  ["HTTP without Host", { path: "?EIO=4&transport=polling", host: false }],
  ["a cookie and credentials", { path: "?EIO=4&transport=polling", headers: { Cookie: "io=x", Authorization: "Bearer x" } }],
  ["an old browser", { path: "?EIO=4&transport=polling", headers: { "User-Agent": "Mozilla/4.0 (compatible;MSIE 8.0; Trident/4.0)" } }],
  ["gzip accepted", { path: "?EIO=4&transport=polling", headers: { "Accept-Encoding": "gzip" } }],
  ["a GET with a body", { path: "?EIO=4&transport=polling", body: "40" }],
  ...["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"].map((method) => [
    `method ${method}`,
    { method, path: "?EIO=4&transport=polling", bodiless: method === "HEAD" },
  ]),
  ["POST with a body", { method: "POST", path: "?EIO=4&transport=polling", body: "40" }],
  ["POST, transport unknown too", { method: "POST", path: "?EIO=4&transport=x" }],
  ["POST, EIO unknown too", { method: "POST", path: "?EIO=9&transport=polling" }],
  ["POST with an unknown sid", { method: "POST", path: "?EIO=4&transport=polling&sid=nobody", body: "40" }],
];

// HEAD has the headers of an answer and no body: only the status counts.
async function bodiless(target, options) {
  const connection = Connection.open(target).send(requestHead(target, { headers: { Connection: "close" }, ...options }));
  const head = await connection.response(500);
  connection.close();
  return [`${head?.status}`];
}

const handshakes = HANDSHAKES.map(([name, { path, whole, ...options }]) => ({
  name: `handshake: ${name}`,
  run: async (target) => {
    const all = { path: whole ?? PATH + path, ...options };
    if (options.bodiless) return bodiless(target, all);
    return [answered(await request(target, all), ["content-type", "cache-control", "x-xss-protection", "content-encoding"])];
  },
}));

// With a session that polls: what a request of it is answered with, and what becomes of the session.
const IN_SESSION = [
  ["GET of nothing but the heartbeat, aborted", async (session) => {
    const connection = Connection.open(session.target);
    connection.send(requestHead(session.target, { path: session.path }));
    await later(150);
    connection.close();
    await later(150);
    return [];
  }],
  ["GET, aborted by a reset", async (session) => {
    const connection = Connection.open(session.target);
    connection.send(requestHead(session.target, { path: session.path }));
    await later(150);
    connection.reset();
    await later(150);
    return [];
  }],
  ["GET beside a GET", async (session) => {
    const first = session.get();
    await later(150);
    const second = await session.get();
    return [answered(second), answered(await first)];
  }],
  ["POST beside a POST", async (session) => {
    const first = Connection.open(session.target);
    const headers = { "Content-Length": 3, "Content-Type": "text/plain" };
    first.send(requestHead(session.target, { method: "POST", path: session.path, headers }));
    await later(150);
    const second = await session.packets("42");
    const lines = [answered(second)];
    first.close();
    return lines;
  }],
  ["POST whose body never comes whole, left", async (session) => {
    const connection = Connection.open(session.target);
    const headers = { "Content-Length": 30, "Content-Type": "text/plain" };
    connection.send(requestHead(session.target, { method: "POST", path: session.path, headers })).send("42");
    await later(150);
    connection.close();
    await later(150);
    return [];
  }],
  ["POST beside a GET", async (session) => {
    const get = session.get();
    await later(100);
    const posted = await session.packets('42["fleet_unsubscribe",{"fleet":"f"}]', '421["fleet_unsubscribe",{"fleet":"f"}]');
    return [answered(posted), answered(await get)];
  }],
  ["the other protocol's number", async (session) => [
    answered(await request(session.target, { path: query(7 - session.eio, "polling", session.sid) })),
  ]],
  ["the other protocol's number, POST", async (session) => [
    answered(await request(session.target, { method: "POST", path: query(7 - session.eio, "polling", session.sid), body: "2" })),
  ]],
  ["no EIO", async (session) => [
    answered(await request(session.target, { path: `${PATH}?transport=polling&sid=${session.sid}`, method: "PUT" })),
  ]],
  ["EIO 5", async (session) => [
    answered(await request(session.target, { path: `${PATH}?EIO=5&transport=polling&sid=${session.sid}`, method: "PUT" })),
  ]],
  ["transport websocket, no upgrade", async (session) => [
    answered(await request(session.target, { path: query(session.eio, "websocket", session.sid) })),
  ]],
  ["no transport", async (session) => [
    answered(await request(session.target, { path: `${PATH}?EIO=${session.eio}&sid=${session.sid}` })),
  ]],
  ["sid behind an unknown one", async (session) => [
    answered(await request(session.target, { path: `${PATH}?EIO=${session.eio}&transport=polling&sid=nobody&sid=${session.sid}`, method: "PUT" })),
  ]],
  ["sid with a character more", async (session) => [
    answered(await request(session.target, { path: `${session.path}x` })),
  ]],
  ["sid in capitals", async (session) => [
    answered(await request(session.target, { path: query(session.eio, "polling", `${session.sid.toUpperCase()}!`) })),
  ]],
  ...["PUT", "DELETE", "PATCH"].map((method) => [
    `method ${method}`,
    async (session) => [answered(await request(session.target, { method, path: session.path }))],
  ]),
  ["method HEAD", (session) => bodiless(session.target, { method: "HEAD", path: session.path })],
  ["POST over the limit, declared", async (session) => [answered(await session.post("4".repeat(70_000)))]],
  ["POST over the limit, in chunks", async (session) => [
    answered(await session.post("4".repeat(70_000), { chunked: true })),
  ]],
  ["POST of exactly the limit", async (session) => {
    const event = `42["x","${"y".repeat(65_536)}"]`;
    const whole = session.eio === 4 ? event.slice(0, 65_534) : `65530:${event.slice(0, 65_528)}`;
    return [answered(await session.post(`${whole}"]`.slice(0, 65_536)))];
  }],
  ["POST in chunks", async (session) => [
    answered(await session.post(session.eio === 4 ? "42[\"x\"]" : "7:42[\"x\"]", { chunked: true })),
  ]],
  ["POST without Content-Type", async (session) => [
    answered(await request(session.target, { method: "POST", path: session.path, body: session.eio === 4 ? '42["x"]' : '7:42["x"]' })),
  ]],
  ["POST as JSON", async (session) => [
    answered(await session.post(session.eio === 4 ? '42["x"]' : '7:42["x"]', { headers: { "Content-Type": "application/json" } })),
  ]],
  ["POST as octets", async (session) => [
    answered(await session.post('42["x"]', { headers: { "Content-Type": "application/octet-stream" } })),
  ]],
  ["POST as octets in capitals", async (session) => [
    answered(await session.post(session.eio === 4 ? '42["x"]' : '7:42["x"]', { headers: { "Content-Type": "Application/Octet-Stream" } })),
  ]],
  ["a second session of the same client", async (session) => {
    const other = await Polling.connected(session.target, session.eio);
    return [`other: ${await other.fate()}`];
  }],
  ["keep-alive: two GETs on one connection", async (session) => {
    await session.packets('421["fleet_unsubscribe",{"fleet":"f"}]');
    const connection = Connection.open(session.target);
    connection.send(requestHead(session.target, { path: session.path }));
    const first = await connection.response();
    await session.packets('422["fleet_unsubscribe",{"fleet":"f"}]');
    connection.send(requestHead(session.target, { path: session.path }));
    const second = await connection.response();
    connection.close();
    return [answered(first), answered(second)];
  }],
];

export const later = (ms) => new Promise((done) => setTimeout(done, ms));

const inSession = IN_SESSION.flatMap(([name, act]) =>
  [4, 3].map((eio) => ({
    name: `in session: ${name} (${eio})`,
    run: async (target) => {
      const session = await Polling.connected(target, eio);
      return [...(await act(session)), ...(await session.fate())];
    },
  })),
);

const b64 = (bytes) => Buffer.from(bytes).toString("base64");

// Bodies of POSTs, by protocol.
const BODIES = {
  4: [
    ["nothing", ""],
    ["a separator alone", "\x1e"],
    ["two separators", "\x1e\x1e"],
    ["a separator at the end", '42["x"]\x1e'],
    ["a separator at the start", '\x1e42["x"]'],
    ["two messages", '42["x"]\x1e42["y"]'],
    ["a hundred messages", Array(100).fill('42["x"]').join("\x1e")],
    ["an unknown type", "9"],
    ["a letter", "x"],
    ["a space", " 2"],
    ["a message and an unknown type", '42["x"]\x1e9'],
    ["an open packet", "0{}"],
    ["a close packet", "1"],
    ["a close packet and a message", '1\x1e42["x"]'],
    ["a message and a close packet", '42["x"]\x1e1'],
    ["a ping", "2"],
    ["a probe", "2probe"],
    ["a pong", "3"],
    ["a pong with data", "3probe"],
    ["an empty message", "4"],
    ["an upgrade packet", "5"],
    ["a noop", "6"],
    ["type 7", "7"],
    ["UTF-8", '42["x","h€llo 😀"]'],
    ["invalid UTF-8", Buffer.from([0x34, 0x32, 0x5b, 0x22, 0xff, 0x22, 0x5d])],
    ["a lone surrogate, escaped", '42["x","\\ud800"]'],
    ["a NUL in a string", '42["x","\\u0000"]'],
    ["a byte order mark", Buffer.from("\ufeff2")],
    ["a binary packet that nobody expects", `b${b64([1, 2, 3])}`],
    ["a binary event", `451-["x",{"_placeholder":true,"num":0}]\x1eb${b64([1, 2, 3])}`],
    ["a binary event without padding", `451-["x",{"_placeholder":true,"num":0}]\x1eb${b64([1, 2]).replace(/=+$/, "")}`],
    ["a binary event in the alphabet of URLs", '451-["x",{"_placeholder":true,"num":0}]\x1eb-_-_'],
    ["a binary event that is no base64", '451-["x",{"_placeholder":true,"num":0}]\x1eb!!!!'],
    ["an empty attachment", '451-["x",{"_placeholder":true,"num":0}]\x1eb'],
    ["a payload of protocol 3", '7:42["x"]'],
    ["a form", "d=42%5B%22x%22%5D"],
  ],
  3: [
    ["nothing", ""],
    ["no length", '42["x"]'],
    ["one message", '7:42["x"]'],
    ["two messages", '7:42["x"]7:42["y"]'],
    ["length too long", '99:42["x"]'],
    ["length too short", '3:42["x"]'],
    ["length of nothing", ":"],
    ["length zero", "0:"],
    ["length zero and a message", '0:7:42["x"]'],
    ["negative length", "-1:4"],
    ["length with a plus", '+7:42["x"]'],
    ["length with a point", '7.0:42["x"]'],
    ["length in hex", '0x7:42["x"]'],
    ["length with an exponent", '7e0:42["x"]'],
    ["length with a space", ' 7:42["x"]'],
    ["length with zeros before", '007:42["x"]'],
    ["digits behind the last", '7:42["x"]7'],
    ["length in UTF-16 units", '16:42["x","h€llo"]18:42["x","h€llo😀"]'],
    ["length in bytes", '18:42["x","h€llo"]'],
    ["length that cuts a character in two", '10:42["x","😀"]'],
    ["invalid UTF-8", Buffer.from([0x35, 0x3a, 0x34, 0x32, 0x5b, 0xff, 0x5d])],
    ["an unknown type", "1:9"],
    ["a message and an unknown type", '7:42["x"]1:9'],
    ["an open packet", "1:0"],
    ["a close packet", "1:1"],
    ["a close packet and a message", '1:17:42["x"]'],
    ["a ping", "1:2"],
    ["a ping with data", "6:2probe"],
    ["a pong", "1:3"],
    ["an empty message", "1:4"],
    ["an upgrade packet", "1:5"],
    ["a noop", "1:6"],
    ["a binary event", `45:451-["x",{"_placeholder":true,"num":0}]`.replace("45:", "39:") + `6:b4${b64([1, 2, 3])}`],
    ["a binary event without padding", '39:451-["x",{"_placeholder":true,"num":0}]5:b4AQI'],
    ["a base64 ping", "2:b2"],
    ["base64 of no type", "1:b"],
    ["a payload of protocol 4", '42["x"]\x1e42["y"]'],
  ],
};

const bodies = Object.entries(BODIES).flatMap(([eio, rows]) =>
  rows.map(([name, body]) => ({
    name: `body (${eio}): ${name}`,
    run: async (target) => {
      const session = await Polling.connected(target, Number(eio));
      return [answered(await session.post(body)), ...(await session.fate())];
    },
  })),
);

const message = Buffer.from('42["x"]');
const octets = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));

// Bodies of protocol 3 as octets.
const BINARY_BODIES = [
  ["one message", octets([0, 7, 255], message)],
  ["two messages", octets([0, 7, 255], message, [0, 7, 255], message)],
  ["a ping", octets([0, 1, 255], "2")],
  ["a binary event", octets([0, 3, 9, 255], '451-["x",{"_placeholder":true,"num":0}]', [1, 4, 255, 4, 1, 2, 3])],
  ["binary that nobody expects", octets([1, 4, 255, 4, 1, 2, 3])],
  ["a binary packet of type 9", octets([1, 2, 255, 9, 1])],
  ["an unknown type", octets([0, 1, 255], "9")],
  ["length too long", octets([0, 9, 9, 255], message)],
  ["length that is no digit", octets([0, 12, 255], message)],
  ["nothing", Buffer.alloc(0)],
];

const binaryBodies = BINARY_BODIES.map(([name, body]) => ({
  name: `octets (3): ${name}`,
  run: async (target) => {
    const session = await Polling.connected(target, 3);
    const headers = { "Content-Type": "application/octet-stream" };
    return [answered(await session.post(body, { headers })), ...(await session.fate())];
  },
}));

const CORS = ["access-control-allow-origin", "access-control-allow-credentials", "access-control-allow-methods", "access-control-allow-headers", "vary"];
const good = { Origin: "https://good.com" };

const ORIGINS = [
  ["allowed", good],
  ["foreign", { Origin: "https://evil.com" }],
  ["a longer name", { Origin: "https://good.com.evil.com" }],
  ["another port", { Origin: "https://good.com:8443" }],
  ["another scheme", { Origin: "http://good.com" }],
  ["null", { Origin: "null" }],
  ["empty", { Origin: "" }],
  ["in capitals", { Origin: "https://GOOD.com" }],
  ["with a path", { Origin: "https://good.com/" }],
  ["bytes that are no text", { Origin: "https://good.com\xff" }],
];

const origins = [
  ...ORIGINS.flatMap(([name, headers]) => [
    {
      name: `origin: ${name}`,
      run: async (target) => [answered(await request(target, { path: query(4, "polling"), headers }), CORS)],
    },
    {
      name: `origin with a session: ${name}`,
      run: async (target) => {
        const session = await Polling.connected(target, 4);
        const get = session.get({ headers });
        await later(50);
        await session.packets('421["fleet_unsubscribe",{"fleet":"f"}]');
        return [answered(await get, CORS), ...(await session.fate())];
      },
    },
  ]),
  {
    name: "origin: allowed, refused for something else",
    run: async (target) => [answered(await request(target, { path: query(4, "nothing"), headers: good }), CORS)],
  },
  {
    name: "preflight: allowed",
    run: async (target) => {
      const headers = { ...good, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-token,content-type" };
      const { status, headers: out } = await request(target, { method: "OPTIONS", path: query(4, "polling"), headers });
      return [status, out["access-control-allow-origin"], out["access-control-allow-methods"], out["access-control-allow-headers"]].map(String);
    },
  },
  {
    name: "preflight: foreign",
    run: async (target) => {
      const headers = { Origin: "https://evil.com", "Access-Control-Request-Method": "POST" };
      const { status, headers: out } = await request(target, { method: "OPTIONS", path: query(4, "polling"), headers });
      return [status, out["access-control-allow-origin"]].map(String);
    },
  },
];

export const httpCases = [...handshakes, ...inSession, ...bodies, ...binaryBodies, ...origins];
export { UPGRADE };
