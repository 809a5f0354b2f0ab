/** `/v1/*` in OpenAI's shapes: models and chat completions, whole or streamed. */

import { randomBytes } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import { answer, parse } from './chat.js';
import { SERVICE } from './names.js';
import { allowOnly, reply } from './reply.js';
import { unknownModel } from './service.js';
import { draw } from './settings.js';
import { pause } from './work.js';

/** @typedef {import('./chat.js').Chat} Chat */

const FINGERPRINT = `fp_echo_${SERVICE}`;

/** @param {import('./service.js').Service} service */
export function openaiRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/v1/models')
    .get((_req, res) => reply(res, { object: 'list', data: service.listed.map(card) }))
    .all(allowOnly('GET, HEAD'));
  router
    .route('/v1/models/*name')
    .get((req, res) => {
      const name = /** @type {any} */ (req.params).name.join('/');
      if (!service.listed.includes(name)) throw unknownModel();
      reply(res, card(name));
    })
    .all(allowOnly('GET, HEAD'));
  router
    .route('/v1/chat/completions')
    .post(async (req, res) => {
      const chat = parse(await readJson(req));
      service.resolve(chat.model);
      await service.answer(req, res, {
        dialect: 'chat',
        whole: () => completion(chat),
        events: chat.stream && ((signal) => events(chat, service.tokenLatency, signal)),
      });
    })
    .all(allowOnly('POST'));
  return router;
}

/** @param {string} id */
function card(id) {
  return { id, object: 'model', created: 1735689600, owned_by: 'aigateway' };
}

/**
 * @param {Chat} chat
 * @param {string} object
 */
function head(chat, object) {
  const id = `chatcmpl-${randomBytes(14).toString('hex')}`;
  return { id, object, created: Math.floor(Date.now() / 1000), model: chat.model };
}

/** @param {Chat} chat */
function completion(chat) {
  const { tokens, reason } = answer(chat);
  const text = tokens.join('');
  const said = chat.call
    ? { content: null, tool_calls: [called(chat.call, text)] }
    : { content: text };
  const message = { role: 'assistant', ...said, refusal: null, annotations: [] };
  return {
    ...head(chat, 'chat.completion'),
    choices: [{ index: 0, message, logprobs: null, finish_reason: reason }],
    usage: usage(chat.promptTokens, tokens.length),
    service_tier: 'default',
    system_fingerprint: FINGERPRINT,
  };
}

/**
 * @param {import('./tools.js').Call} call
 * @param {string} given
 */
function called({ name }, given) {
  const id = `call_${randomBytes(12).toString('hex')}`;
  return { id, type: 'function', function: { name, arguments: given } };
}

/**
 * @param {number} promptTokens
 * @param {number} completionTokens
 */
export function usage(promptTokens, completionTokens) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

/**
 * The chunks of one answer. With include_usage each has `usage`, null but in the last.
 *
 * @param {Chat} chat
 * @param {import('./settings.js').Latency} tokenLatency
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<string>}
 */
async function* events(chat, tokenLatency, signal) {
  const { tokens, reason } = answer(chat);
  const shared = {
    ...head(chat, 'chat.completion.chunk'),
    service_tier: 'default',
    system_fingerprint: FINGERPRINT,
  };
  const noUsage = chat.includeUsage ? { usage: null } : {};

  /** @type {(delta: object, finishReason?: string | null) => string} */
  const chunk = (delta, finishReason = null) => {
    const choice = { index: 0, delta, logprobs: null, finish_reason: finishReason };
    return event({ ...shared, choices: [choice], ...noUsage });
  };

  if (chat.call) {
    const begun = { index: 0, ...called(chat.call, '') };
    yield chunk({ role: 'assistant', content: null, tool_calls: [begun] });
  } else {
    yield chunk({ role: 'assistant', content: '', refusal: null });
  }
  for (const token of tokens) {
    await pause(draw(tokenLatency), signal);
    const more = { index: 0, function: { arguments: token } };
    yield chunk(chat.call ? { tool_calls: [more] } : { content: token });
  }
  yield chunk({}, reason);
  if (chat.includeUsage) {
    yield event({ ...shared, choices: [], usage: usage(chat.promptTokens, tokens.length) });
  }
  yield 'data: [DONE]\n\n';
}

/** @param {object} value */
function event(value) {
  return `data: ${JSON.stringify(value)}\n\n`;
}
