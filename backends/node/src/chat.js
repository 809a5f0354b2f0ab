/** The part of OpenAI's chat request that this service understands; the rest is ignored. */

import { ApiError } from './reply.js';

const ROLES = ['developer', 'system', 'user', 'assistant', 'tool', 'function'];
const TOKEN = /[^ \t\r\n]+[ \t\r\n]*|[ \t\r\n]+/g; // A word with the space behind it.

/**
 * @typedef {object} Chat
 * @property {string} model
 * @property {string} prompt
 * @property {number} promptTokens
 * @property {number | null} maxTokens
 * @property {boolean} stream
 * @property {boolean} includeUsage
 */

/**
 * @param {string} text
 * @returns {string[]}
 */
export function split(text) {
  return text.match(TOKEN) ?? [];
}

/**
 * @param {Chat} chat
 * @returns {{tokens: string[], reason: string}} the answer and the reason why it ends
 */
export function answer(chat) {
  const tokens = split(`echo: ${chat.prompt}`);
  if (chat.maxTokens !== null && tokens.length > chat.maxTokens) {
    return { tokens: tokens.slice(0, chat.maxTokens), reason: 'length' };
  }
  return { tokens, reason: 'stop' };
}

/**
 * @param {any} body
 * @returns {Chat}
 */
export function parse(body) {
  if (!isObject(body)) {
    throw invalid('invalid_type', 'The request body must be a JSON object.', null);
  }
  const model = member(body, 'model', isString, 'a string');
  if (!model) throw missing('model');
  const messages = member(body, 'messages', Array.isArray, 'an array of objects');
  if (messages === null) throw missing('messages');
  if (messages.length === 0) {
    throw invalid('empty_array', "Invalid 'messages': the array is empty.", 'messages');
  }
  const texts = messages.map((/** @type {any} */ message, /** @type {number} */ i) =>
    textOf(message, `messages[${i}]`),
  );
  const asked = messages.findLastIndex((/** @type {any} */ message) => message.role === 'user');
  const { stream, includeUsage } = streaming(body);
  if ((body.n ?? 1) !== 1) {
    throw invalid('unsupported_value', "Unsupported value: 'n' must be 1.", 'n');
  }
  return {
    model,
    prompt: texts.at(asked),
    promptTokens: texts.flatMap(split).length,
    maxTokens: maxTokens(body),
    stream,
    includeUsage,
  };
}

/**
 * @param {any} message
 * @param {string} where
 * @returns {string}
 */
function textOf(message, where) {
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
  if (isString(content)) return content;
  if (!Array.isArray(content)) {
    throw wrongType(`${where}.content`, 'a string or an array of objects');
  }
  return content.map((part, i) => partOf(part, `${where}.content[${i}]`)).join('');
}

/**
 * @param {any} part
 * @param {string} where
 * @returns {string}
 */
function partOf(part, where) {
  if (!isObject(part) || !isString(part.type)) throw wrongType(where, 'an object with a type');
  if (part.type !== 'text') return '';
  if (!isString(part.text)) throw wrongType(`${where}.text`, 'a string');
  return part.text;
}

/** @param {any} body */
function streaming(body) {
  const stream = member(body, 'stream', isBoolean, 'a boolean') ?? false;
  const options = member(body, 'stream_options', isObject, 'an object');
  if (options === null) return { stream, includeUsage: false };
  if (!stream) {
    const text = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
    throw invalid('invalid_value', text, 'stream_options');
  }
  const include = options.include_usage ?? false;
  if (!isBoolean(include)) throw wrongType('stream_options.include_usage', 'a boolean');
  return { stream, includeUsage: include };
}

/**
 * @param {any} body
 * @returns {number | null}
 */
function maxTokens(body) {
  for (const name of ['max_completion_tokens', 'max_tokens']) {
    const value = member(body, name, Number.isInteger, 'an integer');
    if (value === null) continue;
    if (value < 1) {
      throw invalid('integer_below_min_value', `Invalid '${name}': must be at least 1.`, name);
    }
    return value;
  }
  return null;
}

/**
 * @param {any} body
 * @param {string} name
 * @param {(value: unknown) => boolean} wanted
 * @param {string} description
 * @returns {any} null when it is missing
 */
function member(body, name, wanted, description) {
  const value = body[name] ?? null;
  if (value !== null && !wanted(value)) throw wrongType(name, description);
  return value;
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
function isString(value) {
  return typeof value === 'string';
}

/** @param {unknown} value */
function isBoolean(value) {
  return typeof value === 'boolean';
}

/** @param {string} param */
function missing(param) {
  return invalid('missing_required_parameter', `Missing required parameter: '${param}'.`, param);
}

/**
 * @param {string} param
 * @param {string} wanted
 */
function wrongType(param, wanted) {
  return invalid('invalid_type', `Invalid type for '${param}': expected ${wanted}.`, param);
}

/**
 * @param {string} code
 * @param {string} message
 * @param {string | null} param
 */
function invalid(code, message, param) {
  return new ApiError(400, code, message, param);
}
