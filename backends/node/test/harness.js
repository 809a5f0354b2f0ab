/** The service in two forms: inside the test, and as a process of its own. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { createApp } from '../src/app.js';
import { load } from '../src/settings.js';

const SERVER = fileURLToPath(new URL('../src/server.js', import.meta.url));

/**
 * An application without delays and log, its address, and what ends it.
 *
 * @param {Record<string, string>} [more]
 */
export async function serve(more = {}) {
  const env = { ...more, INFER_LATENCY_MS: '0', TOKEN_LATENCY_MS: '0', ACCESS_LOG: 'false' };
  const { app, upgrade } = createApp(load(env));
  const server = createServer(app);
  server.on('upgrade', upgrade);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}`, close };
}

/**
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string>} [env]
 */
export async function start(t, env = {}) {
  const child = spawn(process.execPath, [SERVER], {
    env: { ...process.env, HOST: '127.0.0.1', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  /** @type {string[]} */
  const raw = [];
  createInterface({ input: child.stdout }).on('line', (line) => raw.push(line));
  const exited = once(child, 'exit').then(([code]) => code);
  t.after(() => child.kill('SIGKILL'));
  const lines = () => raw.map((line) => JSON.parse(line));
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  const port = await waitFor(() => (ended() ? -1 : lines()[0]?.port));
  const url = `http://127.0.0.1:${port}`;
  return { child, raw, lines, exited, port, url, stats: async () => getJson(`${url}/stats`) };
}

/**
 * @param {string} url
 * @returns {Promise<any>}
 */
export async function getJson(url) {
  return (await fetch(url)).json();
}

/**
 * @param {string} url
 * @param {any} body sent as JSON, unless it is text or bytes already
 * @param {Record<string, string>} [headers]
 */
export function post(url, body, headers = {}) {
  const ready = typeof body === 'string' || Buffer.isBuffer(body);
  return fetch(url, { method: 'POST', body: ready ? body : JSON.stringify(body), headers });
}

/**
 * @template T
 * @param {() => T | Promise<T>} read called until it returns something true
 * @param {number} [ms]
 * @returns {Promise<T>}
 */
export async function waitFor(read, ms = 10_000) {
  const deadline = performance.now() + ms;
  while (performance.now() < deadline) {
    const value = await read();
    if (value) return value;
    await sleep(10);
  }
  throw new Error(`not within ${ms} ms`);
}
