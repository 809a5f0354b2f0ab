/** What the routes of all dialects share: the model, its names, and how streams are paced. */

import { MODEL } from './names.js';
import { ApiError, reply } from './reply.js';
import { draw } from './settings.js';
import { pause, sendEvents } from './work.js';

/** @typedef {import('express').Request} Request */
/** @typedef {import('express').Response} Response */

export function unknownModel() {
  return new ApiError(404, 'model_not_found', 'The model does not exist.', 'model');
}

/**
 * @typedef {object} Answer
 * @property {string} dialect
 * @property {() => unknown} whole
 * @property {false | ((signal: AbortSignal) => AsyncIterable<string>)} [events] instead of the whole
 */

/** @typedef {{opening: string[], tokens: Iterable<string>, closing: Iterable<string>}} Play A stream's events. */

export class Service {
  #model;
  #strict;

  /**
   * @param {import('./infer.js').Model} model
   * @param {import('./settings.js').Settings} settings
   */
  constructor(model, settings) {
    this.#model = model;
    this.#strict = settings.models.length > 0;
    this.listed = this.#strict ? settings.models : [MODEL];
    this.tokenLatency = settings.tokenLatency;
  }

  /**
   * @param {string | null} name
   * @returns {string} the model that answers; where none are named in the settings, any name will do
   */
  resolve(name) {
    if (name === null) return this.listed[0];
    if (this.#strict && !this.listed.includes(name)) throw unknownModel();
    return name;
  }

  /**
   * @param {Request} req
   * @param {Response} res
   * @param {Answer} answer
   */
  answer(req, res, { dialect, whole, events }) {
    return this.#model.execute(
      req,
      res,
      (signal) => (events ? sendEvents(res, events(signal), signal) : send(res, whole())),
      dialect,
    );
  }

  /**
   * One response of a conversation, which has no request of its own.
   *
   * @param {string | string[] | undefined} id
   * @param {AbortSignal} signal
   * @param {() => Promise<void>} work
   */
  converse(id, signal, work) {
    return this.#model.run({ id: id?.toString(), signal, dialect: 'realtime' }, work);
  }

  /**
   * @param {Play} play
   * @returns {(signal: AbortSignal) => AsyncGenerator<string>}
   */
  paced({ opening, tokens, closing }) {
    const latency = this.tokenLatency;
    return async function* (signal) {
      yield* opening;
      for (const token of tokens) {
        await pause(draw(latency), signal);
        yield token;
      }
      yield* closing;
    };
  }
}

/**
 * @param {Response} res
 * @param {unknown} value text as it is, bytes with their kind, anything else as JSON
 */
function send(res, value) {
  const { kind, bytes } =
    typeof value === 'string'
      ? { kind: 'text/plain; charset=utf-8', bytes: Buffer.from(value) }
      : /** @type {any} */ (value);
  if (!Buffer.isBuffer(bytes)) {
    reply(res, value);
    return;
  }
  res.writeHead(200, { 'Content-Type': kind, 'Content-Length': bytes.length });
  res.end(bytes);
}

/**
 * An event as Responses and Messages have it: its name is also its type.
 *
 * @param {string} type
 * @param {object} [value]
 */
export function named(type, value = {}) {
  return `event: ${type}\n${data({ type, ...value })}`;
}

/** @param {object} value */
export function data(value) {
  return `data: ${JSON.stringify(value)}\n\n`;
}
