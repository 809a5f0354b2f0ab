/** A request's JSON body, read up to a limit. */

import { ApiError } from './reply.js';
import { ClientGone } from './work.js';

/** @typedef {import('express').Request} Request */

export const LIMIT = 1 << 20;

/**
 * @param {Request} req
 * @returns {Promise<any>}
 */
export async function readJson(req) {
  const body = await read(req, LIMIT);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    throw new ApiError(400, 'invalid_json', 'The request body is not valid JSON.');
  }
}

/**
 * Express's parser would read an endless body to its end before it says 413.
 *
 * @param {Request} req
 * @param {number} limit
 * @returns {Promise<Buffer>}
 */
export function read(req, limit) {
  return new Promise((resolve, reject) => {
    /** @type {Buffer[]} */
    let parts = [];
    let size = Number(req.headers['content-length'] ?? 0) > limit ? Infinity : 0;
    const refuse = () => {
      parts = [];
      reject(new ApiError(413, 'body_too_large', `The request body is larger than ${limit} bytes.`));
    };
    if (size > limit) refuse();
    // The rest of a refused body is read and dropped, which keeps the connection usable.
    req.on('data', (/** @type {Buffer} */ part) => {
      if (size > limit) return;
      size += part.length;
      if (size > limit) refuse();
      else parts.push(part);
    });
    req.on('end', () => resolve(Buffer.concat(parts)));
    req.on('error', () => reject(new ClientGone()));
  });
}
