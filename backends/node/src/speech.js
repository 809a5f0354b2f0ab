/** `/v1/audio/speech`: noise that depends on the text alone. */

import { createHash } from 'node:crypto';

import { Router } from 'express';

import { readJson } from './body.js';
import { echo, invalid, isString, member, missing, readModel, split, wrongType } from './members.js';
import { allowOnly } from './reply.js';
import { data } from './service.js';

/** Only wav and pcm are what they say; in the others nobody will find a sound. */
const KINDS = new Map([
  ['mp3', 'audio/mpeg'],
  ['opus', 'audio/ogg'],
  ['aac', 'audio/aac'],
  ['flac', 'audio/flac'],
  ['wav', 'audio/wav'],
  ['pcm', 'audio/pcm'],
]);
const LONGEST = 4096; // Characters; OpenAI's limit.
const RATE = 24_000; // Samples a second, of 16 bits, one channel.
const REPEAT = 30; // Times 32 bytes: 20 ms a token.
const WAV_HEAD = 44;

/** @param {import('./service.js').Service} service */
export function speechRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  router
    .route('/v1/audio/speech')
    .post(async (req, res) => {
      const body = await readJson(req);
      const model = readModel(body);
      const text = textOf(body);
      const format = oneOf(body, 'response_format', [...KINDS.keys()]) ?? 'mp3';
      const events = oneOf(body, 'stream_format', ['audio', 'sse']) === 'sse';
      service.resolve(model);
      const { tokens } = echo(text, null);
      const heard = split(text).length;
      const usage = {
        input_tokens: heard,
        output_tokens: tokens.length,
        total_tokens: heard + tokens.length,
      };
      await service.answer(req, res, {
        dialect: 'speech',
        whole: () => ({ kind: KINDS.get(format), bytes: sound(tokens, format) }),
        events:
          events &&
          service.paced({
            opening: [],
            tokens: tokens.map((token) =>
              data({ type: 'speech.audio.delta', audio: noise(token).toString('base64') }),
            ),
            closing: [data({ type: 'speech.audio.done', usage })],
          }),
      });
    })
    .all(allowOnly('POST'));
  return router;
}

/** @param {any} body */
function textOf(body) {
  const text = member(body, 'input', isString, 'a string') ?? '';
  if (text === '') throw missing('input');
  if ([...text].length > LONGEST) {
    throw invalid('invalid_value', "Invalid 'input': at most 4096 characters.", 'input');
  }
  // A name, or an object with an id.
  if ((body.voice ?? null) === null) throw missing('voice');
  return text;
}

/**
 * @param {any} body
 * @param {string} name
 * @param {string[]} known
 * @returns {string | null}
 */
function oneOf(body, name, known) {
  const value = member(body, name, isString, 'a string');
  if (value !== null && !known.includes(value)) throw wrongType(name, known.join(', '));
  return value;
}

/** @param {string} token */
function noise(token) {
  const sum = createHash('sha256').update(token).digest();
  return Buffer.concat(Array(REPEAT).fill(sum));
}

/**
 * @param {string[]} tokens
 * @param {string} format
 */
function sound(tokens, format) {
  const samples = Buffer.concat(tokens.map(noise));
  if (format !== 'wav') return samples;
  const head = Buffer.alloc(WAV_HEAD);
  head.write('RIFF', 0);
  head.writeUInt32LE(WAV_HEAD - 8 + samples.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(RATE, 24);
  head.writeUInt32LE(2 * RATE, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.length, 40);
  return Buffer.concat([head, samples]);
}
