/** What an operator may set, all of it from the environment. */

const LONGEST_MS = 600_000;
const LONGEST_NAME = 256;

/** @typedef {{lowMs: number, highMs: number}} Latency A span; each piece of work draws its own length. */

/**
 * @typedef {object} Settings
 * @property {string} host
 * @property {number} port
 * @property {Latency} inferLatency
 * @property {Latency} tokenLatency
 * @property {number} shutdownGraceSeconds
 * @property {boolean} accessLog
 * @property {string[]} models
 */

/** Every bad value of the environment, one line each. */
export class BadSettings extends Error {}

/**
 * Reads the settings. An empty variable counts as unset; all faults are reported together.
 *
 * @param {Record<string, string | undefined>} env
 * @returns {Settings}
 */
export function load(env) {
  /** @type {string[]} */
  const faults = [];

  /** @type {<T>(name: string, fallback: string, parse: (text: string) => T | undefined, wanted: string) => T} */
  const read = (name, fallback, parse, wanted) => {
    const text = env[name] || fallback;
    const value = parse(text);
    if (value === undefined) faults.push(`${name}=${JSON.stringify(text)}: must be ${wanted}`);
    return /** @type {any} */ (value);
  };
  /** @type {(name: string, fallback: number, highest: number) => number} */
  const integer = (name, fallback, highest) =>
    read(name, String(fallback), whole(highest), `a whole number from 0 to ${highest}`);
  /** @type {(name: string, fallback: string) => Latency} */
  const latency = (name, fallback) =>
    read(name, fallback, span, 'milliseconds such as "30-50" or "0"');

  const settings = {
    host: env.HOST || '0.0.0.0',
    port: integer('PORT', 8002, 65535),
    inferLatency: latency('INFER_LATENCY_MS', '30-50'),
    tokenLatency: latency('TOKEN_LATENCY_MS', '5'),
    shutdownGraceSeconds: integer('SHUTDOWN_GRACE_SECONDS', 30, 3600),
    accessLog: read('ACCESS_LOG', 'true', yesOrNo, 'true or false'),
    models: read('MODELS', '', names, 'different names with commas between them'),
  };
  if (faults.length > 0) throw new BadSettings(faults.join('\n'));
  return settings;
}

/**
 * @param {Latency} latency
 * @returns {number} milliseconds
 */
export function draw({ lowMs, highMs }) {
  return lowMs + Math.random() * (highMs - lowMs);
}

/**
 * @param {number} highest
 * @returns {(text: string) => number | undefined}
 */
function whole(highest) {
  return (text) => {
    const digits = text.trim();
    return /^\d{1,9}$/.test(digits) && Number(digits) <= highest ? Number(digits) : undefined;
  };
}

/**
 * @param {string} text
 * @returns {Latency | undefined}
 */
function span(text) {
  const ends = text.split('-').map(whole(LONGEST_MS));
  const [low, high] = [ends[0], ends.at(-1)];
  if (ends.length > 2 || low === undefined || high === undefined || low > high) return undefined;
  return { lowMs: low, highMs: high };
}

/**
 * @param {string} text
 * @returns {string[] | undefined}
 */
function names(text) {
  if (text === '') return [];
  const all = text.split(',').map((name) => name.trim());
  const good = all.every((name) => name !== '' && name.length <= LONGEST_NAME);
  return good && new Set(all).size === all.length ? all : undefined;
}

/**
 * @param {string} text
 * @returns {boolean | undefined}
 */
function yesOrNo(text) {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  return /^(false|0|no|off)$/i.test(text) ? false : undefined;
}
