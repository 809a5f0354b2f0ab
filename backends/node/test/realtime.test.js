import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { describe, it } from 'node:test';

import { getJson, post, serve, start, waitFor } from './harness.js';

const ITEM = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'a b' }] };
const HANDSHAKE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/**
 * @param {number} first
 * @param {string | Buffer} payload
 */
function masked(first, payload) {
  const bytes = Buffer.from(payload);
  const mask = Buffer.from([1, 2, 3, 4]);
  const head =
    bytes.length < 126
      ? Buffer.from([first, 0x80 | bytes.length])
      : Buffer.from([first, 0xfe, bytes.length >> 8, bytes.length & 0xff]);
  bytes.forEach((byte, i) => (bytes[i] = byte ^ mask[i % 4]));
  return Buffer.concat([head, mask, bytes]);
}

/** A client that speaks in bytes. */
class Caller {
  #rest;

  /**
   * @param {import('node:net').Socket} socket
   * @param {Buffer} head what came with the handshake
   */
  constructor(socket, head) {
    this.socket = socket;
    this.#rest = head;
    this.ended = false;
    socket.on('data', (part) => (this.#rest = Buffer.concat([this.#rest, part])));
    socket.on('close', () => (this.ended = true));
    socket.on('error', () => {});
  }

  /** @returns {Promise<{first: number, payload: Buffer}>} */
  async frame() {
    const read = (/** @type {number} */ size) =>
      waitFor(() => {
        if (this.#rest.length < size) return false;
        const bytes = this.#rest.subarray(0, size);
        this.#rest = this.#rest.subarray(size);
        return bytes;
      });
    const [first, short] = /** @type {Buffer} */ (await read(2));
    const size = short === 126 ? /** @type {Buffer} */ (await read(2)).readUInt16BE() : short;
    return { first, payload: size === 0 ? Buffer.alloc(0) : /** @type {Buffer} */ (await read(size)) };
  }

  /** @param {string} last */
  async hear(last) {
    /** @type {any[]} */
    const events = [];
    while (events.at(-1)?.type !== last) {
      const { first, payload } = await this.frame();
      assert.equal(first, 0x81, payload.toString());
      events.push(JSON.parse(payload.toString()));
    }
    return events;
  }

  /** @param {object | string} event */
  say(event) {
    this.socket.write(masked(0x81, typeof event === 'string' ? event : JSON.stringify(event)));
  }
}

/**
 * @param {string} url
 * @param {Record<string, string>} [more]
 * @returns {Promise<{status?: number, headers: import('node:http').IncomingHttpHeaders, body?: any, caller?: Caller}>}
 */
async function call(url, more = {}) {
  const req = request(url, { headers: { ...HANDSHAKE, ...more } });
  req.end();
  const [res, socket, head] = await Promise.race([once(req, 'upgrade'), once(req, 'response')]);
  if (socket) return { status: 101, headers: res.headers, caller: new Caller(socket, head) };
  let body = '';
  for await (const part of res) body += part;
  return { status: res.statusCode, headers: res.headers, body: JSON.parse(body) };
}

/** @param {import('node:test').TestContext} t */
async function session(t) {
  const service = await serve({ MODELS: 'one,talker' });
  t.after(service.close);
  const { caller, headers } = await call(`${service.url}/v1/realtime?model=talker`, {
    'Sec-WebSocket-Protocol': 'realtime, openai-insecure-api-key.x',
  });
  assert.ok(caller);
  t.after(() => caller.socket.destroy());
  // The example of RFC 6455 §1.3.
  assert.equal(headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.equal(headers['sec-websocket-protocol'], 'realtime');
  const [created] = await caller.hear('session.created');
  assert.equal(created.session.model, 'talker');
  return { caller, url: service.url };
}

describe('realtime', () => {
  it('answers', async (t) => {
    const { caller, url } = await session(t);
    caller.say({ type: 'conversation.item.create', item: ITEM });
    await caller.hear('conversation.item.done');
    caller.say({ type: 'response.create' });
    const events = await caller.hear('response.done');
    assert.deepEqual(
      events.map((event) => event.type.replace('response.', '')),
      ['created', 'output_item.added', 'content_part.added', ...Array(3).fill('output_text.delta')].concat(
        ['output_text.done', 'content_part.done', 'output_item.done', 'done'],
      ),
    );
    const { status, output, usage } = events.at(-1).response;
    assert.deepEqual([status, output[0].content[0].text], ['completed', 'echo: a b']);
    assert.equal(usage.total_tokens, 5);
    const response = { max_output_tokens: 1, input: [{ ...ITEM, content: 'c' }] };
    caller.say({ type: 'response.create', response });
    const short = (await caller.hear('response.done')).at(-1).response;
    assert.deepEqual([short.status, short.usage.input_tokens], ['incomplete', 6]);
    caller.say({ type: 'response.create', response: { max_output_tokens: 'inf' } });
    const last = (await caller.hear('response.done')).at(-1).response;
    assert.equal(last.output[0].content[0].text, 'echo: a b');
    caller.socket.write(masked(0x88, Buffer.from([3, 232])));
    const { first, payload } = await caller.frame();
    assert.deepEqual([first, payload.readUInt16BE()], [0x88, 1000]);
    await waitFor(() => caller.ended);
    const { requests, dialects } = await getJson(`${url}/stats`);
    assert.deepEqual({ requests, dialects }, { requests: 1, dialects: { realtime: 3 } });
  });

  for (const [text, param] of /** @type {[string, string | null][]} */ ([
    ['{', null],
    ['[]', null],
    ['null', null],
    ['{"type":"nothing"}', 'type'],
    ['{"type":"session.update","session":{"max_output_tokens":0}}', 'max_output_tokens'],
    ['{"type":"response.create","response":{"input":7}}', 'input'],
    ['{"type":"conversation.item.create","item":{"type":"message"}}', 'item.role'],
  ])) {
    it(`goes on after ${text}`, async (t) => {
      const { caller } = await session(t);
      caller.say(text);
      const [fault] = await caller.hear('error');
      assert.equal(fault.error.param, param);
      caller.socket.write(masked(0x89, 'hi'));
      assert.deepEqual(await caller.frame(), { first: 0x8a, payload: Buffer.from('hi') });
      caller.say({ type: 'response.create' });
      await caller.hear('response.done');
    });
  }

  for (const [name, bytes, code] of /** @type {[string, Buffer, number][]} */ ([
    ['a frame without a mask', Buffer.from([0x81, 1, 120]), 1002],
    ['a reserved bit', masked(0xc1, 'x'), 1002],
    ['a ping in fragments', masked(0x09, ''), 1002],
    ['a continuation of nothing', masked(0x80, 'x'), 1002],
    ['a text in a text', Buffer.concat([masked(0x01, 'x'), masked(0x81, 'y')]), 1002],
    ['bytes', masked(0x82, 'x'), 1003],
    ['bad UTF-8', masked(0x81, Buffer.from([255])), 1007],
    ['too much', Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1]), 1009],
  ])) {
    it(`closes after ${name}`, async (t) => {
      const { caller } = await session(t);
      caller.socket.write(bytes);
      const { first, payload } = await caller.frame();
      assert.deepEqual([first, payload.readUInt16BE()], [0x88, code]);
      await waitFor(() => caller.ended);
    });
  }

  it('puts fragments together', async (t) => {
    const { caller } = await session(t);
    const text = JSON.stringify({ type: 'conversation.item.create', item: ITEM, pad: 'x'.repeat(300) });
    const frames = [masked(0x01, text.slice(0, 9)), masked(0x00, text.slice(9, 280)), masked(0x80, text.slice(280))];
    for (const byte of Buffer.concat(frames)) caller.socket.write(Buffer.from([byte]));
    await caller.hear('conversation.item.done');
  });

  it('refuses', async (t) => {
    const service = await serve({ MODELS: 'one' });
    t.after(service.close);
    const unknown = await call(`${service.url}/v1/realtime?model=nope`);
    assert.deepEqual([unknown.status, unknown.body.error.code], [404, 'model_not_found']);
    assert.equal((await call(`${service.url}/healthz`)).status, 404);
    const short = { 'Sec-WebSocket-Key': 'short' };
    assert.equal((await call(`${service.url}/v1/realtime`, short)).status, 400);
    assert.equal((await fetch(`${service.url}/v1/realtime`)).status, 404);
  });

  it('notices who leaves, and ends with the process', async (t) => {
    const process = await start(t, { INFER_LATENCY_MS: '60000', SHUTDOWN_GRACE_SECONDS: '1' });
    const { caller } = await call(`${process.url}/v1/realtime`);
    const { caller: other } = await call(`${process.url}/v1/realtime`);
    assert.ok(caller && other);
    caller.say({ type: 'response.create' });
    await waitFor(async () => (await process.stats()).dialects.realtime === 1);
    caller.socket.destroy();
    await waitFor(async () => (await process.stats()).cancelled === 1);
    await waitFor(() => process.lines().some((line) => line.status === 101));
    process.child.kill('SIGTERM');
    assert.equal(await process.exited, 0);
    await waitFor(() => other.ended);
  });
});

describe('speech', () => {
  it('depends on the text alone', async (t) => {
    const service = await serve();
    t.after(service.close);
    /** @type {(more?: object) => Promise<globalThis.Response>} */
    const ask = (more) =>
      post(`${service.url}/v1/audio/speech`, { model: 'm', input: 'a b', voice: 'alloy', ...more });
    const whole = await ask();
    assert.equal(whole.headers.get('content-type'), 'audio/mpeg');
    const sound = Buffer.from(await whole.arrayBuffer());
    assert.equal(sound.length, 3 * 960);
    const wav = Buffer.from(await (await ask({ response_format: 'wav' })).arrayBuffer());
    assert.equal(wav.toString('latin1', 0, 4), 'RIFF');
    assert.equal(wav.readUInt32LE(40), sound.length);
    assert.deepEqual(wav.subarray(44), sound);
    const lines = (await (await ask({ stream_format: 'sse' })).text()).split('\n\n').slice(0, -1);
    const events = lines.map((line) => JSON.parse(line.slice(6)));
    const parts = events.slice(0, -1).map((event) => Buffer.from(event.audio, 'base64'));
    assert.deepEqual(Buffer.concat(parts), sound);
    assert.equal(events.at(-1).usage.total_tokens, 5);
    for (const [more, param] of /** @type {[object, string][]} */ ([
      [{ input: '' }, 'input'],
      [{ input: 'é'.repeat(4097) }, 'input'],
      [{ voice: null }, 'voice'],
      [{ response_format: 'mid' }, 'response_format'],
      [{ stream_format: 'x' }, 'stream_format'],
    ])) {
      const answer = await ask(more);
      assert.equal(answer.status, 400);
      assert.equal((await answer.json()).error.param, param);
    }
  });
});
