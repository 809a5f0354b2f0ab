/** The server's end of a connection after RFC 6455, without extensions: what `/v1/realtime` needs and no more. */

import { createHash } from 'node:crypto';

import { LIMIT } from './body.js';

const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const MOST_PARTS = 1024;
const LONGEST_CONTROL = 125; // RFC 6455 §5.5

/** Why a connection ends: a status of RFC 6455 §7.4.1. */
class Closing extends Error {
  /** @param {number} code */
  constructor(code) {
    super(`closed with ${code}`);
    this.code = code;
  }
}

/**
 * @param {import('node:http').IncomingMessage} req
 * @returns {string | null} what the key of a good handshake (RFC 6455 §4.2.1) is answered with
 */
export function accepted(req) {
  const key = req.headers['sec-websocket-key'] ?? '';
  const good =
    req.method === 'GET' &&
    req.headers.upgrade?.toLowerCase() === 'websocket' &&
    req.headers['sec-websocket-version'] === '13' &&
    /^[A-Za-z0-9+/]{22}==$/.test(key);
  if (!good) return null;
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

/**
 * Reads texts from a connection and answers pings and the close.
 *
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer} head what has been read behind the handshake
 * @returns {AsyncGenerator<string>} ends when the connection does
 */
export async function* texts(socket, head) {
  const frames = new Frames();
  try {
    for await (const part of readFrom(socket, head)) {
      for (const { code, payload } of frames.push(part)) {
        if (code === CLOSE) throw new Closing(1000);
        if (code === PING) socket.write(frame(PONG, payload));
        if (code === TEXT) yield decode(payload);
      }
    }
  } catch (error) {
    if (!(error instanceof Closing)) return; // The connection broke.
    const status = Buffer.alloc(2);
    status.writeUInt16BE(error.code);
    socket.end(frame(CLOSE, status));
  }
}

/**
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer} head
 * @returns {AsyncGenerator<Buffer>}
 */
async function* readFrom(socket, head) {
  if (head.length > 0) yield head;
  // What ends a connection is said before it is closed.
  yield* /** @type {any} */ (socket).iterator({ destroyOnReturn: false });
}

/** @param {Buffer} payload */
function decode(payload) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload);
  } catch {
    throw new Closing(1007);
  }
}

/** Puts together what a client sends. */
class Frames {
  #rest = Buffer.alloc(0);
  /** @type {Buffer[]} */
  #parts = [];
  #size = 0;
  #begun = false;

  /**
   * @param {Buffer} bytes
   * @returns {Generator<{code: number, payload: Buffer}>} whole texts and control frames
   */
  *push(bytes) {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let one = this.#take(); one !== null; one = this.#take()) {
      if (one.code >= CLOSE) {
        yield one;
        continue;
      }
      if ((one.code === TEXT) === this.#begun && one.code <= TEXT) throw new Closing(1002);
      if (one.code > TEXT) throw new Closing(1003);
      this.#begun = !one.last;
      this.#parts.push(one.payload);
      this.#size += one.payload.length;
      // Fragments may be a byte long, or empty.
      if (this.#parts.length === MOST_PARTS) this.#parts = [Buffer.concat(this.#parts)];
      if (!one.last) continue;
      yield { code: TEXT, payload: Buffer.concat(this.#parts) };
      this.#parts = [];
      this.#size = 0;
    }
  }

  /** @returns {{code: number, last: boolean, payload: Buffer} | null} the next frame, if all of it is there */
  #take() {
    const rest = this.#rest;
    if (rest.length < 2) return null;
    const [code, last, short] = [rest[0] & 0x0f, rest[0] >= 0x80, rest[1] & 0x7f];
    // A reserved bit without an extension; a client that does not mask (§5.1).
    if ((rest[0] & 0x70) !== 0 || rest[1] < 0x80) throw new Closing(1002);
    if (code >= CLOSE && (!last || short > LONGEST_CONTROL)) throw new Closing(1002);
    const long = { 126: 2, 127: 8 }[short] ?? 0;
    if (rest.length < 2 + long) return null;
    let size = short;
    if (long === 2) size = rest.readUInt16BE(2);
    if (long === 8) size = Number(rest.readBigUInt64BE(2));
    if (code < CLOSE && this.#size + size > LIMIT) throw new Closing(1009);
    const at = 2 + long + 4;
    if (rest.length < at + size) return null;
    const payload = Buffer.from(rest.subarray(at, at + size));
    for (let i = 0; i < size; i++) payload[i] ^= rest[at - 4 + (i % 4)];
    this.#rest = rest.subarray(at + size);
    return { code, last, payload };
  }
}

/**
 * @param {string} text
 * @returns {Buffer}
 */
export function textFrame(text) {
  return frame(TEXT, Buffer.from(text));
}

/**
 * A server does not mask.
 *
 * @param {number} code
 * @param {Buffer} payload
 */
function frame(code, payload) {
  const size = payload.length;
  /** @type {Buffer} */
  let head;
  if (size <= LONGEST_CONTROL) {
    head = Buffer.from([0x80 | code, size]);
  } else if (size < 1 << 16) {
    head = Buffer.from([0x80 | code, 126, 0, 0]);
    head.writeUInt16BE(size, 2);
  } else {
    head = Buffer.alloc(10);
    head.set([0x80 | code, 127]);
    head.writeBigUInt64BE(BigInt(size), 2);
  }
  return Buffer.concat([head, payload]);
}
