/** `/v1/messages` in Anthropic's shapes. */

import { randomBytes } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import { afterResult, conversation } from './chat.js';
import { maxTokens, missing, prose, readModel, split, streaming } from './members.js';
import { allowOnly } from './reply.js';
import { named } from './service.js';
import { answer as speak, pick } from './tools.js';

const STOPS = new Map([
  ['length', 'max_tokens'],
  ['tool_calls', 'tool_use'],
  ['stop', 'end_turn'],
]);

/** @param {import('./service.js').Service} service */
export function messagesRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/v1/messages')
    .post(async (req, res) => {
      const body = await readJson(req);
      const asked = readMessages(body);
      const limit = maxTokens(body, 'max_tokens');
      if (limit === null) throw missing('max_tokens');
      const { stream } = streaming(body);
      const call = pick(body, asked.prompt, afterResult(body));
      const { tokens, reason } = speak(asked.prompt, call, limit);
      const block = new Block(call);
      const answer = {
        id: `msg_${randomBytes(14).toString('hex')}`,
        type: 'message',
        role: 'assistant',
        model: service.resolve(asked.model),
        content: [block.holding(tokens.join(''))],
        stop_reason: STOPS.get(reason),
        stop_sequence: null,
        usage: usage(asked.promptTokens, tokens.length),
      };
      await service.answer(req, res, {
        dialect: 'messages',
        whole: () => answer,
        events: stream && service.paced(play(answer, tokens, block)),
      });
    })
    .all(allowOnly('POST'));
  router
    .route('/v1/messages/count_tokens')
    .post(async (req, res) => {
      const { model, promptTokens } = readMessages(await readJson(req));
      service.resolve(model);
      await service.answer(req, res, {
        dialect: 'count_tokens',
        whole: () => ({ input_tokens: promptTokens }),
      });
    })
    .all(allowOnly('POST'));
  return router;
}

/** The one part of an answer: a text, or a call. */
class Block {
  #call;
  #id = `toolu_${randomBytes(12).toString('hex')}`;

  /** @param {import('./tools.js').Call | null} call */
  constructor(call) {
    this.#call = call;
  }

  /** @param {string} said */
  holding(said) {
    if (this.#call === null) return { type: 'text', text: said };
    // Arguments that max_tokens has cut are no JSON, and left out.
    const input = said === this.#call.arguments ? JSON.parse(said) : {};
    return { type: 'tool_use', id: this.#id, name: this.#call.name, input };
  }

  /** @param {string} token */
  increment(token) {
    if (this.#call === null) return { type: 'text_delta', text: token };
    return { type: 'input_json_delta', partial_json: token };
  }
}

/** @param {any} body */
function readMessages(body) {
  const model = readModel(body);
  const { prompt, promptTokens } = conversation(body);
  const system = body.system ?? '';
  return { model, prompt, promptTokens: promptTokens + split(prose(system, 'system')).length };
}

/**
 * @param {any} answer
 * @param {string[]} tokens
 * @param {Block} block
 * @returns {import('./service.js').Play}
 */
function play(answer, tokens, block) {
  const begun = {
    ...answer,
    content: [],
    stop_reason: null,
    usage: { ...answer.usage, output_tokens: 0 },
  };
  const delta = { stop_reason: answer.stop_reason, stop_sequence: null };
  return {
    opening: [
      named('message_start', { message: begun }),
      named('content_block_start', { index: 0, content_block: block.holding('') }),
      named('ping'),
    ],
    tokens: tokens.map((token) =>
      named('content_block_delta', { index: 0, delta: block.increment(token) }),
    ),
    closing: [
      named('content_block_stop', { index: 0 }),
      named('message_delta', { delta, usage: answer.usage }),
      named('message_stop'),
    ],
  };
}

/**
 * @param {number} input
 * @param {number} output
 */
function usage(input, output) {
  return {
    input_tokens: input,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: output,
  };
}
