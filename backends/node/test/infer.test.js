import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { LIMIT } from '../src/body.js';
import { getJson, post, serve } from './harness.js';

describe('/infer', () => {
  /** @type {string} */
  let url;
  /** @type {() => void} */
  let close;
  before(async () => {
    ({ url, close } = await serve());
  });
  after(() => close());

  it('answers /healthz', async () => {
    assert.deepEqual(await getJson(`${url}/healthz`), { ok: true, service: 'node' });
    assert.equal((await fetch(`${url}/healthz`, { method: 'HEAD' })).status, 200);
  });

  it('echoes a POST', async () => {
    const answer = await post(`${url}/infer`, { prompt: 'hello' });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json');
    const { latency_ms: latency, ...rest } = await answer.json();
    assert.ok(Number.isInteger(latency) && latency >= 0);
    assert.deepEqual(rest, { result: 'echo: hello', model: 'echo-node' });
  });

  it('echoes a GET', async () => {
    const answer = await fetch(`${url}/infer?prompt=gr%C3%BC%C3%9Fe+%26+co`);
    assert.equal((await answer.json()).result, 'echo: grüße & co');
    for (const name of ['cache-control', 'etag', 'x-powered-by']) {
      assert.equal(answer.headers.get(name), null);
    }
    assert.equal((await fetch(`${url}/infer?prompt=x`, { method: 'HEAD' })).status, 200);
  });

  it('keeps a lone surrogate', async () => {
    const answer = await post(`${url}/infer`, '{"prompt":"\\ud800"}');
    assert.match(await answer.text(), /"echo: \\ud800"/);
  });

  for (const [body, status, code] of /** @type {const} */ ([
    ['{}', 422, 'missing_prompt'],
    ['{"prompt":null}', 422, 'missing_prompt'],
    ['{"prompt":""}', 422, 'empty_prompt'],
    ['{"prompt":7}', 422, 'invalid_prompt'],
    ['{"prompt":["a"]}', 422, 'invalid_prompt'],
    ['["prompt"]', 422, 'invalid_body'],
    ['"prompt"', 422, 'invalid_body'],
    ['null', 422, 'invalid_body'],
    ['', 400, 'invalid_json'],
    ['{prompt}', 400, 'invalid_json'],
    ['{"prompt":NaN}', 400, 'invalid_json'],
    [Buffer.from('{"prompt":"\xff"}', 'latin1'), 400, 'invalid_json'],
    [Buffer.from('\ufeff{"prompt":"a"}'), 400, 'invalid_json'],
    ['['.repeat(100_000), 400, 'invalid_json'],
  ])) {
    it(`refuses ${String(body).slice(0, 20)} with ${status} ${code}`, async () => {
      await assertError(await post(`${url}/infer`, body), status, code);
    });
  }

  it('refuses a missing and an empty prompt in a query', async () => {
    await assertError(await fetch(`${url}/infer`), 422, 'missing_prompt');
    await assertError(await fetch(`${url}/infer?prompt=`), 422, 'empty_prompt');
  });

  it('takes a body up to the limit and no more', async () => {
    const fits = `{"prompt":"${'a'.repeat(LIMIT - '{"prompt":""}'.length)}"}`;
    assert.equal((await post(`${url}/infer`, fits)).status, 200);
    await assertError(await post(`${url}/infer`, `${fits} `), 413, 'body_too_large');
    const parts = new Blob([fits, ' ']).stream();
    const chunked = { method: 'POST', body: parts, duplex: /** @type {const} */ ('half') };
    await assertError(await fetch(`${url}/infer`, chunked), 413, 'body_too_large');
  });

  it('knows neither other routes nor other methods', async () => {
    await assertError(await fetch(`${url}/nope`), 404, 'not_found');
    await assertError(await fetch(`${url}/infer/`), 404, 'not_found');
    await assertError(await fetch(`${url}/INFER`), 404, 'not_found');
    const answer = await fetch(`${url}/infer`, { method: 'DELETE' });
    assert.equal(answer.headers.get('allow'), 'GET, HEAD, POST');
    await assertError(answer, 405, 'method_not_allowed');
  });
});

describe('/stats', () => {
  it('counts executions by id', async (t) => {
    const { url, close } = await serve();
    t.after(close);
    const one = { 'X-Request-ID': '7' };
    await post(`${url}/infer`, { prompt: 'a' }, one);
    await post(`${url}/infer`, { prompt: 'a' }, one);
    await fetch(`${url}/infer?prompt=a`, { headers: { 'X-Request-ID': '__proto__' } });
    await fetch(`${url}/infer?prompt=`, { headers: { 'X-Request-ID': 'refused' } });
    await fetch(`${url}/infer?prompt=anonymous`);
    await fetch(`${url}/healthz`);
    const answer = await fetch(`${url}/stats`);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(
      await answer.text(),
      '{"requests":5,"executions":4,"cancelled":0,"dialects":{"infer":4},"executed":{"7":2,"__proto__":1}}',
    );
    assert.deepEqual((await getJson(`${url}/stats?id=7`)).executed, { 7: 2 });
  });
});

/**
 * @param {Response} answer
 * @param {number} status
 * @param {string} code
 */
async function assertError(answer, status, code) {
  const { error } = await answer.json();
  assert.deepEqual(Object.keys(error), ['message', 'type', 'code']);
  assert.ok(error.message);
  assert.equal(error.type, 'invalid_request_error');
  assert.deepEqual([answer.status, error.code], [status, code]);
}
