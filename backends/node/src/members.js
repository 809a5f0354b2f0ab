/** What the requests of all dialects have in common: members of a JSON object, read with care. */

import { ApiError } from './reply.js';

// A word with the space behind it, 32 characters at most.
const TOKEN = /[^ \t\r\n]{1,16}[ \t\r\n]{0,16}|[ \t\r\n]{1,16}/gu;

/**
 * @param {string} text
 * @returns {string[]}
 */
export function split(text) {
  return text.match(TOKEN) ?? [];
}

/**
 * @param {string} prompt
 * @param {number | null} limit
 * @returns {{tokens: string[], reason: string}} the answer and the reason why it ends
 */
export function echo(prompt, limit) {
  return cut(split(`echo: ${prompt}`), limit, 'stop');
}

/**
 * @param {string[]} tokens
 * @param {number | null} limit
 * @param {string} reason
 */
export function cut(tokens, limit, reason) {
  if (limit !== null && tokens.length > limit) {
    return { tokens: tokens.slice(0, limit), reason: 'length' };
  }
  return { tokens, reason };
}

/** @param {any} body */
export function readObject(body) {
  if (!isObject(body)) {
    throw invalid('invalid_type', 'The request body must be a JSON object.', null);
  }
  return body;
}

/**
 * @param {any} body
 * @returns {string}
 */
export function readModel(body) {
  const model = member(readObject(body), 'model', isString, 'a string');
  if (!model) throw missing('model');
  return model;
}

/** @param {any} body */
export function oneChoice(body) {
  if ((body.n ?? 1) !== 1) {
    throw invalid('unsupported_value', "Unsupported value: 'n' must be 1.", 'n');
  }
}

/** @typedef {{text: string, tokens: number}} Input */

/**
 * Texts and their tokens: a string, strings, token numbers, or arrays of those. Numbers are taken as text, which is
 * enough to tell them apart.
 *
 * @param {any} body
 * @param {string} name
 * @returns {Input[]}
 */
export function inputs(body, name) {
  const value = body[name] ?? null;
  if (value === null) throw missing(name);
  const one = inputOf(value);
  if (one) return [one];
  const several = Array.isArray(value) ? value.map(inputOf) : [];
  const found = several.filter((input) => input !== null);
  if (found.length === 0 || found.length < several.length) {
    const wanted = 'a string, an array of strings or an array of token numbers, not empty';
    throw wrongType(name, wanted);
  }
  return found;
}

/**
 * @param {any} value
 * @returns {Input | null}
 */
function inputOf(value) {
  if (isString(value) && value !== '') return { text: value, tokens: split(value).length };
  if (Array.isArray(value) && value.length > 0 && value.every(Number.isInteger)) {
    return { text: `[${value.join(', ')}]`, tokens: value.length };
  }
  return null;
}

/**
 * A string, or an array of parts of which those with text count.
 *
 * @param {any} content
 * @param {string} where
 * @returns {string}
 */
export function prose(content, where) {
  if (isString(content)) return content;
  if (!Array.isArray(content)) throw wrongType(where, 'a string or an array of objects');
  return content.map((part, i) => partOf(part, `${where}[${i}]`)).join('');
}

/**
 * @param {any} part
 * @param {string} where
 * @returns {string}
 */
function partOf(part, where) {
  if (!isObject(part) || !isString(part.type)) throw wrongType(where, 'an object with a type');
  if (part.type === 'tool_result') return resultText(part.content);
  if (!['text', 'input_text', 'output_text'].includes(part.type)) return '';
  if (!isString(part.text)) throw wrongType(`${where}.text`, 'a string');
  return part.text;
}

/**
 * @param {any} content
 * @returns {string} what a function gave back: a string, or the text of its parts
 */
function resultText(content) {
  if (isString(content)) return content;
  const parts = Array.isArray(content) ? content : [];
  return parts.map((part) => part?.text).filter(isString).join('');
}

/** @param {any} body */
export function streaming(body) {
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
 * @param {...string} names
 * @returns {number | null}
 */
export function maxTokens(body, ...names) {
  for (const name of names) {
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
export function member(body, name, wanted, description) {
  const value = body[name] ?? null;
  if (value !== null && !wanted(value)) throw wrongType(name, description);
  return value;
}

/** @param {unknown} value */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
export function isString(value) {
  return typeof value === 'string';
}

/** @param {unknown} value */
export function isBoolean(value) {
  return typeof value === 'boolean';
}

/** @param {string} param */
export function missing(param) {
  return invalid('missing_required_parameter', `Missing required parameter: '${param}'.`, param);
}

/**
 * @param {string} param
 * @param {string} wanted
 */
export function wrongType(param, wanted) {
  return invalid('invalid_type', `Invalid type for '${param}': expected ${wanted}.`, param);
}

/**
 * @param {string} code
 * @param {string} message
 * @param {string | null} param
 */
export function invalid(code, message, param) {
  return new ApiError(400, code, message, param);
}
