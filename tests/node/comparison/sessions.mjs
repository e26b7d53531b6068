// Sessions over the raw client, and what becomes of them: the answers in a form that two servers can be compared
// by, with everything random taken out.
import { Connection, UPGRADE, binary, request, requestHead, text } from "./raw.mjs";

const PATH = "/socket.io/";
// What both gateways acknowledge: leaving a fleet that nobody watches.
const PROBE = '2977["fleet_unsubscribe",{"fleet":"f"}]';
const PROBE_ANSWER = "43977[";

const query = (eio, transport, sid) =>
  `${PATH}?EIO=${eio}&transport=${transport}${sid === undefined ? "" : `&sid=${sid}`}`;

// A packet as it is compared.
export function shown(packet) {
  return packet
    .replace(/(\\*"sid\\*":\\*")[\w-]+/, "$1…")
    .replace(/^(43\d*\[\{"ok":(?:true|false)).*$/s, "$1…");
}

export function answered(response, headers = ["content-type"]) {
  if (!response) return response === null ? "silence" : "cut off";
  const named = headers.filter((name) => response.headers[name] !== undefined);
  const body = shown(response.body.toString());
  return [response.status, ...named.map((name) => `${name}: ${response.headers[name]}`), body].join(" | ");
}

const closed = (frame) => (frame.payload.length < 2 ? "close" : `close ${frame.payload.readUInt16BE(0)}`);

function frameShown(frame) {
  if (frame.opcode === 8) return closed(frame);
  if (frame.opcode === 1) return shown(frame.payload.toString());
  const name = { 2: "binary", 9: "ws ping", 10: "ws pong" }[frame.opcode] ?? `opcode ${frame.opcode}`;
  return `${name} ${frame.payload.toString("hex")}`;
}

// A session over a websocket.
export class Websocket {
  static async open(target, eio, { path, headers = {}, behind = "" } = {}) {
    const session = new Websocket();
    session.target = target;
    session.connection = Connection.open(target);
    const head = requestHead(target, { path: path ?? query(eio, "websocket"), headers: { ...UPGRADE, ...headers } });
    session.connection.send(Buffer.concat([head, Buffer.from(behind)]));
    session.response = await session.connection.response();
    return session;
  }

  // Open, and in the main namespace.
  static async connected(target, eio) {
    const session = await Websocket.open(target, eio);
    if (eio === 4) session.send(text("40"));
    await session.until((packet) => packet.startsWith("40"));
    return session;
  }

  send(...frames) {
    this.connection.send(Buffer.concat(frames));
    return this;
  }

  // What comes, up to the packet that `isLast`, the end, or silence.
  async until(isLast, { pings = false, patienceMs } = {}) {
    const seen = [];
    for (;;) {
      const frame = await this.connection.frame(patienceMs);
      if (frame === undefined) return [...seen, "end"];
      if (frame === null) return [...seen, "silence"];
      const packet = frameShown(frame);
      if (packet === "2" && !pings) continue;
      seen.push(packet);
      if (frame.opcode === 8) return seen;
      if (isLast(packet)) return seen;
    }
  }

  // What comes until the session has shown whether it lives.
  async fate() {
    this.send(text(`4${PROBE}`));
    const seen = await this.until((packet) => packet.startsWith(PROBE_ANSWER));
    this.connection.close();
    return seen.map((packet) => (packet.startsWith(PROBE_ANSWER) ? "lives" : packet));
  }
}

const encoders = {
  3: (packets) => packets.map((packet) => `${packet.length}:${packet}`).join(""),
  4: (packets) => packets.join("\x1e"),
};

export function decodedPackets(eio, body) {
  if (eio === 4) return body.toString().split("\x1e");
  if (body[0] > 1) {
    const packets = [];
    let rest = body.toString();
    while (rest !== "") {
      const colon = rest.indexOf(":");
      const end = colon + 1 + Number(rest.slice(0, colon));
      packets.push(rest.slice(colon + 1, end));
      rest = rest.slice(end);
    }
    return packets;
  }
  const packets = [];
  while (body.length > 0) {
    const mark = body.indexOf(0xff);
    const length = Number([...body.subarray(1, mark)].join(""));
    const data = body.subarray(mark + 1, mark + 1 + length);
    packets.push(body[0] === 0 ? data.toString() : `binary ${data.toString("hex")}`);
    body = body.subarray(mark + 1 + length);
  }
  return packets;
}

// A session over HTTP long-polling.
export class Polling {
  static async open(target, eio, { extra = "" } = {}) {
    const session = new Polling();
    Object.assign(session, { target, eio, extra });
    session.response = await request(target, { path: query(eio, "polling") + extra });
    const [open] = decodedPackets(eio, session.response.body);
    session.sid = JSON.parse(open.slice(1)).sid;
    session.early = decodedPackets(eio, session.response.body).slice(1);
    return session;
  }

  static async connected(target, eio, options) {
    const session = await Polling.open(target, eio, options);
    if (eio === 4) await session.post(encoders[4](["40"]));
    while (!session.early.some((packet) => packet.startsWith("40"))) {
      const response = await session.get();
      session.early.push(...decodedPackets(eio, response.body));
    }
    return session;
  }

  get path() {
    return query(this.eio, "polling", this.sid) + this.extra;
  }

  websocketPath(eio = this.eio) {
    return query(eio, "websocket", this.sid);
  }

  get(options = {}) {
    return request(this.target, { path: this.path, ...options });
  }

  post(body, options = {}) {
    const headers = { "Content-Type": "text/plain;charset=UTF-8", ...options.headers };
    return request(this.target, { method: "POST", path: this.path, body, ...options, headers });
  }

  packets(...packets) {
    return this.post(encoders[this.eio](packets));
  }

  // What comes until the session has shown whether it lives. How it is told that it ended (`1`, `6`, or only by
  // the 400 of its next request) is the matter of cases of its own.
  async fate() {
    const probe = await this.packets(`4${PROBE}`);
    if (!probe || probe.status !== 200) return [`gone: ${answered(probe)}`];
    const seen = [];
    for (;;) {
      const response = await this.get();
      if (!response) return [...seen, `no answer: ${answered(response)}`];
      if (response.status !== 200) return [...seen, `gone: ${answered(response)}`];
      for (const packet of decodedPackets(this.eio, response.body)) {
        if (packet.startsWith(PROBE_ANSWER)) return [...seen, "lives"];
        if (!["1", "2", "6"].includes(packet)) seen.push(shown(packet));
      }
    }
  }
}

// An event with its attachments, as the transports carry them.
export const attachment = (bytes) => ({ bytes: Buffer.from(bytes) });

// Sends Socket.IO packets over either transport and says what came of it.
export async function say(target, eio, transport, packets) {
  if (transport === "websocket") {
    const session = await Websocket.connected(target, eio);
    const prefix = eio === 3 ? [4] : [];
    session.send(
      ...packets.map((packet) =>
        packet.bytes ? binary(Buffer.concat([Buffer.from(prefix), packet.bytes])) : text(`4${packet}`),
      ),
    );
    return session.fate();
  }
  const session = await Polling.connected(target, eio);
  const base64 = (packet) => `${eio === 3 ? "b4" : "b"}${packet.bytes.toString("base64")}`;
  const posted = await session.packets(...packets.map((packet) => (packet.bytes ? base64(packet) : `4${packet}`)));
  return [answered(posted), ...(await session.fate())];
}

export { query, encoders };
