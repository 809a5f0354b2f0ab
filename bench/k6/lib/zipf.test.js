import assert from 'node:assert/strict';
import test from 'node:test';
import { uniform, zipf } from './zipf.js';

const n = 10000;
const prompts = zipf(n, 1.1);

test('probabilities add up to 1 and fall as 1/k^s', () => {
  let sum = 0;
  for (let k = 1; k <= n; k++) sum += prompts.probability(k);
  assert.ok(Math.abs(sum - 1) < 1e-12, `${sum}`);
  assert.ok(Math.abs(prompts.probability(1) / prompts.probability(8) - 8 ** 1.1) < 1e-9);
});

test('each rank owns an interval as long as its probability', () => {
  const small = zipf(4, 1);
  const total = 1 + 1 / 2 + 1 / 3 + 1 / 4;
  const ends = [1, 1.5, 1 + 1 / 2 + 1 / 3].map((weight) => weight / total);
  assert.equal(small.rank(0), 1);
  ends.forEach((end, i) => {
    assert.equal(small.rank(end - 1e-9), i + 1);
    assert.equal(small.rank(end + 1e-9), i + 2);
  });
  assert.equal(small.rank(1 - 2 ** -53), 4);
  assert.equal(prompts.rank(1 - 2 ** -53), n);
});

test('draws come as often as they should', () => {
  const draws = 200000;
  const seen = new Array(n + 1).fill(0);
  for (let i = 0; i < draws; i++) seen[prompts.rank(uniform(1, 1, i))]++;
  for (const k of [1, 2, 3, 10, 100]) {
    const want = draws * prompts.probability(k);
    assert.ok(Math.abs(seen[k] - want) < 5 * Math.sqrt(want), `rank ${k}: ${seen[k]} times, expected ${want}`);
  }
});

test('the hit ratio is what drawing shows', () => {
  for (const draws of [1, 400, 9600]) {
    const seen = new Set();
    let hits = 0;
    for (let i = 0; i < draws; i++) {
      const k = prompts.rank(uniform(7, 1, i));
      if (seen.has(k)) hits++;
      seen.add(k);
    }
    assert.ok(Math.abs(hits / draws - prompts.hitRatio(draws)) < 0.04, `${draws}: ${hits / draws}, expected ${prompts.hitRatio(draws)}`);
  }
  assert.ok(prompts.hitRatio(9600) > 0.63, 'a minute of the profile mixed repeats itself enough');
});

test('uniform numbers depend on all their arguments and are uniform', () => {
  assert.equal(uniform(1, 2, 3), uniform(1, 2, 3));
  assert.equal(new Set([uniform(1, 2, 3), uniform(1, 2, 4), uniform(1, 3, 3), uniform(2, 2, 3)]).size, 4);
  const draws = 100000;
  const tenths = new Array(10).fill(0);
  for (let i = 0; i < draws; i++) {
    const u = uniform(1, 0, i);
    assert.ok(u >= 0 && u < 1);
    tenths[Math.floor(10 * u)]++;
  }
  for (const count of tenths) assert.ok(Math.abs(count - draws / 10) < 500, `${tenths}`);
});

test('two streams of one seed are independent', () => {
  let both = 0;
  for (let i = 0; i < 100000; i++) if (uniform(1, 0, i) < 0.5 && uniform(1, 1, i) < 0.5) both++;
  assert.ok(Math.abs(both - 25000) < 700, `${both}`);
});
