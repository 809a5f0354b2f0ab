import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { getJson, post, serve } from './harness.js';

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'hello big world' }] };

describe('/v1', () => {
  /** @type {string} */
  let url;
  /** @type {string} */
  let completions;
  /** @type {() => void} */
  let close;
  before(async () => {
    ({ url, close } = await serve());
    completions = `${url}/v1/chat/completions`;
  });
  after(() => close());

  /** @param {object} body */
  const stream = async (body) => {
    const answer = await post(completions, body);
    assert.equal(answer.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    const events = (await answer.text()).split('\n\n');
    assert.deepEqual(events.splice(-2), ['data: [DONE]', '']);
    assert.ok(events.every((event) => event.startsWith('data: ')));
    return events.map((event) => JSON.parse(event.slice('data: '.length)));
  };

  it('lists its model', async () => {
    const listed = await getJson(`${url}/v1/models`);
    assert.equal(listed.object, 'list');
    assert.deepEqual(
      listed.data.map((/** @type {any} */ model) => model.id),
      ['echo-node'],
    );
    assert.deepEqual(await getJson(`${url}/v1/models/echo-node`), listed.data[0]);
    const answer = await fetch(`${url}/v1/models/other`);
    assert.equal(answer.status, 404);
    assert.equal((await answer.json()).error.code, 'model_not_found');
  });

  it('completes as a whole', async () => {
    const answer = await (await post(completions, CHAT)).json();
    assert.match(answer.id, /^chatcmpl-/);
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.model, 'm');
    const [choice] = answer.choices;
    assert.equal(choice.message.role, 'assistant');
    assert.equal(choice.message.content, 'echo: hello big world');
    assert.equal(choice.finish_reason, 'stop');
    const { prompt_tokens: prompt, completion_tokens: completion } = answer.usage;
    assert.deepEqual([prompt, completion, answer.usage.total_tokens], [3, 4, 7]);
  });

  for (const name of ['max_tokens', 'max_completion_tokens']) {
    it(`obeys ${name}`, async () => {
      const answer = await (await post(completions, { ...CHAT, [name]: 2 })).json();
      assert.equal(answer.choices[0].message.content, 'echo: hello ');
      assert.equal(answer.choices[0].finish_reason, 'length');
      assert.equal(answer.usage.completion_tokens, 2);
    });
  }

  it('echoes the last user message', async () => {
    const messages = [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'first' },
      { role: 'assistant', content: null },
      { role: 'user', content: [{ type: 'text', text: 'sec' }, { type: 'image_url' }] },
      { role: 'assistant', content: 'later' },
    ];
    const answer = await (await post(completions, { model: 'm', messages })).json();
    assert.equal(answer.choices[0].message.content, 'echo: sec');
  });

  it('streams', async () => {
    const chunks = await stream({ ...CHAT, stream: true });
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    assert.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk'));
    assert.ok(chunks.every((chunk) => !('usage' in chunk)));
    const choices = chunks.map((chunk) => chunk.choices[0]);
    assert.equal(choices[0].delta.role, 'assistant');
    const text = choices.map((choice) => choice.delta.content ?? '').join('');
    assert.equal(text, 'echo: hello big world');
    assert.equal(choices.pop().finish_reason, 'stop');
    assert.ok(choices.every((choice) => choice.finish_reason === null));
  });

  it('streams with usage', async () => {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await stream({ ...CHAT, ...options });
    const last = chunks.pop();
    assert.ok(chunks.every((chunk) => chunk.usage === null));
    assert.deepEqual(last.choices, []);
    assert.equal(last.usage.total_tokens, 7);
  });

  for (const [change, param, code] of /** @type {const} */ ([
    [{ model: null }, 'model', 'missing_required_parameter'],
    [{ model: 1 }, 'model', 'invalid_type'],
    [{ messages: null }, 'messages', 'missing_required_parameter'],
    [{ messages: 'hi' }, 'messages', 'invalid_type'],
    [{ messages: [] }, 'messages', 'empty_array'],
    [{ messages: ['hi'] }, 'messages[0]', 'invalid_type'],
    [{ messages: [{}] }, 'messages[0].role', 'missing_required_parameter'],
    [{ messages: [{ role: 'cook' }] }, 'messages[0].role', 'invalid_value'],
    [{ messages: [{ role: 'user' }] }, 'messages[0].content', 'missing_required_parameter'],
    [{ messages: [{ role: 'user', content: 1 }] }, 'messages[0].content', 'invalid_type'],
    [{ messages: [{ role: 'user', content: [1] }] }, 'messages[0].content[0]', 'invalid_type'],
    [
      { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
      'messages[0].content[0].text',
      'invalid_type',
    ],
    [{ stream: 'yes' }, 'stream', 'invalid_type'],
    [{ stream_options: {} }, 'stream_options', 'invalid_value'],
    [
      { stream: true, stream_options: { include_usage: 1 } },
      'stream_options.include_usage',
      'invalid_type',
    ],
    [{ max_tokens: 0 }, 'max_tokens', 'integer_below_min_value'],
    [{ max_tokens: true }, 'max_tokens', 'invalid_type'],
    [{ n: 2 }, 'n', 'unsupported_value'],
  ])) {
    it(`refuses ${JSON.stringify(change)}`, async () => {
      const answer = await post(completions, { ...CHAT, ...change });
      const { error } = await answer.json();
      assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
      assert.deepEqual([answer.status, error.param, error.code], [400, param, code]);
    });
  }

  it('has errors of the same shape before a request is understood', async () => {
    for (const [asked, status, code] of /** @type {const} */ ([
      [post(completions, '{'), 400, 'invalid_json'],
      [post(completions, []), 400, 'invalid_type'],
      [post(completions, `${' '.repeat(1 << 20)}{}`), 413, 'body_too_large'],
      [fetch(`${url}/v1/nope`), 404, 'not_found'],
      [fetch(completions), 405, 'method_not_allowed'],
      [fetch(`${url}/v1/models/%zz`), 400, 'bad_request'],
    ])) {
      const answer = await asked;
      const { error } = await answer.json();
      assert.deepEqual([answer.status, error.code, error.param], [status, code, null]);
    }
  });
});
