/** A real process on a real socket: streams, clients that leave, the log and the end. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { describe, it } from 'node:test';

import { getJson, post, start, waitFor } from './harness.js';

const LONG = Array.from({ length: 100 }, (_, i) => i).join(' ');

/** @param {string} prompt */
function streamOf(prompt) {
  return { model: 'm', messages: [{ role: 'user', content: prompt }], stream: true };
}

/**
 * @param {number} port
 * @param {string} head
 * @param {string} [body]
 */
function raw(port, head, body = '') {
  const socket = connect(port, '127.0.0.1');
  const length = body ? `content-length: ${body.length}\r\n` : '';
  socket.write(Buffer.from(`${head}\r\nhost: test\r\n${length}\r\n${body}`, 'latin1'));
  return socket;
}

describe('a stream', () => {
  it('arrives as it is made', async (t) => {
    const { url } = await start(t, { INFER_LATENCY_MS: '0', TOKEN_LATENCY_MS: '100' });
    const answer = await post(`${url}/v1/chat/completions`, streamOf('a b c d'));
    const arrived = [];
    for await (const part of answer.body) {
      if (Buffer.from(part).includes('"content":"')) arrived.push(performance.now());
    }
    assert.ok(arrived.at(-1) - arrived[0] > 300);
  });

  it('ends when its client leaves', async (t) => {
    const { port, stats, lines } = await start(t, { TOKEN_LATENCY_MS: '100' });
    const head = 'POST /v1/chat/completions HTTP/1.1\r\nx-request-id: s1';
    const socket = raw(port, head, JSON.stringify(streamOf(LONG)));
    const [first] = await once(socket, 'data');
    assert.match(String(first), /^HTTP\/1\.1 200/);
    socket.destroy();
    await waitFor(async () => (await stats()).cancelled === 1, 3000);
    assert.deepEqual((await stats()).executed, { s1: 1 });
    const line = await waitFor(() => lines().find((one) => one.request_id === 's1'));
    assert.deepEqual([line.status, line.cut], [200, true]);
    assert.ok(line.ms < 5000); // The whole stream would take ten seconds.
  });
});

describe('an answer', () => {
  it('takes its time', async (t) => {
    const { url } = await start(t, { INFER_LATENCY_MS: '30-50' });
    const { latency_ms: latency } = await getJson(`${url}/infer?prompt=a`);
    assert.ok(latency >= 29 && latency < 1000);
  });

  it('is given up when its client leaves', async (t) => {
    const { port, stats, lines } = await start(t, { INFER_LATENCY_MS: '60000' });
    const socket = raw(port, 'GET /infer?prompt=secret HTTP/1.1\r\nx-request-id: w1');
    await waitFor(async () => (await stats()).executed.w1 === 1);
    socket.destroy();
    await waitFor(async () => (await stats()).cancelled === 1, 3000);
    const line = await waitFor(() => lines().find((one) => one.request_id === 'w1'));
    assert.equal(line.status, 499);
  });

  it('to a body over the limit leaves the connection usable', async (t) => {
    const { port } = await start(t, { INFER_LATENCY_MS: '0' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const ask = async (/** @type {string} */ method, /** @type {number} */ parts) => {
      const req = request({ port, host: '127.0.0.1', path: '/infer?prompt=a', method, agent });
      for (let i = 0; i < parts; i++) req.write(Buffer.alloc(65536));
      req.end();
      const [res] = await once(req, 'response');
      // Not req.reusedSocket: the agent leaves it false for a request that had to queue.
      const { localPort } = req.socket;
      res.resume();
      await once(res, 'end');
      return { status: res.statusCode, localPort };
    };
    const refused = await ask('POST', 64);
    assert.equal(refused.status, 413);
    assert.deepEqual(await ask('GET', 0), { status: 200, localPort: refused.localPort });
  });
});

describe('the log', () => {
  it('cannot be forged', async (t) => {
    const { port, raw: log, lines } = await start(t);
    const head = 'GET /%0A%7F?secret=1 HTTP/1.1\r\nx-request-id: a\t\x85\xff"b';
    await once(raw(port, head), 'data');
    await waitFor(() => log.length > 1);
    const [, line, ...rest] = lines();
    assert.deepEqual(rest, []);
    assert.equal(line.path, '/%0A%7F');
    assert.equal(line.request_id, 'a\t\x85\xff"b');
    assert.deepEqual(
      Object.keys(line).join(' '),
      'time service method path status ms request_id',
    );
    assert.ok(log.every((text) => /^[\x20-\x7e]*$/.test(text)));
  });
});

describe('SIGTERM', () => {
  it('lets an open stream finish', async (t) => {
    const process = await start(t, { TOKEN_LATENCY_MS: '50' });
    const answer = await post(
      `${process.url}/v1/chat/completions`,
      streamOf('a b c d e f g h i j'),
    );
    assert.equal(answer.status, 200);
    process.child.kill('SIGTERM');
    await waitFor(() => isClosed(process.port));
    assert.match(await answer.text(), /data: \[DONE\]\n\n$/);
    assert.equal(await process.exited, 0);
  });

  it('cuts a stream after the grace', async (t) => {
    const env = { TOKEN_LATENCY_MS: '100', SHUTDOWN_GRACE_SECONDS: '1' };
    const process = await start(t, env);
    const answer = await post(`${process.url}/v1/chat/completions`, streamOf(LONG));
    assert.equal(answer.status, 200);
    process.child.kill('SIGTERM');
    await assert.rejects(answer.text());
    assert.equal(await process.exited, 0);
  });

  it('does not wait for an idle connection', async (t) => {
    const process = await start(t);
    await getJson(`${process.url}/healthz`);
    const began = performance.now();
    process.child.kill('SIGTERM');
    assert.equal(await process.exited, 0);
    assert.ok(performance.now() - began < 2000); // Keep-alive alone would hold it for 5 s.
  });
});

describe('a bad setting', () => {
  it('stops the start', async (t) => {
    const process = await start(t, { PORT: 'many' });
    assert.equal(await process.exited, 1);
  });
});

/** @param {number} port */
function isClosed(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(false));
    socket.on('error', () => resolve(true));
    socket.on('connect', () => socket.destroy());
  });
}
