import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { post, serve } from './harness.js';

const SCHEMA = { type: 'object', required: ['city'] };
const CHAT = [
  { type: 'function', function: { name: 'weather', parameters: SCHEMA } },
  { type: 'function', function: { name: 'time' } },
];
const MESSAGES = [{ name: 'weather', input_schema: SCHEMA }];
const RESPONSES = [
  { type: 'web_search' },
  { type: 'function', name: 'weather', parameters: SCHEMA },
];
const SAID = [{ role: 'user', content: 'Ulm' }];

describe('tools', () => {
  /** @type {Awaited<ReturnType<typeof serve>>} */
  let service;
  before(async () => {
    service = await serve();
  });
  after(() => service.close());

  /** @type {(path: string, body: object) => Promise<globalThis.Response>} */
  const ask = (path, body) => post(service.url + path, { model: 'm', ...body });
  /** @type {(body?: object) => Promise<globalThis.Response>} */
  const chat = (body) => ask('/v1/chat/completions', { messages: SAID, tools: CHAT, ...body });
  /** @type {(answer: globalThis.Response) => Promise<any[]>} */
  const events = async (answer) =>
    (await answer.text())
      .split('\n')
      .filter((line) => line.startsWith('data: {'))
      .map((line) => JSON.parse(line.slice(6)));

  it('are called in a chat', async () => {
    const [choice] = (await (await chat()).json()).choices;
    assert.equal(choice.finish_reason, 'tool_calls');
    assert.equal(choice.message.content, null);
    const called = { name: 'weather', arguments: '{"city":"Ulm"}' };
    assert.deepEqual(choice.message.tool_calls[0].function, called);
  });

  it('are called in the stream of a chat', async () => {
    const tool_choice = { type: 'function', function: { name: 'time' } };
    const chunks = await events(await chat({ stream: true, tool_choice }));
    const deltas = chunks.map((chunk) => chunk.choices[0].delta);
    assert.deepEqual(deltas[0].tool_calls[0].function, { name: 'time', arguments: '' });
    const parts = deltas.slice(0, -1).map((delta) => delta.tool_calls[0].function.arguments);
    assert.equal(parts.join(''), '{"text":"Ulm"}');
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
  });

  for (const body of [
    { tool_choice: 'none' },
    { tools: [] },
    { tools: [{ type: 'web_search' }] },
    { messages: [...SAID, { role: 'assistant' }, { role: 'tool', content: 'Ulm' }] },
  ]) {
    it(`are not called for ${JSON.stringify(body)}`, async () => {
      const { message } = (await (await chat(body)).json()).choices[0];
      assert.equal(message.content, 'echo: Ulm');
      assert.equal(message.tool_calls, undefined);
    });
  }

  for (const [body, param] of /** @type {[object, string][]} */ ([
    [{ tool_choice: { function: { name: 'nobody' } } }, 'tool_choice'],
    [{ tool_choice: 7 }, 'tool_choice'],
    [{ tools: 'x' }, 'tools'],
    [{ tools: [7] }, 'tools[0]'],
    [{ tools: [{ type: 'function', function: 7 }] }, 'tools[0].function'],
    [{ tools: [{ type: 'function', function: {} }] }, 'tools[0].name'],
    [{ tools: [{ name: 7 }] }, 'tools[0].name'],
  ])) {
    it(`are refused as ${JSON.stringify(body)}`, async () => {
      const answer = await chat(body);
      assert.equal(answer.status, 400);
      assert.equal((await answer.json()).error.param, param);
    });
  }

  it('may be cut', async () => {
    const messages = [{ role: 'user', content: 'a b' }];
    const [choice] = (await (await chat({ messages, max_tokens: 1 })).json()).choices;
    assert.equal(choice.finish_reason, 'length');
    const answer = await ask('/v1/messages', { messages, tools: MESSAGES, max_tokens: 1 });
    const { content, stop_reason } = await answer.json();
    assert.deepEqual([content[0].input, stop_reason], [{}, 'max_tokens']);
  });

  it('are called in Messages', async () => {
    const asked = { messages: SAID, tools: MESSAGES, max_tokens: 99 };
    const answer = await (await ask('/v1/messages', asked)).json();
    assert.equal(answer.stop_reason, 'tool_use');
    const { type, name, input, id } = answer.content[0];
    assert.deepEqual({ type, name, input }, { type: 'tool_use', name: 'weather', input: { city: 'Ulm' } });
    const all = await events(await ask('/v1/messages', { ...asked, stream: true }));
    assert.equal(all[1].content_block.type, 'tool_use');
    const parts = all.filter((event) => event.type === 'content_block_delta');
    assert.equal(parts.map((event) => event.delta.partial_json).join(''), '{"city":"Ulm"}');
    for (const content of ['12 degrees', [{ type: 'text', text: '12 degrees' }]]) {
      const result = { type: 'tool_result', tool_use_id: id, content };
      const messages = [{ role: 'user', content: [result] }];
      const next = await (await ask('/v1/messages', { ...asked, messages })).json();
      assert.deepEqual(next.content, [{ type: 'text', text: 'echo: 12 degrees' }]);
    }
  });

  it('are called in Responses', async () => {
    const asked = { input: 'Ulm', tools: RESPONSES };
    const [item] = (await (await ask('/v1/responses', asked)).json()).output;
    assert.deepEqual([item.type, item.name, item.arguments], ['function_call', 'weather', '{"city":"Ulm"}']);
    const all = await events(await ask('/v1/responses', { ...asked, stream: true }));
    assert.deepEqual(all.map((event) => event.sequence_number), [...all.keys()]);
    assert.deepEqual(all.map((event) => event.type).slice(3), [
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    const output = { type: 'function_call_output', call_id: item.call_id, output: '12' };
    const input = [{ role: 'user', content: 'Ulm' }, item, output];
    const [said] = (await (await ask('/v1/responses', { ...asked, input })).json()).output;
    assert.equal(said.content[0].text, 'echo: Ulm');
  });
});
