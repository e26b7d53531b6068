// What a client says in Socket.IO, over both transports and both protocols, and what is said in time.
import { text } from "./raw.mjs";
import { later } from "./http-cases.mjs";
import { Polling, Websocket, answered, attachment, decodedPackets, say } from "./sessions.mjs";

const ok = (id) => `2${id}["fleet_unsubscribe",{"fleet":"f"}]`;
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;
const blob = attachment([1, 2, 3]);
const deep = (depth) => "[".repeat(depth) + "]".repeat(depth);

// Socket.IO packets of a connected client, the Engine.IO digit left out.
const PACKETS = [
  ["an event", ['2["x"]']],
  ["an event with an acknowledgement", [ok(1)]],
  ["acknowledgement 0", [ok(0)]],
  ["an acknowledgement of 15 digits", [ok("123456789012345")]],
  ["an acknowledgement of 20 digits", [ok("12345678901234567890")]],
  ["an acknowledgement of 40 digits", [ok("1234567890".repeat(4))]],
  ["an acknowledgement with zeros before", [ok("007")]],
  ["a negative acknowledgement", ['2-1["x"]']],
  ["the same acknowledgement twice", [ok(5), ok(5)]],
  ["an event of several arguments", ['2["x",1,null,{"a":[]}]']],
  ["an event named by a number", ["2[7]"]],
  ["an event of nothing", ["2[]"]],
  ["an event without a payload", ["2"]],
  ["an event without a payload, with an acknowledgement", ["21"]],
  ["an event that is an object", ["2{}"]],
  ["an event that is a string", ['2"x"']],
  ["an event that is null", ["2null"]],
  ["an event that is a number behind a space", ["2 7"]],
  ["an event named by an object", ['2[{"toString":"x"}]']],
  ["an event named by an array", ['2[["x"]]']],
  ["an event named by null", ["2[null]"]],
  ["an event named by true", ["2[true]"]],
  ["an event with an empty name", ['2[""]']],
  ...["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"].map((name) => [
    `the reserved event ${name}`,
    [`2["${name}"]`],
  ]),
  ["an event named error", ['2["error"]']],
  ["an event named ping", ['2["ping"]']],
  ["an event named __proto__", ['2["__proto__",{"__proto__":{"a":1}}]']],
  ["an event named hasOwnProperty", ['2["hasOwnProperty"]']],
  ["a reserved name, escaped", ['2["\\u0063onnect"]']],
  ["JSON cut off", ['2["x"']],
  ["JSON with something behind", ['2["x"]x']],
  ["JSON with spaces", ['2[ "x" , 1 ]']],
  ["JSON with a comma too many", ['2["x",]']],
  ["JSON with NaN", ['2["x",NaN]']],
  ["JSON with Infinity", ['2["x",Infinity]']],
  ["JSON with a number beyond a double", ['2["x",1e999]']],
  ["JSON with a number of 400 digits", [`2["x",${"9".repeat(400)}]`]],
  ["JSON with a lone surrogate", ['2["x","\\ud800"]']],
  ["JSON with a raw control character", ['2["x","\u0001"]']],
  ["JSON with single quotes", ["2['x']"]],
  ["JSON with duplicate keys", ['2["x",{"a":1,"a":2}]']],
  ["JSON 120 deep", [`2["x",${deep(120)}]`]],
  ["JSON 1,000 deep", [`2["x",${deep(1000)}]`]],
  ["JSON 30,000 deep", [`2["x",${deep(30_000)}]`]],
  ["an unknown acknowledgement", ["3999[]"]],
  ["an acknowledgement without an id", ["3[]"]],
  ["an acknowledgement without a payload", ["31"]],
  ["an acknowledgement that is an object", ["31{}"]],
  ["an acknowledgement that is no JSON", ["31[x]"]],
  ["a connect error", ['4{"message":"x"}']],
  ["a connect error that is a string", ['4"x"']],
  ["packet type 7", ["7"]],
  ["packet type 9", ['9["x"]']],
  ["packet type of a letter", ["x"]],
  ["nothing", [""]],
  ["CONNECT twice", ["0"]],
  ["CONNECT twice, with a payload", ["0{}"]],
  ["CONNECT with an array", ["0[]"]],
  ["CONNECT with a string", ['0"x"']],
  ["CONNECT with null", ["0null"]],
  ["CONNECT with broken JSON", ["0{"]],
  ["CONNECT to an unknown namespace", ["0/admin,"]],
  ["CONNECT to an unknown namespace without a comma", ["0/admin"]],
  ["CONNECT to an unknown namespace with a payload", ['0/admin,{"token":"x"}']],
  ["CONNECT to a namespace with brackets", ["0/[a],"]],
  ["CONNECT to a namespace with a star", ["0/*,"]],
  ["CONNECT to a namespace with braces", ["0/{a},"]],
  ["CONNECT to a namespace with a query", ["0/admin?a=b,"]],
  ["CONNECT to the main namespace with a query", ["0/?a=b,"]],
  ["CONNECT to the main namespace by its name", ["0/,"]],
  ["CONNECT to a namespace of 10,000 characters", [`0/${"n".repeat(10_000)},`]],
  ["CONNECT to a namespace of emoji", ["0/😀,"]],
  ["CONNECT to __proto__", ["0/__proto__,"]],
  ["an event to a namespace not joined", ['2/admin,["x"]']],
  ["an event to the main namespace by its name", ['2/,["x"]']],
  ["an acknowledgement to a namespace not joined", ["3/admin,1[]"]],
  ["a disconnect of a namespace not joined", ["1/admin,"]],
  ["a disconnect", ["1"]],
  ["a disconnect with a payload", ["1{}"]],
  ["a disconnect and an event", ["1", '2["x"]']],
  ["a binary event", [`51-["x",${placeholder(0)}]`, blob]],
  ["a binary event with two attachments", [`52-["x",${placeholder(1)},${placeholder(0)}]`, blob, blob]],
  ["a binary event with an acknowledgement", [`51-8["fleet_unsubscribe",${placeholder(0)}]`, blob]],
  ["a binary event with an attachment named twice", [`51-["x",${placeholder(0)},${placeholder(0)}]`, blob]],
  ["a binary event without placeholders", ['51-["x"]', blob]],
  ["a binary event with a placeholder of a string", ['51-["x",{"_placeholder":true,"num":"splice"}]', blob]],
  ["a binary event with a placeholder below 0", [`51-["x",${placeholder(-1)}]`, blob]],
  ["a binary event with a placeholder out of range", [`51-["x",${placeholder(1)}]`, blob]],
  ["a binary event with a placeholder of 1e9", [`51-["x",${placeholder("1e9")}]`, blob]],
  ["a binary event with a placeholder of 0.5", [`51-["x",${placeholder("0.5")}]`, blob]],
  ["a binary event with a placeholder of nothing", ['51-["x",{"_placeholder":true}]', blob]],
  ["a binary event with a placeholder that is false", ['51-["x",{"_placeholder":false,"num":9}]', blob]],
  ["a binary event whose placeholder is its name", [`51-[${placeholder(0)}]`, blob]],
  ["a binary event of no attachments", ['50-["x"]']],
  ["a binary event without a count", ['5-["x"]']],
  ["a binary event without a dash", ['51["x"]']],
  ["a binary event with a negative count", ['5-1-["x"]']],
  ["a binary event with a count of 1.5", ['51.5-["x"]', blob]],
  ["a binary event with a count in hex", ['50x1-["x"]', blob]],
  ["a binary event with 10 attachments", ['510-["x"]', ...Array(10).fill(blob)]],
  ["a binary event with 11 attachments", ['511-["x"]', ...Array(11).fill(blob)]],
  ["a binary event with 59,999,999 attachments", ['559999999-["x"]', blob]],
  ["a binary event with more attachments than a number holds", [`5${"9".repeat(30)}-["x"]`, blob]],
  ["a text among attachments", [`52-["x",${placeholder(0)}]`, blob, '2["x"]']],
  ["attachments that never come", [`52-["x",${placeholder(0)}]`, blob]],
  ["an attachment too many", [`51-["x",${placeholder(0)}]`, blob, blob]],
  ["an attachment of nothing", [blob]],
  ["a reserved binary event", ['51-["disconnect"]', blob]],
  ["a binary event to a namespace not joined", ['51-/admin,["x"]', blob]],
  ["a binary acknowledgement nobody waits for", [`61-9[${placeholder(0)}]`, blob]],
  ["a binary acknowledgement that is an object", ["61-9{}", blob]],
];

const packets = PACKETS.flatMap(([name, said]) =>
  [4, 3].flatMap((eio) =>
    ["websocket", "polling"].map((transport) => ({
      name: `packet (${transport}, ${eio}): ${name}`,
      run: (target) => say(target, eio, transport, said),
    })),
  ),
);

// CONNECT of protocol 4, before anything else: [name, packets, the last packet].
const CONNECTS = [
  ["plain", ["40"], "40"],
  ["with an object", ['40{"token":"x"}'], "40"],
  ["with a deep object", [`40{"a":${deep(100)}}`], "40"],
  ["with an array", ["40[]"], "40"],
  ["with a string", ['40"x"'], "40"],
  ["with broken JSON", ["40{"], "40"],
  ["to the main namespace by its name", ["40/,"], "40"],
  ["to an unknown namespace first", ["40/admin,", "40"], "40"],
  ["twice", ["40", "40"], "silence"],
  ["after a disconnect", ["40", "41", "40"], "silence"],
  ["an event right behind", ["40", '42["x"]'], "silence"],
];

const connects = CONNECTS.map(([name, said, last]) => ({
  name: `connect: ${name}`,
  run: async (target) => {
    const session = await Websocket.open(target, 4);
    await session.until((packet) => packet.startsWith("0"));
    session.send(...said.map((packet) => text(packet)));
    const patience = last === "silence" ? { patienceMs: 1500 } : {};
    const seen = await session.until((packet) => packet.startsWith(last), patience);
    session.connection.close();
    return seen;
  },
}));

const again = {
  name: "connect: again, a moment after a disconnect",
  run: async (target) => {
    const session = await Websocket.connected(target, 4);
    session.send(text("41"));
    await later(200);
    session.send(text("40"));
    return [...(await session.until((packet) => packet.startsWith("40"))), ...(await session.fate())];
  },
};

const connectTimeout = [4].map((eio) => ({
  name: `connect: never (${eio})`,
  run: async (target) => {
    const session = await Websocket.open(target, eio);
    await session.until((packet) => packet.startsWith("0"));
    const began = Date.now();
    const answers = setInterval(() => session.send(text("3")), 5000);
    const seen = await session.until(() => false, { patienceMs: 55_000 });
    clearInterval(answers);
    return [...seen, `after ${Math.round((Date.now() - began) / 10_000) * 10} s`];
  },
  isLong: true,
}));

// With a heartbeat of 1 s, and 1 s for its answer: [name, what is sent at which ms, for how long].
const BEATS = [
  ["the first ping comes after an interval", 4, [], 1600],
  ["an answered ping", 4, [[1200, "3"]], 2600],
  ["silence", 4, [], 4000],
  ["a pong before any ping", 4, [[100, "3"]], 1600],
  ["a message does not stand in for a pong for ever", 4, [[1200, '42["x"]']], 5000],
  ["3: silence", 3, [], 4000],
  ["3: pings of the client", 3, [[500, "2"], [1500, "2"]], 2600],
];

const beats = BEATS.map(([name, eio, sent, durationMs]) => ({
  name: `heartbeat: ${name}`,
  isBeating: true,
  run: async (target) => {
    const session = await Websocket.connected(target, eio);
    for (const [atMs, packet] of sent) setTimeout(() => session.send(text(packet)), atMs);
    const until = Date.now() + durationMs;
    const seen = [];
    while (Date.now() < until) {
      const more = await session.until(() => true, { pings: true, patienceMs: Math.max(1, until - Date.now()) });
      seen.push(...more);
      if (["silence", "end"].includes(more.at(-1)) || more.at(-1).startsWith("close")) break;
    }
    session.connection.close();
    return seen;
  },
}));

const pollingBeats = [4, 3].map((eio) => ({
  name: `heartbeat: polling, silence (${eio})`,
  isBeating: true,
  run: async (target) => {
    const session = await Polling.connected(target, eio);
    const seen = [];
    for (let n = 0; n < 4; n++) {
      const response = await session.get();
      seen.push(response?.status === 200 ? decodedPackets(eio, response.body).join(",") : answered(response));
      if (response?.status !== 200) break;
    }
    return seen;
  },
}));

export const packetCases = [...packets, ...connects, again, ...connectTimeout, ...beats, ...pollingBeats];
export { later };
