/** The part of OpenAI's chat request that this service understands; the rest is ignored. */

import {
  invalid,
  isObject,
  maxTokens,
  member,
  missing,
  oneChoice,
  prose,
  readModel,
  split,
  streaming,
  wrongType,
} from './members.js';
import { answer as speak, pick } from './tools.js';

const ROLES = ['developer', 'system', 'user', 'assistant', 'tool', 'function'];

/**
 * @typedef {object} Chat
 * @property {string} model
 * @property {string} prompt
 * @property {number} promptTokens
 * @property {number | null} maxTokens
 * @property {boolean} stream
 * @property {boolean} includeUsage
 * @property {import('./tools.js').Call | null} call
 */

/**
 * @param {Chat} chat
 * @returns {{tokens: string[], reason: string}} the answer and the reason why it ends
 */
export function answer(chat) {
  return speak(chat.prompt, chat.call, chat.maxTokens);
}

/**
 * @param {any} body
 * @returns {Chat}
 */
export function parse(body) {
  const model = readModel(body);
  const { prompt, promptTokens } = conversation(body);
  const { stream, includeUsage } = streaming(body);
  oneChoice(body);
  return {
    model,
    prompt,
    promptTokens,
    maxTokens: maxTokens(body, 'max_completion_tokens', 'max_tokens'),
    stream,
    includeUsage,
    call: pick(body, prompt, afterResult(body)),
  };
}

/**
 * What the user said or a function gave back last, and how many tokens everybody said, in chats and in Messages.
 *
 * @param {any} body
 * @returns {{prompt: string, promptTokens: number}}
 */
export function conversation(body) {
  const texts = conversationText(body);
  const asked = body.messages.findLastIndex((/** @type {any} */ message) =>
    ['user', 'tool', 'function'].includes(message.role),
  );
  return { prompt: /** @type {string} */ (texts.at(asked)), promptTokens: texts.flatMap(split).length };
}

/**
 * @param {any} body
 * @returns {boolean} whether what was said last is what a function gave back
 */
export function afterResult(body) {
  const { role, content } = body.messages.at(-1);
  if (role === 'tool' || role === 'function') return true;
  return Array.isArray(content) && content.some((part) => part.type === 'tool_result');
}

/**
 * @param {any} body
 * @returns {string[]}
 */
export function conversationText(body) {
  const messages = member(body, 'messages', Array.isArray, 'an array of objects');
  if (messages === null) throw missing('messages');
  if (messages.length === 0) {
    throw invalid('empty_array', "Invalid 'messages': the array is empty.", 'messages');
  }
  return messages.map((/** @type {any} */ message, /** @type {number} */ i) =>
    messageText(message, `messages[${i}]`),
  );
}

/**
 * @param {any} message
 * @param {string} where
 * @returns {string}
 */
export function messageText(message, where) {
  if (!isObject(message)) throw wrongType(where, 'an object');
  const { role, content } = message;
  if (role === undefined || role === null) throw missing(`${where}.role`);
  if (!ROLES.includes(role)) {
    const supported = ROLES.map((name) => `'${name}'`).join(', ');
    const text = `Invalid value for '${where}.role'. Supported values are: ${supported}.`;
    throw invalid('invalid_value', text, `${where}.role`);
  }
  if (content === undefined || content === null) {
    if (role === 'assistant') return ''; // An assistant's turn may consist of tool calls only.
    throw missing(`${where}.content`);
  }
  return prose(content, `${where}.content`);
}
