/** `/tokenize`, `/detokenize`, `/version` and `/health` as the engines have them. */

import { Router } from 'express';

import { readJson } from './body.js';
import { conversationText } from './chat.js';
import { invalid, isString, member, missing, readObject, split, wrongType } from './members.js';
import { allowOnly, reply } from './reply.js';

const MOST_WORDS = 1 << 16;
const LONGEST_CONTEXT = 131_072; // What engines say; nothing is enforced here.

/** Numbers the tokens that /tokenize has met, so that /detokenize finds the last 65,536. */
export class Vocabulary {
  /** @type {Map<string, number>} */
  #ids = new Map();
  /** @type {Map<number, string>} */
  #texts = new Map();
  #next = 0;

  /**
   * @param {string} token
   * @returns {number}
   */
  number(token) {
    const known = this.#ids.get(token);
    if (known !== undefined) return known;
    const number = this.#next++;
    this.#ids.set(token, number);
    this.#texts.set(number, token);
    const old = number - MOST_WORDS;
    if (old >= 0) {
      this.#ids.delete(/** @type {string} */ (this.#texts.get(old)));
      this.#texts.delete(old);
    }
    return number;
  }

  /**
   * @param {number[]} numbers
   * @returns {string | undefined}
   */
  join(numbers) {
    const texts = numbers.map((number) => this.#texts.get(number));
    return texts.includes(undefined) ? undefined : texts.join('');
  }
}

/** @param {import('./service.js').Service} service */
export function tokenRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  const words = new Vocabulary();
  router
    .route('/tokenize')
    .post(async (req, res) => {
      const body = readObject(await readJson(req));
      service.resolve(member(body, 'model', isString, 'a string'));
      const found = split(textOf(body));
      await service.answer(req, res, {
        dialect: 'tokenize',
        whole: () => ({
          count: found.length,
          max_model_len: LONGEST_CONTEXT,
          tokens: found.map((token) => words.number(token)),
          token_strs: null,
        }),
      });
    })
    .all(allowOnly('POST'));
  router
    .route('/detokenize')
    .post(async (req, res) => {
      const body = readObject(await readJson(req));
      service.resolve(member(body, 'model', isString, 'a string'));
      const numbers = member(body, 'tokens', Array.isArray, 'an array of integers');
      if (numbers === null) throw missing('tokens');
      if (!numbers.every(Number.isInteger)) throw wrongType('tokens', 'an array of integers');
      const text = words.join(numbers);
      if (text === undefined) {
        const message = "Invalid 'tokens': numbers that /tokenize has given lately are needed.";
        throw invalid('invalid_value', message, 'tokens');
      }
      await service.answer(req, res, {
        dialect: 'detokenize',
        whole: () => ({ prompt: text, content: text }),
      });
    })
    .all(allowOnly('POST'));
  router
    .route('/version')
    .get((_req, res) => reply(res, { version: '1.0.0' }))
    .all(allowOnly('GET, HEAD'));
  for (const path of ['/health', '/ping']) {
    router
      .route(path)
      .get((_req, res) => {
        res.writeHead(200, { 'Content-Length': 0 });
        res.end();
      })
      .all(allowOnly('GET, HEAD'));
  }
  return router;
}

/**
 * @param {any} body
 * @returns {string}
 */
function textOf(body) {
  // vLLM's name and llama.cpp's.
  for (const name of ['prompt', 'content']) {
    const text = member(body, name, isString, 'a string');
    if (text !== null) return text;
  }
  if ((body.messages ?? null) === null) throw missing('prompt');
  return conversationText(body).join('');
}
