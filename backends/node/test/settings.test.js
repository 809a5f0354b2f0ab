import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BadSettings, draw, load } from '../src/settings.js';
import { Stats } from '../src/stats.js';

describe('settings', () => {
  it('have defaults, also for empty values', () => {
    const defaults = {
      host: '0.0.0.0',
      port: 8002,
      inferLatency: { lowMs: 30, highMs: 50 },
      tokenLatency: { lowMs: 5, highMs: 5 },
      shutdownGraceSeconds: 30,
      accessLog: true,
      models: [],
    };
    assert.deepEqual(load({}), defaults);
    assert.deepEqual(load({ PORT: '', INFER_LATENCY_MS: '', HOST: '' }), defaults);
  });

  it('are read', () => {
    const env = { PORT: '9', HOST: '::1', INFER_LATENCY_MS: '3-4', ACCESS_LOG: 'off' };
    const settings = load(env);
    assert.deepEqual([settings.port, settings.host, settings.accessLog], [9, '::1', false]);
    assert.deepEqual(settings.inferLatency, { lowMs: 3, highMs: 4 });
    assert.deepEqual(load({ MODELS: 'org/big, small' }).models, ['org/big', 'small']);
    assert.equal(draw(load({ INFER_LATENCY_MS: '0' }).inferLatency), 0);
    assert.deepEqual(load({ TOKEN_LATENCY_MS: '7' }).tokenLatency, { lowMs: 7, highMs: 7 });
    const drawn = draw(settings.inferLatency);
    assert.ok(drawn >= 3 && drawn <= 4);
  });

  it('report all faults together', () => {
    const env = { PORT: '65536', INFER_LATENCY_MS: '50-30', ACCESS_LOG: 'maybe', MODELS: 'a,a' };
    assert.throws(
      () => load(env),
      (/** @type {Error} */ error) => {
        const names = error.message.split('\n').map((line) => line.split('=')[0]);
        assert.deepEqual(names, Object.keys(env));
        return error instanceof BadSettings;
      },
    );
  });

  for (const text of ['-1', '5-', '-', 'a', '1-2-3', '9999999999', '1.5']) {
    it(`refuse the latency ${text}`, () => {
      assert.throws(() => load({ INFER_LATENCY_MS: text }), BadSettings);
    });
  }
});

describe('stats', () => {
  it('keep the last ten thousand ids', () => {
    const stats = new Stats();
    for (let i = 0; i < 10_000; i++) stats.execute(`id-${i}`);
    stats.execute('id-0'); // Seen again, hence no longer the oldest.
    stats.execute('new');
    const { executed } = stats.snapshot();
    assert.equal(Object.keys(executed).length, 10_000);
    assert.equal(executed['id-0'], 2);
    assert.ok(!('id-1' in executed));
    assert.equal(stats.executions, 10_002);
  });

  it('cut long ids', () => {
    const stats = new Stats();
    stats.execute('x'.repeat(5000));
    assert.deepEqual(stats.snapshot('x'.repeat(5000)).executed, { ['x'.repeat(200)]: 1 });
  });
});
