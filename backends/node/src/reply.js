/** Answers and errors in the one JSON form the service has. */

import { writeLine } from './log.js';
import { ClientGone } from './work.js';

/** @typedef {import('express').Request} Request */
/** @typedef {import('express').Response} Response */

const INVALID = 'invalid_request_error';

/** A request that cannot be answered, and why. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {string | null} [param]
   */
  constructor(status, code, message, param = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

/**
 * Express's own res.json would add a charset, an ETag and its 304.
 *
 * @param {Response} res
 * @param {unknown} value
 * @param {number} [status]
 */
export function reply(res, value, status = 200) {
  const body = Buffer.from(JSON.stringify(value));
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  res.end(body);
}

/** @param {Request} _req */
export function notFound(_req) {
  throw new ApiError(404, 'not_found', 'Not Found');
}

/**
 * @param {string} allow
 * @returns {import('express').RequestHandler}
 */
export function allowOnly(allow) {
  return (_req, res) => {
    res.setHeader('Allow', allow);
    throw new ApiError(405, 'method_not_allowed', 'Method Not Allowed');
  };
}

/**
 * Express knows an error handler by its four parameters.
 *
 * @param {unknown} error
 * @param {Request} req
 * @param {Response} res
 * @param {import('express').NextFunction} _next
 */
export function errorHandler(error, req, res, _next) {
  if (error instanceof ClientGone) return;
  const known = understand(error);
  if (known === undefined) {
    const stack = error instanceof Error ? error.stack : String(error);
    writeLine({ level: 'ERROR', msg: 'unexpected error', exception: stack });
  }
  if (res.headersSent) {
    res.destroy(); // Cut, so that no one takes it for complete.
    return;
  }
  const { status, code, message, param } = known ?? {
    status: 500,
    code: 'internal_error',
    message: 'The server had an error while processing the request.',
    param: null,
  };
  if (/^\/v1\/messages(\/|$)/.test(req.path)) {
    reply(res, { type: 'error', error: { type: anthropicType(status), message } }, status);
    return;
  }
  const type = known ? INVALID : 'server_error';
  const openai = req.path.startsWith('/v1/'); // OpenAI's shape has one more member.
  reply(res, { error: { message, type, ...(openai && { param }), code } }, status);
}

/**
 * @param {number} status
 * @returns {string} what Anthropic's API calls it
 */
function anthropicType(status) {
  if (status >= 500) return 'api_error';
  return { 404: 'not_found_error', 413: 'request_too_large' }[status] ?? INVALID;
}

/**
 * @param {any} error
 * @returns {ApiError | undefined}
 */
function understand(error) {
  if (error instanceof ApiError) return error;
  // The router's own: a path that cannot be decoded.
  if (error?.status === 400) return new ApiError(400, 'bad_request', 'Bad Request');
  return undefined;
}
