/** `/v1/audio/transcriptions` and translations: forms with a file, to which nobody listens. */

import { Router } from 'express';

import { read } from './body.js';
import { echo, invalid, isString, missing, wrongType } from './members.js';
import { allowOnly } from './reply.js';
import { data } from './service.js';

const LIMIT = 25 << 20; // OpenAI's
const FORMATS = ['json', 'text', 'srt', 'verbose_json', 'vtt'];

/** @typedef {{name: string, size: number, model: string, format: string, stream: boolean}} Upload */

/** @param {import('./service.js').Service} service */
export function audioRoutes(service) {
  const router = Router({ caseSensitive: true, strict: true });
  for (const task of ['transcriptions', 'translations']) {
    router
      .route(`/v1/audio/${task}`)
      .post(async (req, res) => {
        const upload = await readUpload(req);
        const model = service.resolve(upload.model);
        const { tokens } = echo(`${upload.name}, ${upload.size} bytes`, null);
        const text = tokens.join('');
        const usage = usageOf(upload.size, tokens.length);
        const verb = task === 'transcriptions' ? 'transcribe' : 'translate';
        const about = { language: 'english', duration: 1, segments: [] };
        const written = {
          text: `${text}\n`,
          srt: `1\n00:00:00,000 --> 00:00:01,000\n${text}\n\n`,
          vtt: `WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n${text}\n\n`,
        };
        const whole = {
          json: { text, usage },
          verbose_json: { ...about, task: verb, text, model, usage },
          ...written,
        };
        await service.answer(req, res, {
          dialect: task,
          whole: () => /** @type {any} */ (whole)[upload.format],
          events:
            upload.stream &&
            service.paced({
              opening: [],
              tokens: tokens.map((delta) => data({ type: 'transcript.text.delta', delta })),
              closing: [data({ type: 'transcript.text.done', text, usage }), 'data: [DONE]\n\n'],
            }),
        });
      })
      .all(allowOnly('POST'));
  }
  return router;
}

/**
 * @param {number} bytes
 * @param {number} output
 */
function usageOf(bytes, output) {
  const heard = Math.floor(bytes / 1000) + 1;
  return {
    type: 'tokens',
    input_tokens: heard,
    input_token_details: { audio_tokens: heard, text_tokens: 0 },
    output_tokens: output,
    total_tokens: heard + output,
  };
}

/**
 * @param {import('express').Request} req
 * @returns {Promise<Upload>}
 */
async function readUpload(req) {
  const form = await readForm(req);
  const file = form.get('file');
  if (file === null || isString(file)) throw missing('file');
  const model = form.get('model');
  if (!isString(model) || model === '') throw missing('model');
  const format = String(form.get('response_format') ?? 'json');
  if (!FORMATS.includes(format)) throw wrongType('response_format', FORMATS.join(', '));
  const stream = String(form.get('stream') ?? '').toLowerCase();
  if (!['', '0', '1', 'false', 'true'].includes(stream)) throw wrongType('stream', 'a boolean');
  const { name, size } = /** @type {File} */ (file);
  return { name, size, model: String(model), format, stream: ['1', 'true'].includes(stream) };
}

/**
 * @param {import('express').Request} req
 * @returns {Promise<FormData>}
 */
async function readForm(req) {
  const kind = req.get('content-type') ?? '';
  if (!kind.startsWith('multipart/form-data')) {
    throw invalid('invalid_form', 'The body must be multipart/form-data.', null);
  }
  const body = await read(req, LIMIT);
  try {
    return await new Response(body, { headers: { 'Content-Type': kind } }).formData();
  } catch {
    throw invalid('invalid_form', 'The form is malformed.', null);
  }
}
