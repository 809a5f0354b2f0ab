/** `/v1/realtime`: OpenAI's Realtime over a WebSocket, in text. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { STATUS_CODES } from 'node:http';

import { messageText } from './chat.js';
import { echo, invalid, isObject, maxTokens, member, readObject, split } from './members.js';
import { ApiError } from './reply.js';
import { draw } from './settings.js';
import { accepted, textFrame, texts } from './websocket.js';
import { ClientGone, pause } from './work.js';

const MOST_WAITING = 16; // Messages that are read ahead.

/**
 * @param {import('./service.js').Service} service
 * @returns {(req: import('node:http').IncomingMessage, socket: import('node:stream').Duplex, head: Buffer) => number}
 *   the status with which an upgrade is answered; only this path is ever upgraded
 */
export function realtime(service) {
  return (req, socket, head) => {
    try {
      const url = new URL(req.url ?? '', 'http://localhost');
      if (url.pathname !== '/v1/realtime') throw new ApiError(404, 'not_found', 'Not Found');
      const answer = accepted(req);
      if (answer === null) {
        throw new ApiError(400, 'bad_request', 'A WebSocket of version 13 is needed.');
      }
      const model = service.resolve(url.searchParams.get('model'));
      const offered = (req.headers['sec-websocket-protocol'] ?? '').split(',');
      const named = offered.some((one) => one.trim() === 'realtime');
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
          `Sec-WebSocket-Accept: ${answer}\r\n` +
          `${named ? 'Sec-WebSocket-Protocol: realtime\r\n' : ''}\r\n`,
      );
      new Session(service, socket, { model, id: req.headers['x-request-id'] }).run(head);
      return 101;
    } catch (error) {
      return refuse(socket, error);
    }
  };
}

/**
 * @param {import('node:stream').Duplex} socket
 * @param {unknown} error
 */
function refuse(socket, error) {
  const { status, code, message, param } =
    error instanceof ApiError ? error : new ApiError(400, 'bad_request', 'Bad Request');
  const type = 'invalid_request_error';
  const body = JSON.stringify({ error: { message, type, param, code } });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  return status;
}

class Session {
  #service;
  #socket;
  #about;
  #prompt = '';
  #promptTokens = 0;
  /** @type {number | null} */
  #limit = null;
  #sent = 0;
  #left = new AbortController();

  /**
   * @param {import('./service.js').Service} service
   * @param {import('node:stream').Duplex} socket
   * @param {{model: string, id: string | string[] | undefined}} about
   */
  constructor(service, socket, about) {
    this.#service = service;
    this.#socket = socket;
    this.#about = about;
    socket.on('error', () => {}); // The close that follows is what counts.
    socket.once('close', () => this.#left.abort(new ClientGone()));
  }

  /**
   * Answers one message after the other until the client leaves.
   *
   * @param {Buffer} head
   */
  async run(head) {
    /** @type {Promise<void>} */
    let answered = this.#endOnFault(this.#say('session.created', { session: this.#session() }));
    let waiting = 0;
    for await (const text of texts(this.#socket, head)) {
      waiting += 1;
      answered = answered.then(() => this.#endOnFault(this.#hearEvent(text)));
      answered = answered.finally(() => (waiting -= 1));
      if (waiting >= MOST_WAITING) await answered;
    }
    this.#left.abort(new ClientGone());
    this.#socket.end();
  }

  /**
   * Whatever goes wrong, which may be that the client has left, ends the session.
   *
   * @param {Promise<void>} work
   * @returns {Promise<void>} never rejected
   */
  async #endOnFault(work) {
    try {
      await work;
    } catch {
      this.#socket.destroy();
    }
  }

  #session() {
    const id = 'sess_backend';
    const model = this.#about.model;
    return { type: 'realtime', object: 'realtime.session', id, model, output_modalities: ['text'] };
  }

  /**
   * @param {string} type
   * @param {object} members
   */
  async #say(type, members) {
    this.#left.signal.throwIfAborted();
    this.#sent += 1;
    const event = { type, event_id: `event_${this.#sent}`, ...members };
    if (!this.#socket.write(textFrame(JSON.stringify(event)))) {
      await once(this.#socket, 'drain', { signal: this.#left.signal });
    }
  }

  /**
   * Does what an event asks. What cannot be done is said, and the session goes on.
   *
   * @param {string} text
   */
  async #hearEvent(text) {
    /** @type {any} */
    let body = null;
    try {
      body = parse(text);
      await this.#obey(readObject(body));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const { code, message, param } = error;
      const fault = { type: 'invalid_request_error', code, message, param };
      await this.#say('error', { error: { ...fault, event_id: body?.event_id ?? null } });
    }
  }

  /** @param {any} body */
  async #obey(body) {
    if (body.type === 'session.update') {
      this.#limit = limitOf(member(body, 'session', isObject, 'an object') ?? {}) ?? this.#limit;
      await this.#say('session.updated', { session: this.#session() });
    } else if (body.type === 'conversation.item.create') {
      const item = member(body, 'item', isObject, 'an object') ?? {};
      this.#hear(item);
      await this.#say('conversation.item.added', { item, previous_item_id: null });
      await this.#say('conversation.item.done', { item, previous_item_id: null });
    } else if (body.type === 'response.create') {
      await this.#respond(member(body, 'response', isObject, 'an object') ?? {});
    } else {
      const known = 'session.update, conversation.item.create or response.create';
      throw invalid('invalid_value', `Invalid 'type': ${known} is needed.`, 'type');
    }
  }

  /**
   * Takes in a message. Other items say nothing.
   *
   * @param {any} item
   */
  #hear(item) {
    if (item?.type !== 'message') return;
    this.#prompt = messageText(item, 'item');
    this.#promptTokens += split(this.#prompt).length;
  }

  /** @param {any} asked */
  async #respond(asked) {
    const limit = limitOf(asked) ?? this.#limit;
    const said = { prompt: this.#prompt, tokens: this.#promptTokens };
    const items = member(asked, 'input', Array.isArray, 'an array of objects') ?? [];
    items.forEach((/** @type {any} */ item) => this.#hear(item));
    const answer = new Answer(this.#prompt, this.#promptTokens, limit);
    // A response's input stays with it, but its answer is read again.
    this.#prompt = said.prompt;
    this.#promptTokens = said.tokens + answer.tokens.length;
    const about = { response_id: answer.id, output_index: 0 };
    const { signal } = this.#left;
    await this.#service.converse(this.#about.id, signal, async () => {
      for (const [type, members] of answer.events()) {
        const waits = type === 'response.output_text.delta';
        if (waits) await pause(draw(this.#service.tokenLatency), signal);
        await this.#say(type, { ...about, ...members });
      }
      await this.#say('response.done', { response: answer.ended() });
    });
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(400, 'invalid_json', 'The event is not valid JSON.');
  }
}

/**
 * @param {any} asked
 * @returns {number | null} the most tokens; "inf" is what OpenAI calls no limit
 */
function limitOf(asked) {
  return asked.max_output_tokens === 'inf' ? null : maxTokens(asked, 'max_output_tokens');
}

class Answer {
  id = `resp_${randomBytes(10).toString('hex')}`;
  #item = `item_${randomBytes(10).toString('hex')}`;
  #promptTokens;
  #status;

  /**
   * @param {string} prompt
   * @param {number} promptTokens
   * @param {number | null} limit
   */
  constructor(prompt, promptTokens, limit) {
    const { tokens, reason } = echo(prompt, limit);
    this.tokens = tokens;
    this.#status = reason === 'length' ? 'incomplete' : 'completed';
    this.#promptTokens = promptTokens;
  }

  /** @returns {Generator<[string, object]>} all but the last */
  *events() {
    const place = { item_id: this.#item, content_index: 0 };
    const text = this.tokens.join('');
    yield ['response.created', { response: this.#state('in_progress') }];
    yield ['response.output_item.added', { item: this.#message('in_progress') }];
    yield ['response.content_part.added', { ...place, part: { type: 'text', text: '' } }];
    for (const delta of this.tokens) yield ['response.output_text.delta', { ...place, delta }];
    yield ['response.output_text.done', { ...place, text }];
    yield ['response.content_part.done', { ...place, part: { type: 'text', text } }];
    yield ['response.output_item.done', { item: this.#message(this.#status) }];
  }

  /** @param {string} status */
  #state(status) {
    return {
      object: 'realtime.response',
      id: this.id,
      status,
      status_details: null,
      output: [],
      output_modalities: ['text'],
      usage: null,
    };
  }

  /** @param {string} status */
  #message(status) {
    const text = { type: 'output_text', text: this.tokens.join('') };
    return {
      id: this.#item,
      object: 'realtime.item',
      type: 'message',
      role: 'assistant',
      status,
      content: status === 'in_progress' ? [] : [text],
    };
  }

  ended() {
    const [heard, said] = [this.#promptTokens, this.tokens.length];
    const cut = this.#status === 'incomplete';
    return {
      ...this.#state(this.#status),
      status_details: cut ? { type: 'incomplete', reason: 'max_output_tokens' } : null,
      output: [this.#message(this.#status)],
      usage: {
        input_tokens: heard,
        output_tokens: said,
        total_tokens: heard + said,
        input_token_details: { text_tokens: heard, audio_tokens: 0, cached_tokens: 0 },
        output_token_details: { text_tokens: said, audio_tokens: 0 },
      },
    };
  }
}
