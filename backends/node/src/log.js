/** One JSON line per request, and one per thing that happens to the process. */

import { SERVICE } from './names.js';

const LONGEST_TEXT = 512;
const PROBES = ['/healthz', '/stats'];

// A log that nobody reads any more must not cost a request.
process.stdout.on('error', () => {});

/** @param {Record<string, unknown>} fields */
export function writeLine(fields) {
  const line = JSON.stringify({ time: new Date().toISOString(), service: SERVICE, ...fields });
  // JSON escapes C0 only; DEL, C1 and whatever else a terminal may obey goes the same way.
  process.stdout.write(`${line.replace(/[^\x20-\x7e]/g, escape)}\n`);
}

/** @param {string} unit */
function escape(unit) {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/**
 * Counts and logs each request. Paths only: a query or a body may hold a prompt.
 *
 * @param {import('./stats.js').Stats} stats
 * @param {boolean} accessLog
 * @returns {import('express').RequestHandler}
 */
export function observe(stats, accessLog) {
  return (req, res, next) => {
    if (!PROBES.includes(req.path)) stats.requests += 1;
    if (accessLog) {
      const start = performance.now();
      res.once('close', () => writeLine(describe(req, res, performance.now() - start)));
    }
    next();
  };
}

/**
 * @param {import('node:http').IncomingMessage} req
 * @param {number} status
 * @param {number} elapsed
 */
export function noteUpgrade(req, status, elapsed) {
  writeLine({
    method: req.method,
    path: req.url?.split('?', 1)[0].slice(0, LONGEST_TEXT),
    status,
    ms: Math.round(elapsed * 1000) / 1000,
    request_id: req.headers['x-request-id']?.slice(0, LONGEST_TEXT) ?? null,
  });
}

/**
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {number} elapsed
 */
function describe(req, res, elapsed) {
  return {
    method: req.method,
    path: req.originalUrl.split('?', 1)[0].slice(0, LONGEST_TEXT),
    status: res.headersSent ? res.statusCode : 499,
    ms: Math.round(elapsed * 1000) / 1000,
    request_id: req.get('x-request-id')?.slice(0, LONGEST_TEXT) ?? null,
    ...(res.headersSent && !res.writableFinished && { cut: true }),
  };
}
