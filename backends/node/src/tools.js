/**
 * Functions that a request lets the model call, in chats, Responses and Messages. The model is a willing one: it calls
 * whenever it may, unless a function's result was said last.
 */

import { cut, echo, invalid, isObject, isString, member, missing, split, wrongType } from './members.js';

/** @typedef {{name: string, arguments: string}} Call The arguments are a JSON object. */

/**
 * @param {string} prompt
 * @param {Call | null} call
 * @param {number | null} limit
 * @returns {{tokens: string[], reason: string}} the tokens of the echo, or of a call's arguments
 */
export function answer(prompt, call, limit) {
  if (call === null) return echo(prompt, limit);
  return cut(split(call.arguments), limit, 'tool_calls');
}

/**
 * @param {any} body
 * @param {string} prompt
 * @param {boolean} afterResult
 * @returns {Call | null} the function that `tool_choice` names, else the first, with the prompt as its argument
 */
export function pick(body, prompt, afterResult) {
  const tools = readTools(body);
  const choice = body.tool_choice ?? null;
  if (choice !== null && !isString(choice) && !isObject(choice)) {
    throw wrongType('tool_choice', 'a string or an object');
  }
  if (tools.size === 0 || afterResult || choice === 'none' || choice?.type === 'none') return null;
  const named = isObject(choice?.function) ? choice.function.name : choice?.name;
  const name = named ?? tools.keys().next().value;
  const argument = tools.get(name);
  if (argument === undefined) {
    const text = "Invalid value for 'tool_choice': one of the tools is needed.";
    throw invalid('invalid_value', text, 'tool_choice');
  }
  return { name, arguments: JSON.stringify(Object.fromEntries([[argument, prompt]])) };
}

/**
 * @param {any} body
 * @returns {Map<string, string>} the functions and the name of what each wants; searches and others pass
 */
function readTools(body) {
  const tools = new Map();
  const given = member(body, 'tools', Array.isArray, 'an array of objects') ?? [];
  given.forEach((/** @type {any} */ tool, /** @type {number} */ i) => {
    if (!isObject(tool)) throw wrongType(`tools[${i}]`, 'an object');
    if (![undefined, null, 'function', 'custom'].includes(tool.type)) return;
    const described = tool.function ?? tool;
    if (!isObject(described)) throw wrongType(`tools[${i}].function`, 'an object');
    const name = described.name ?? '';
    if (name === '') throw missing(`tools[${i}].name`);
    if (!isString(name)) throw wrongType(`tools[${i}].name`, 'a string');
    const required = (described.parameters ?? described.input_schema)?.required;
    const first = Array.isArray(required) ? required[0] : null;
    tools.set(name, isString(first) ? first : 'text');
  });
  return tools;
}
