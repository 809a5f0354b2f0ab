/** `/v1/rerank` and `/v1/score`: how many words two texts share. */

import { randomBytes } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import {
  inputs,
  invalid,
  isBoolean,
  isString,
  maxTokens,
  member,
  missing,
  readModel,
  split,
  wrongType,
} from './members.js';
import { allowOnly } from './reply.js';

/** @typedef {import('./service.js').Service} Service */
/** @typedef {import('express').Request} Request */
/** @typedef {import('express').Response} Response */

/** @param {Service} service */
export function rankingRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  for (const path of ['/v1/rerank', '/rerank']) {
    router
      .route(path)
      .post((req, res) => rerank(service, req, res))
      .all(allowOnly('POST'));
  }
  for (const path of ['/v1/score', '/score']) {
    router
      .route(path)
      .post((req, res) => score(service, req, res))
      .all(allowOnly('POST'));
  }
  return router;
}

/** @type {(service: Service, req: Request, res: Response) => Promise<void>} */
async function rerank(service, req, res) {
  const body = await readJson(req);
  const name = readModel(body);
  const query = member(body, 'query', isString, 'a string');
  if (query === null) throw missing('query');
  const texts = documents(body);
  const most = maxTokens(body, 'top_n') ?? texts.length;
  const withText = member(body, 'return_documents', isBoolean, 'a boolean') ?? true;
  const model = service.resolve(name);
  const tokens = texts.length * split(query).length + texts.flatMap(split).length;
  await service.answer(req, res, {
    dialect: 'rerank',
    whole: () => ({
      id: `rerank-${randomBytes(14).toString('hex')}`,
      model,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
      results: texts
        .map((text, index) => ({
          index,
          relevance_score: likeness(query, text),
          ...(withText && { document: { text } }),
        }))
        .sort((a, b) => b.relevance_score - a.relevance_score)
        .slice(0, most),
    }),
  });
}

/** @type {(service: Service, req: Request, res: Response) => Promise<void>} */
async function score(service, req, res) {
  const body = await readJson(req);
  const name = readModel(body);
  const [left, right] = [inputs(body, 'text_1'), inputs(body, 'text_2')];
  if (left.length !== 1 && left.length !== right.length) {
    const text = "Invalid 'text_2': as many texts as text_1, or text_1 must be one.";
    throw invalid('invalid_value', text, 'text_2');
  }
  const model = service.resolve(name);
  const pairs = right.map((b, i) => [left.length === 1 ? left[0] : left[i], b]);
  const tokens = pairs.reduce((sum, [a, b]) => sum + a.tokens + b.tokens, 0);
  await service.answer(req, res, {
    dialect: 'score',
    whole: () => ({
      id: `score-${randomBytes(14).toString('hex')}`,
      object: 'list',
      created: Math.floor(Date.now() / 1000),
      model,
      data: pairs.map(([a, b], index) => ({
        index,
        object: 'score',
        score: likeness(a.text, b.text),
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0 },
    }),
  });
}

/**
 * @param {any} body
 * @returns {string[]}
 */
function documents(body) {
  const wanted = 'an array of strings or of objects with a text';
  const given = member(body, 'documents', Array.isArray, wanted);
  if (given === null) throw missing('documents');
  if (given.length === 0) {
    throw invalid('empty_array', "Invalid 'documents': the array is empty.", 'documents');
  }
  return given.map((/** @type {any} */ one, /** @type {number} */ i) => {
    const text = isString(one) ? one : one?.text;
    if (!isString(text)) {
      throw wrongType(`documents[${i}]`, 'a string or an object with a text');
    }
    return text;
  });
}

/**
 * The cosine of two texts as sets of words.
 *
 * @param {string} a
 * @param {string} b
 */
function likeness(a, b) {
  const [left, right] = [a, b].map((text) => new Set(text.toLowerCase().match(/\S+/g)));
  if (left.size === 0 || right.size === 0) return 0;
  const common = [...left].filter((word) => right.has(word)).length;
  return common / Math.sqrt(left.size * right.size);
}
