/** `/v1/responses`, OpenAI's second way to chat. */

import { randomBytes } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import {
  invalid,
  isObject,
  isString,
  maxTokens,
  member,
  missing,
  prose,
  readModel,
  split,
  streaming,
  wrongType,
} from './members.js';
import { allowOnly } from './reply.js';
import { named } from './service.js';
import { answer as speak, pick } from './tools.js';

/** @param {import('./service.js').Service} service */
export function responsesRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/v1/responses')
    .post(async (req, res) => {
      const body = await readJson(req);
      const name = readModel(body);
      const instructions = member(body, 'instructions', isString, 'a string') ?? '';
      const texts = [instructions, ...said(body.input ?? null)];
      const { stream } = streaming(body);
      const asked = /** @type {string} */ (texts.at(-1));
      const after = Array.isArray(body.input) && body.input.at(-1).type === 'function_call_output';
      const call = pick(body, asked, after);
      const { tokens, reason } = speak(asked, call, maxTokens(body, 'max_output_tokens'));
      const answer = new Answer(service.resolve(name), tokens, texts.flatMap(split).length);
      answer.call = call;
      if (reason === 'length') answer.status = 'incomplete';
      await service.answer(req, res, {
        dialect: 'responses',
        whole: () => answer.ended(),
        events: stream && service.paced(answer.play()),
      });
    })
    .all(allowOnly('POST'));
  return router;
}

/**
 * @param {any} input
 * @returns {string[]}
 */
function said(input) {
  if (input === null) throw missing('input');
  if (isString(input)) return [input];
  if (!Array.isArray(input)) throw wrongType('input', 'a string or an array of objects');
  if (input.length === 0) {
    throw invalid('empty_array', "Invalid 'input': the array is empty.", 'input');
  }
  return input.flatMap((item, i) => {
    if (!isObject(item)) throw wrongType(`input[${i}]`, 'an object');
    // A tool's call and its output have no role.
    return (item.role ?? null) === null ? [] : [prose(item.content, `input[${i}].content`)];
  });
}

class Answer {
  status = 'completed';
  /** @type {import('./tools.js').Call | null} */
  call = null;
  #id = `resp_${randomBytes(14).toString('hex')}`;
  #item = `msg_${randomBytes(14).toString('hex')}`;
  #created = Math.floor(Date.now() / 1000);
  #number = 0;

  /**
   * @param {string} model
   * @param {string[]} tokens
   * @param {number} promptTokens
   */
  constructor(model, tokens, promptTokens) {
    this.model = model;
    this.tokens = tokens;
    this.promptTokens = promptTokens;
  }

  /** @param {string} status */
  #state(status) {
    return {
      id: this.#id,
      object: 'response',
      created_at: this.#created,
      status,
      error: null,
      incomplete_details: null,
      instructions: null,
      metadata: {},
      model: this.model,
      output: [],
      parallel_tool_calls: true,
      temperature: 1,
      tool_choice: 'auto',
      tools: [],
      top_p: 1,
      usage: null,
    };
  }

  ended() {
    const output = this.tokens.length;
    return {
      ...this.#state(this.status),
      ...(this.status === 'incomplete' && { incomplete_details: { reason: 'max_output_tokens' } }),
      output: [this.#put(this.status, this.tokens.join(''))],
      usage: {
        input_tokens: this.promptTokens,
        input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
        output_tokens: output,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: this.promptTokens + output,
      },
    };
  }

  /**
   * The one thing in the output: a message, of nothing at first, or a call.
   *
   * @param {string} status
   * @param {string} text
   */
  #put(status, text) {
    const id = this.#item;
    if (this.call) {
      const call_id = `call_${this.#id.slice(5)}`;
      return { id, type: 'function_call', status, call_id, name: this.call.name, arguments: text };
    }
    const content = status === 'in_progress' ? [] : [textPart(text)];
    return { id, type: 'message', role: 'assistant', status, content };
  }

  /**
   * @param {string} name
   * @param {object} members
   */
  #event(name, members) {
    return named(`response.${name}`, { sequence_number: this.#number++, ...members });
  }

  /**
   * @param {string} name
   * @param {object} members
   */
  #part(name, members) {
    const place = { item_id: this.#item, output_index: 0, ...(!this.call && { content_index: 0 }) };
    return this.#event(name, { ...place, ...members });
  }

  /** @param {string} text */
  #closing(text) {
    if (this.call) {
      const done = { name: this.call.name, arguments: text };
      return [this.#part('function_call_arguments.done', done)];
    }
    return [
      this.#part('output_text.done', { text, logprobs: [] }),
      this.#part('content_part.done', { part: textPart(text) }),
    ];
  }

  /** @returns {import('./service.js').Play} */
  play() {
    const text = this.tokens.join('');
    const begun = { response: this.#state('in_progress') };
    const item = this.#put(this.status, text);
    return {
      opening: [
        this.#event('created', begun),
        this.#event('in_progress', begun),
        this.#event('output_item.added', {
          output_index: 0,
          item: this.#put('in_progress', ''),
        }),
        ...(this.call ? [] : [this.#part('content_part.added', { part: textPart('') })]),
      ],
      tokens: this.tokens.map((delta) =>
        this.call
          ? this.#part('function_call_arguments.delta', { delta })
          : this.#part('output_text.delta', { delta, logprobs: [] }),
      ),
      closing: [
        ...this.#closing(text),
        this.#event('output_item.done', { output_index: 0, item }),
        this.#event(this.status, { response: this.ended() }),
      ],
    };
  }
}

/** @param {string} text */
function textPart(text) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}
