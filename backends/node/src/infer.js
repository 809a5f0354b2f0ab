/** `/infer`: one prompt in, its echo out. */

import { Router } from 'express';

import { readJson } from './body.js';
import { MODEL } from './names.js';
import { allowOnly, ApiError, reply } from './reply.js';
import { draw } from './settings.js';
import { ClientGone, leaving, pause } from './work.js';

/** @typedef {import('express').Request} Request */
/** @typedef {import('express').Response} Response */

/** The simulated model: what each execution costs, and the count of them. */
export class Model {
  #latency;
  #stats;

  /**
   * @param {import('./settings.js').Latency} latency
   * @param {import('./stats.js').Stats} stats
   */
  constructor(latency, stats) {
    this.#latency = latency;
    this.#stats = stats;
  }

  /**
   * Takes the time an inference takes, then makes the answer. Both end when the client leaves.
   *
   * @param {Request} req
   * @param {Response} res
   * @param {(signal: AbortSignal) => void | Promise<void>} answer
   * @param {string} [dialect]
   */
  execute(req, res, answer, dialect = 'infer') {
    const signal = leaving(res);
    return this.run({ id: req.get('x-request-id'), signal, dialect }, () => answer(signal));
  }

  /**
   * The same for who is told by a signal that the client has left.
   *
   * @param {{id: string | undefined, signal: AbortSignal, dialect: string}} asked
   * @param {() => void | Promise<void>} answer
   */
  async run({ id, signal, dialect }, answer) {
    this.#stats.execute(id, dialect);
    const ms = draw(this.#latency);
    try {
      if (ms > 0) await pause(ms, signal);
      await answer();
    } catch (error) {
      if (error instanceof ClientGone) this.#stats.cancelled += 1;
      throw error;
    }
  }
}

/** @param {Model} model */
export function inferRoutes(model) {
  /** @type {(req: Request, res: Response, prompt: unknown) => Promise<void>} */
  const infer = async (req, res, prompt) => {
    check(prompt);
    const start = performance.now();
    await model.execute(req, res, () => {
      const elapsed = Math.round(performance.now() - start);
      reply(res, { result: `echo: ${prompt}`, latency_ms: elapsed, model: MODEL });
    });
  };

  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/infer')
    .get((req, res) => infer(req, res, fromQuery(req)))
    .post(async (req, res) => infer(req, res, fromBody(await readJson(req))))
    .all(allowOnly('GET, HEAD, POST'));
  return router;
}

/** @param {Request} req */
function fromQuery(req) {
  return query(req).getAll('prompt').at(-1);
}

/**
 * @param {Request} req
 * @returns {URLSearchParams}
 */
export function query(req) {
  const mark = req.url.indexOf('?');
  return new URLSearchParams(mark < 0 ? '' : req.url.slice(mark));
}

/**
 * @param {any} body
 * @returns {unknown}
 */
function fromBody(body) {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    const message = 'The request body must be a JSON object such as {"prompt":"hello"}.';
    throw new ApiError(422, 'invalid_body', message);
  }
  return body.prompt;
}

/** @param {unknown} prompt */
function check(prompt) {
  if (prompt === undefined || prompt === null) {
    throw new ApiError(422, 'missing_prompt', 'A prompt is required.');
  }
  if (prompt === '') throw new ApiError(422, 'empty_prompt', 'The prompt must not be empty.');
  if (typeof prompt !== 'string') {
    throw new ApiError(422, 'invalid_prompt', 'The prompt must be a string.');
  }
}
