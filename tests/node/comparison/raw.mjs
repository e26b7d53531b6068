// A client that is no client: bytes to and from one TCP connection, and just enough of HTTP and RFC 6455 to say
// what came back. It sends whatever it is told to, which a stock client would not.
import net from "node:net";
import { randomBytes } from "node:crypto";

// How long an answer may take before it counts as none.
const PATIENCE_MS = 8000;

export class Connection {
  #socket;
  #read = Buffer.alloc(0);
  #ended = false;
  #wake = () => {};

  static open(target) {
    const connection = new Connection();
    connection.#socket = net.connect({ host: target.host, port: target.port, noDelay: true });
    connection.#socket.on("data", (bytes) => {
      connection.#read = Buffer.concat([connection.#read, bytes]);
      connection.#wake();
    });
    for (const end of ["end", "close", "error"]) {
      connection.#socket.on(end, () => {
        connection.#ended = true;
        connection.#wake();
      });
    }
    return connection;
  }

  send(bytes) {
    // Whoever was cut off in the middle of talking finds that out by reading.
    if (!this.#socket.destroyed && this.#socket.writable) this.#socket.write(bytes);
    return this;
  }

  // `take` gets what was read and returns [result, bytes used] once there is one.
  async #take(take, patienceMs = PATIENCE_MS) {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const found = take(this.#read);
      if (found) {
        this.#read = this.#read.subarray(found[1]);
        return found[0];
      }
      if (this.#ended) return undefined;
      const left = deadline - Date.now();
      if (left <= 0) return null;
      await new Promise((woken) => {
        const timer = setTimeout(woken, left);
        this.#wake = () => {
          clearTimeout(timer);
          woken();
        };
      });
    }
  }

  // { status, headers, body }; undefined: the connection ended without an answer; null: silence.
  async response(patienceMs) {
    const head = await this.#take((read) => {
      const end = read.indexOf("\r\n\r\n");
      return end >= 0 && [read.subarray(0, end).toString("latin1"), end + 4];
    }, patienceMs);
    if (!head) return head;
    const [first, ...lines] = head.split("\r\n");
    const headers = {};
    for (const line of lines) {
      const [name, ...value] = line.split(":");
      headers[name.toLowerCase()] = value.join(":").trim();
    }
    const status = Number(first.split(" ")[1]);
    if (status === 101 || status === 204) return { status, headers, body: Buffer.alloc(0) };
    return { status, headers, body: await this.#body(headers) };
  }

  async #body(headers) {
    if (headers["content-length"] !== undefined) {
      const length = Number(headers["content-length"]);
      return (await this.#take((read) => read.length >= length && [read.subarray(0, length), length])) ?? "cut";
    }
    if (headers["transfer-encoding"] !== "chunked") {
      await this.#take(() => undefined);
      return this.#take((read) => [read, read.length]);
    }
    const chunks = [];
    for (;;) {
      const chunk = await this.#take((read) => {
        const end = read.indexOf("\r\n");
        const length = end < 0 ? NaN : parseInt(read.subarray(0, end).toString(), 16);
        return read.length >= end + 4 + length && [read.subarray(end + 2, end + 2 + length), end + 4 + length];
      });
      if (!chunk) return "cut";
      if (chunk.length === 0) return Buffer.concat(chunks);
      chunks.push(chunk);
    }
  }

  // { opcode, payload } of the next websocket frame; undefined: the end; null: silence.
  frame(patienceMs) {
    return this.#take((read) => {
      if (read.length < 2) return undefined;
      let length = read[1] & 0x7f;
      let at = 2;
      if (length === 126) [length, at] = read.length < 4 ? [Infinity, 4] : [read.readUInt16BE(2), 4];
      if (length === 127) [length, at] = read.length < 10 ? [Infinity, 10] : [Number(read.readBigUInt64BE(2)), 10];
      if (read.length < at + length) return undefined;
      return [{ opcode: read[0] & 0x0f, first: read[0], payload: read.subarray(at, at + length) }, at + length];
    }, patienceMs);
  }

  close() {
    this.#socket.destroy();
  }

  reset() {
    this.#socket.resetAndDestroy();
  }
}

// One client frame. `first`: FIN, reserved bits and opcode.
export function clientFrame(first, payload, { masked = true } = {}) {
  const data = Buffer.from(payload);
  const mask = masked ? randomBytes(4) : Buffer.alloc(0);
  let head;
  if (data.length < 126) {
    head = Buffer.from([first, data.length]);
  } else if (data.length < 65536) {
    head = Buffer.from([first, 126, 0, 0]);
    head.writeUInt16BE(data.length, 2);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(data.length), 2);
  }
  if (masked) {
    head[1] |= 0x80;
    for (let at = 0; at < data.length; at++) data[at] ^= mask[at % 4];
  }
  return Buffer.concat([head, mask, data]);
}

export const text = (payload) => clientFrame(0x81, payload);
export const binary = (payload) => clientFrame(0x82, payload);

export function requestHead(target, { method = "GET", path, headers = {}, host = true }) {
  const lines = [`${method} ${path} HTTP/1.1`];
  if (host) lines.push(`Host: ${target.host}:${target.port}`);
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) if (one !== undefined) lines.push(`${name}: ${one}`);
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

// One request on a connection of its own.
export async function request(target, { body, chunked, headers = {}, ...rest }) {
  const connection = Connection.open(target);
  const all = { Connection: "close", ...headers };
  const data = body === undefined ? Buffer.alloc(0) : Buffer.from(body);
  if (chunked) {
    all["Transfer-Encoding"] = "chunked";
  } else if (body !== undefined && all["Content-Length"] === undefined) {
    all["Content-Length"] = data.length;
  }
  connection.send(requestHead(target, { ...rest, headers: all }));
  if (chunked) {
    const chunk = (part) => Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]);
    for (let at = 0; at < data.length; at += 8192) connection.send(chunk(data.subarray(at, at + 8192)));
    connection.send("0\r\n\r\n");
  } else {
    connection.send(data);
  }
  const response = await connection.response();
  connection.close();
  return response;
}

export const UPGRADE = {
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version": "13",
};
