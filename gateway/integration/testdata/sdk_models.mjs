// sdk_models.mjs ORIGIN NODE_MODULES_OF: what users of OpenAI's SDK for Node do with three models behind one gateway. Prints a JSON
// list of what was done. Exit code 77: the SDK is not there.
import assert from 'node:assert/strict';
import https from 'node:https';
import { createRequire } from 'node:module';
import net from 'node:net';

const [origin, installed] = process.argv.slice(2);
const require = createRequire(`${installed}/package.json`);

function load(name) {
  try {
    return require(name);
  } catch (why) {
    if (why.code !== 'MODULE_NOT_FOUND') throw why;
    console.log(`${name} is not installed`);
    return process.exit(77);
  }
}

const OpenAI = load('openai').default;
const { OpenAIRealtimeWS } = load('openai/realtime/ws');

const client = new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
const CHATS = ['small', 'gpt-4o-mini', 'large'];
const said = (content) => [{ role: 'user', content }];
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const TOOL = { type: 'function', function: { name: 'weather', parameters } };

async function lists() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ['large', 'small', 'vectors']);
  assert.equal((await client.models.retrieve('gpt-4o-mini')).id, 'gpt-4o-mini');
}

async function chats() {
  for (const model of CHATS) {
    const asked = { model, messages: said(`to ${model}`) };
    const { data, response } = await client.chat.completions.create(asked).withResponse();
    assert.equal(data.choices[0].message.content, `echo: to ${model}`);
    assert.equal(response.headers.get('x-upstream-model'), model === 'large' ? null : 'org/small-8b');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      text += chunk.choices[0].delta.content ?? '';
    }
    assert.equal(text, `echo: to ${model}`);
    assert.equal((await client.responses.create({ model, input: 'hi' })).output_text, 'echo: hi');
  }
}

async function embeds() {
  for (const model of ['vectors', 'text-embedding-3-small']) {
    const { data } = await client.embeddings.create({ model, input: ['one', 'two', 'one'] });
    assert.equal(data[0].embedding.length, 256);
    assert.deepEqual(data[0].embedding, data[2].embedding);
    assert.notDeepEqual(data[0].embedding, data[1].embedding);
  }
}

async function tools() {
  for (const model of CHATS) {
    const run = client.chat.completions.stream({ model, messages: said('Ulm'), tools: [TOOL] });
    const { message, finish_reason } = (await run.finalChatCompletion()).choices[0];
    assert.equal(finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Ulm' });
  }
}

async function sounds() {
  const file = await OpenAI.toFile(Buffer.alloc(300_000), 'a.wav');
  // The SDK sends the members in their order: the file first.
  const heard = await client.audio.transcriptions.create({ file, model: 'gpt-4o-mini' });
  assert.equal(heard.text, 'echo: a.wav, 300000 bytes');
  const spoken = await client.audio.speech.create({ model: 'small', voice: 'alloy', input: 'hi', response_format: 'wav' });
  assert.equal(Buffer.from(await spoken.arrayBuffer()).toString('latin1', 0, 4), 'RIFF');
}

// The SDK speaks TLS only; below it, this agent does not.
const plain = Object.assign(new https.Agent(), { createConnection: ({ host, port }) => net.connect(port, host) });

async function converses() {
  for (const model of CHATS) {
    const session = new OpenAIRealtimeWS({ model, options: { agent: plain } }, client);
    const text = await new Promise((done, fail) => {
      let all = '';
      session.on('error', fail);
      session.on('session.created', () => {
        const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hi' }] };
        session.send({ type: 'conversation.item.create', item });
        session.send({ type: 'response.create' });
      });
      session.on('response.output_text.delta', ({ delta }) => (all += delta));
      session.on('response.done', () => done(all));
    });
    assert.equal(text, 'echo: hi');
    session.close();
  }
}

async function leaves() {
  const stream = await client.chat.completions.create({ model: 'large', messages: said('word '.repeat(500)), stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
}

async function unknown() {
  const asks = [
    () => client.chat.completions.create({ model: 'nobody', messages: said('hi') }),
    () => client.chat.completions.create({ model: 'nobody', messages: said('hi'), stream: true }),
    () => client.embeddings.create({ model: 'nobody', input: 'hi' }),
    () => client.responses.create({ model: 'nobody', input: 'hi' }),
    () => client.audio.speech.create({ model: 'nobody', voice: 'alloy', input: 'hi' }),
    () => client.models.retrieve('nobody'),
  ];
  for (const ask of asks) {
    await assert.rejects(ask(), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError, String(error));
      assert.deepEqual([error.status, error.code, error.type], [404, 'model_not_found', 'invalid_request_error']);
      assert.ok(error.requestID);
      return true;
    });
  }
  const bad = client.chat.completions.create({ model: 'small', messages: [] });
  await assert.rejects(bad, (error) => error instanceof OpenAI.BadRequestError && error.param === 'messages');
}

const done = [];
for (const what of [lists, chats, embeds, tools, sounds, converses, leaves, unknown]) {
  await what();
  done.push(what.name);
}
console.log(JSON.stringify(done));
