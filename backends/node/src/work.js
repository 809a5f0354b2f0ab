/** Work that ends at once when the client who asked for it leaves. */

import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** @typedef {import('express').Response} Response */

/** The client left before its answer was complete. */
export class ClientGone extends Error {}

/**
 * @param {Response} res
 * @returns {AbortSignal} aborted when the client leaves before the answer is written
 */
export function leaving(res) {
  const controller = new AbortController();
  const leave = () => controller.abort(new ClientGone());
  if (res.destroyed) leave();
  else res.once('close', () => res.writableFinished || leave());
  return controller.signal;
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 */
export async function pause(ms, signal) {
  await orGone(ms === 0 ? nextTurn(undefined, { signal }) : sleep(ms, undefined, { signal }), signal);
}

/**
 * Sends server-sent events, each as it is made and no faster than the client reads.
 *
 * @param {Response} res
 * @param {AsyncIterable<string>} events
 * @param {AbortSignal} signal
 */
export async function sendEvents(res, events, signal) {
  res.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-cache',
  });
  for await (const event of events) {
    signal.throwIfAborted();
    if (!res.write(event)) await orGone(once(res, 'drain', { signal }), signal);
  }
  res.end();
}

/**
 * @template T
 * @param {Promise<T>} waiting
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
async function orGone(waiting, signal) {
  try {
    return await waiting;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
