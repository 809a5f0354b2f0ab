import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Vocabulary } from '../src/tokens.js';
import { getJson, post, serve } from './harness.js';

const SAID = [{ role: 'user', content: 'hello big world' }];
const RANK = { query: 'a b', documents: ['c', { text: 'A b' }, 'a'] };
const PAIRS = { text_1: 'a', text_2: ['a', 'b'] };
/** @type {Record<string, object>} */
const ASKED = {
  '/v1/chat/completions': { messages: SAID },
  '/v1/completions': { prompt: 'hello big world' },
  '/v1/embeddings': { input: 'hello big world' },
  '/v1/responses': { input: 'hello big world' },
  '/v1/messages': { messages: SAID, max_tokens: 9 },
  '/v1/messages/count_tokens': { messages: SAID },
  '/v1/rerank': RANK,
  '/rerank': RANK,
  '/v1/score': PAIRS,
  '/score': PAIRS,
  '/v1/audio/speech': { input: 'hello big world', voice: 'alloy' },
  '/tokenize': { prompt: 'a b a' },
  '/detokenize': { tokens: [] },
};
const AUDIO = ['/v1/audio/transcriptions', '/v1/audio/translations'];

/**
 * @param {string} url
 * @param {Record<string, string>} fields
 * @param {Blob | null} [file]
 */
function upload(url, fields, file = new Blob(['RIFF'])) {
  const form = new FormData();
  if (file) form.set('file', file, 'a.wav');
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  return fetch(url, { method: 'POST', body: form });
}

describe('models of every dialect', () => {
  for (const path of [...Object.keys(ASKED), ...AUDIO]) {
    it(path, async (t) => {
      const { url, close } = await serve({ MODELS: 'org/big,small' });
      t.after(close);
      /** @type {(model: string) => Promise<globalThis.Response>} */
      const ask = (model) =>
        AUDIO.includes(path)
          ? upload(url + path, { model })
          : post(url + path, { model, ...ASKED[path] });

      const [good, bad] = [await ask('org/big'), await ask('nope')];
      assert.equal(good.status, 200);
      if (path === '/v1/audio/speech') await good.arrayBuffer();
      else assert.equal((await good.json()).model ?? 'org/big', 'org/big');
      assert.equal(bad.status, 404);
      const refused = await bad.json();
      if (path.startsWith('/v1/messages')) {
        assert.deepEqual([refused.type, refused.error.type], ['error', 'not_found_error']);
      } else {
        assert.equal(refused.error.code, 'model_not_found');
      }
      const { dialects, executions } = await getJson(`${url}/stats`);
      assert.deepEqual([Object.values(dialects), executions], [[1], 1]);
    });
  }

  it('are listed', async (t) => {
    const { url, close } = await serve({ MODELS: 'org/big,small' });
    t.after(close);
    const { data } = await getJson(`${url}/v1/models`);
    assert.deepEqual(
      data.map((/** @type {any} */ model) => model.id),
      ['org/big', 'small'],
    );
    assert.deepEqual(await getJson(`${url}/v1/models/org/big`), data[0]);
    assert.deepEqual(await getJson(`${url}/v1/models/org%2Fbig`), data[0]);
    assert.equal((await fetch(`${url}/v1/models/echo-node`)).status, 404);
    assert.equal((await post(`${url}/tokenize`, { prompt: 'a' })).status, 200);
  });
});

describe('dialects', () => {
  /** @type {string} */
  let url;
  /** @type {() => void} */
  let close;
  before(async () => {
    ({ url, close } = await serve());
  });
  after(() => close());

  /**
   * @param {string} path
   * @param {object} body
   */
  const json = async (path, body) => (await post(url + path, { model: 'm', ...body })).json();

  /**
   * @param {string} path
   * @param {object} body
   */
  const events = async (path, body) => {
    const answer = await post(url + path, { model: 'm', stream: true, ...body });
    assert.equal(answer.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    const all = (await answer.text()).split('\n\n');
    assert.equal(all.pop(), '');
    return all.map((event) => {
      const [name, data] = event.split('\n');
      const value = JSON.parse(data.slice('data: '.length));
      assert.equal(name, `event: ${value.type}`);
      return value;
    });
  };

  it('completions', async () => {
    const asked = { prompt: 'hello big world', max_tokens: 2 };
    const answer = await json('/v1/completions', asked);
    assert.equal(answer.choices[0].text, 'echo: hello ');
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.equal(answer.usage.total_tokens, 5);
    const stream = { model: 'm', stream: true, stream_options: { include_usage: true }, ...asked };
    const all = (await (await post(`${url}/v1/completions`, stream)).text()).split('\n\n');
    assert.deepEqual(all.splice(-2), ['data: [DONE]', '']);
    const chunks = all.map((event) => JSON.parse(event.slice('data: '.length)));
    assert.deepEqual(chunks.pop().usage, answer.usage);
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), 'echo: hello ');
  });

  it('embeddings', async () => {
    /** @type {(input: unknown, more?: object) => Promise<any[]>} */
    const vectors = async (input, more = {}) =>
      (await json('/v1/embeddings', { input, ...more })).data.map(
        (/** @type {any} */ one) => one.embedding,
      );
    const [one] = await vectors('one');
    assert.equal(one.length, 256);
    const square = one.reduce((/** @type {number} */ sum, /** @type {number} */ x) => sum + x * x, 0);
    assert.ok(Math.abs(square - 1) < 1e-5);
    assert.deepEqual((await vectors(['two', 'one']))[1], one);
    assert.notDeepEqual((await vectors(['two', 'one']))[0], one);
    assert.equal((await vectors([1, 2, 3])).length, 1);
    assert.equal((await vectors([[1, 2], [3]])).length, 2);
    const packed = Buffer.from((await vectors('one', { encoding_format: 'base64' }))[0], 'base64');
    assert.deepEqual(
      one.map((/** @type {number} */ _, /** @type {number} */ i) => packed.readFloatLE(4 * i)),
      one,
    );
    assert.equal((await vectors('one', { dimensions: 3 }))[0].length, 3);
  });

  it('responses', async () => {
    const asked = {
      instructions: 'be kind',
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'hi there' }] },
        { type: 'function_call_output', call_id: '1', output: '7' },
      ],
    };
    const answer = await json('/v1/responses', asked);
    assert.equal(answer.status, 'completed');
    assert.equal(answer.output[0].content[0].text, 'echo: hi there');
    assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [4, 3]);
    const cut = await json('/v1/responses', { ...asked, max_output_tokens: 1 });
    assert.deepEqual(cut.incomplete_details, { reason: 'max_output_tokens' });
    const all = await events('/v1/responses', asked);
    assert.deepEqual(
      all.map((event) => event.type.slice('response.'.length)),
      [
        'created',
        'in_progress',
        'output_item.added',
        'content_part.added',
        ...Array(3).fill('output_text.delta'),
        'output_text.done',
        'content_part.done',
        'output_item.done',
        'completed',
      ],
    );
    assert.ok(all.every((event, i) => event.sequence_number === i));
    assert.deepEqual(all.at(-1).response.usage, answer.usage);
  });

  it('messages', async () => {
    const asked = { max_tokens: 3, system: 'be kind', messages: SAID };
    const answer = await json('/v1/messages', asked);
    assert.deepEqual(answer.content, [{ type: 'text', text: 'echo: hello big ' }]);
    assert.equal(answer.stop_reason, 'max_tokens');
    assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [5, 3]);
    const all = await events('/v1/messages', asked);
    assert.deepEqual(
      all.map((event) => event.type),
      [
        'message_start',
        'content_block_start',
        'ping',
        ...Array(3).fill('content_block_delta'),
        'content_block_stop',
        'message_delta',
        'message_stop',
      ],
    );
    assert.equal(all[0].message.usage.input_tokens, 5);
    assert.equal(all.at(-2).usage.output_tokens, 3);
    const counted = await json('/v1/messages/count_tokens', { messages: SAID });
    assert.deepEqual(counted, { input_tokens: 3 });
  });

  for (const [change, status, type] of /** @type {const} */ ([
    [{ max_tokens: null }, 400, 'invalid_request_error'],
    [{ messages: [] }, 400, 'invalid_request_error'],
    [{ system: 1 }, 400, 'invalid_request_error'],
    [{ metadata: 'x'.repeat(1 << 20) }, 413, 'request_too_large'],
  ])) {
    it(`messages refuses ${JSON.stringify(change).slice(0, 40)}`, async () => {
      const asked = { model: 'm', max_tokens: 3, messages: SAID, ...change };
      const answer = await post(`${url}/v1/messages`, asked);
      const body = await answer.json();
      assert.equal(answer.status, status);
      assert.deepEqual(body, { type: 'error', error: { type, message: body.error.message } });
    });
  }

  it('rerank and score', async () => {
    const ranked = await json('/v1/rerank', { ...RANK, top_n: 2 });
    assert.deepEqual(
      ranked.results.map((/** @type {any} */ result) => result.index),
      [1, 2],
    );
    assert.deepEqual(ranked.results[0].document, { text: 'A b' });
    assert.ok(Math.abs(ranked.results[0].relevance_score - 1) < 1e-9);
    assert.equal(ranked.usage.total_tokens, 10);
    const scored = await json('/score', PAIRS);
    assert.deepEqual(
      scored.data.map((/** @type {any} */ one) => one.score),
      [1, 0],
    );
  });

  it('audio', async () => {
    /** @type {(fields?: Record<string, string>) => Promise<globalThis.Response>} */
    const ask = (fields = {}) => upload(url + AUDIO[0], { model: 'm', ...fields });
    const answer = await (await ask()).json();
    assert.equal(answer.text, 'echo: a.wav, 4 bytes');
    assert.equal(answer.usage.total_tokens, 5);
    const text = await ask({ response_format: 'text' });
    assert.equal(await text.text(), 'echo: a.wav, 4 bytes\n');
    assert.equal(text.headers.get('content-type'), 'text/plain; charset=utf-8');
    assert.equal((await (await ask({ response_format: 'verbose_json' })).json()).task, 'transcribe');
    assert.match(await (await ask({ response_format: 'vtt' })).text(), /^WEBVTT/);
    const all = (await (await ask({ stream: 'true' })).text()).split('\n\n');
    assert.deepEqual(all.splice(-2), ['data: [DONE]', '']);
    assert.equal(JSON.parse(all.at(-1).slice('data: '.length)).text, 'echo: a.wav, 4 bytes');
  });

  it('refuses broken forms', async () => {
    const path = url + AUDIO[0];
    const large = new Blob([Buffer.alloc((25 << 20) + 1)]);
    for (const [asked, status, code] of /** @type {const} */ ([
      [post(path, {}), 400, 'invalid_form'],
      [post(path, 'x', { 'Content-Type': 'multipart/form-data; boundary=b' }), 400, 'invalid_form'],
      [post(path, 'x', { 'Content-Type': 'multipart/form-data' }), 400, 'invalid_form'],
      [upload(path, { model: 'm' }, null), 400, 'missing_required_parameter'],
      [upload(path, {}), 400, 'missing_required_parameter'],
      [upload(path, { model: 'm', response_format: 'mp3' }), 400, 'invalid_type'],
      [upload(path, { model: 'm' }, large), 413, 'body_too_large'],
      [post(`${url}/v1/audio/nothing`, {}), 404, 'not_found'],
    ])) {
      const answer = await asked;
      assert.deepEqual([answer.status, (await answer.json()).error.code], [status, code]);
    }
  });

  it('tokenize and detokenize', async () => {
    const text = 'hello  big, big world';
    const { count, tokens } = await json('/tokenize', { prompt: text });
    assert.deepEqual([count, tokens.length], [4, 4]);
    assert.equal((await json('/detokenize', { tokens })).prompt, text);
    assert.equal((await json('/tokenize', { messages: SAID })).count, 3);
    for (const [path, body] of /** @type {const} */ ([
      ['/detokenize', { tokens: [99] }],
      ['/detokenize', { tokens: ['a'] }],
      ['/tokenize', {}],
    ])) {
      assert.equal((await post(url + path, body)).status, 400);
    }
  });

  it('has the doors of an engine', async () => {
    for (const path of ['/health', '/ping']) {
      const answer = await fetch(url + path);
      assert.deepEqual([answer.status, await answer.text()], [200, '']);
    }
    assert.ok('version' in (await getJson(`${url}/version`)));
  });
});

it('the vocabulary forgets', () => {
  const words = new Vocabulary();
  for (let i = 0; i <= 1 << 16; i++) words.number(`w${i}`);
  assert.equal(words.join([0]), undefined);
  assert.equal(words.join([1, 1 << 16]), 'w1w65536');
  assert.equal(words.number('w0'), (1 << 16) + 1);
});
