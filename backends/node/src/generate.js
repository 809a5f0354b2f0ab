/** `/v1/completions` and `/v1/embeddings` in OpenAI's shapes. */

import { createHash, randomBytes } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import {
  echo,
  inputs,
  invalid,
  isString,
  maxTokens,
  member,
  oneChoice,
  readModel,
  streaming,
  wrongType,
} from './members.js';
import { SERVICE } from './names.js';
import { usage } from './openai.js';
import { allowOnly } from './reply.js';
import { data } from './service.js';

/** @typedef {import('./service.js').Service} Service */

const DIMENSIONS = 256;
const MOST_DIMENSIONS = 3072;
const MOST_INPUTS = 2048;
const MOST_NUMBERS = 1 << 20;

/** @param {Service} service */
export function generateRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/v1/completions')
    .post(async (req, res) => complete(service, req, res))
    .all(allowOnly('POST'));
  router
    .route('/v1/embeddings')
    .post(async (req, res) => embed(service, req, res))
    .all(allowOnly('POST'));
  return router;
}

/**
 * @param {Service} service
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 */
async function complete(service, req, res) {
  const body = await readJson(req);
  const name = readModel(body);
  const prompts = inputs(body, 'prompt');
  if (prompts.length !== 1) {
    throw invalid('invalid_value', "Invalid 'prompt': one prompt at a time.", 'prompt');
  }
  oneChoice(body);
  const { stream, includeUsage } = streaming(body);
  const { tokens, reason } = echo(prompts[0].text, maxTokens(body, 'max_tokens'));
  const head = {
    id: `cmpl-${randomBytes(14).toString('hex')}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model: service.resolve(name),
    system_fingerprint: `fp_echo_${SERVICE}`,
  };
  const used = usage(prompts[0].tokens, tokens.length);
  const noUsage = includeUsage ? { usage: null } : {};
  /** @type {(text: string, reason?: string | null) => string} */
  const chunk = (text, end = null) => data({ ...head, choices: [choice(text, end)], ...noUsage });
  await service.answer(req, res, {
    dialect: 'completions',
    whole: () => ({ ...head, choices: [choice(tokens.join(''), reason)], usage: used }),
    events:
      stream &&
      service.paced({
        opening: [],
        tokens: tokens.map((token) => chunk(token)),
        closing: [
          chunk('', reason),
          ...(includeUsage ? [data({ ...head, choices: [], usage: used })] : []),
          'data: [DONE]\n\n',
        ],
      }),
  });
}

/**
 * @param {string} text
 * @param {string | null} reason
 */
function choice(text, reason) {
  return { index: 0, text, logprobs: null, finish_reason: reason };
}

/**
 * @param {Service} service
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 */
async function embed(service, req, res) {
  const body = await readJson(req);
  const name = readModel(body);
  const texts = inputs(body, 'input');
  const dimensions = maxTokens(body, 'dimensions') ?? DIMENSIONS;
  if (dimensions > MOST_DIMENSIONS) {
    throw invalid('invalid_value', "Invalid 'dimensions': at most 3072.", 'dimensions');
  }
  if (texts.length > MOST_INPUTS || texts.length * dimensions > MOST_NUMBERS) {
    const text = "Invalid 'input': at most 2048 inputs and 1048576 numbers in the answer.";
    throw invalid('invalid_value', text, 'input');
  }
  const encoding = member(body, 'encoding_format', isString, 'a string') ?? 'float';
  if (!['float', 'base64'].includes(encoding)) {
    throw wrongType('encoding_format', 'float or base64');
  }
  const model = service.resolve(name);
  const total = texts.reduce((sum, { tokens }) => sum + tokens, 0);
  await service.answer(req, res, {
    dialect: 'embeddings',
    whole: () => ({
      object: 'list',
      data: texts.map(({ text }, index) => ({
        object: 'embedding',
        index,
        embedding: encode(vector(text, dimensions), encoding),
      })),
      model,
      usage: { prompt_tokens: total, total_tokens: total },
    }),
  });
}

/**
 * A unit vector that depends on the text alone.
 *
 * @param {string} text
 * @param {number} dimensions
 */
function vector(text, dimensions) {
  const seed = createHash('sha256').update(text).digest();
  /** @type {number[]} */
  const numbers = [];
  for (let block = 0; numbers.length < dimensions; block++) {
    const count = Buffer.alloc(4);
    count.writeUInt32LE(block);
    const digest = createHash('sha256').update(seed).update(count).digest();
    for (let at = 0; at < 32; at += 4) numbers.push(digest.readUInt32LE(at) / 2 ** 32 - 0.5);
  }
  numbers.length = dimensions;
  const length = Math.sqrt(numbers.reduce((sum, number) => sum + number * number, 0)) || 1;
  return numbers.map((number) => Math.fround(number / length));
}

/**
 * @param {number[]} numbers
 * @param {string} encoding
 */
function encode(numbers, encoding) {
  if (encoding === 'float') return numbers;
  const packed = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, i) => packed.writeFloatLE(number, 4 * i));
  return packed.toString('base64');
}
