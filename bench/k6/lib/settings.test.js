import assert from 'node:assert/strict';
import test from 'node:test';
import { count, flag, seconds, settings } from './settings.js';

const standard = { rate: 150, seconds: 120 };
const quick = { rate: 45, seconds: 8 };

test('settings', () => {
  const local = 'http://localhost:8080';
  for (const [env, want] of [
    [{}, { baseURL: local, adminURL: local, rate: 150, seconds: 120 }],
    [{ K6_QUICK: '1' }, { baseURL: local, adminURL: local, rate: 45, seconds: 8 }],
    [{ K6_QUICK: 'yes', RATE: '7' }, { baseURL: local, adminURL: local, rate: 7, seconds: 8 }],
    [
      { BASE_URL: 'https://a:1/', DURATION: '2m' },
      { baseURL: 'https://a:1', adminURL: 'https://a:1', rate: 150, seconds: 120 },
    ],
    [{ BASE_URL: 'http://a', ADMIN_URL: 'http://b' }, { baseURL: 'http://a', adminURL: 'http://b', rate: 150, seconds: 120 }],
  ]) {
    assert.deepEqual(settings(env, standard, quick), want, JSON.stringify(env));
  }
});

test('durations', () => {
  for (const [text, want] of [['90', 90], ['90s', 90], ['2m', 120], ['1m30s', 90], ['4h', 14400]]) assert.equal(seconds(text), want);
});

test('what makes no sense is said', () => {
  for (const [wrong, told] of [
    [() => seconds('0'), /DURATION=0: want seconds/],
    [() => seconds('soon'), /DURATION=soon: want seconds/],
    [() => seconds('1.5m'), /DURATION=1.5m: want seconds/],
    [() => count({ RATE: '0' }, 'RATE', 1), /RATE=0: want a whole number/],
    [() => count({ RATE: '1e3' }, 'RATE', 1), /RATE=1e3: want a whole number/],
    [() => flag({ K6_QUICK: 'maybe' }, 'K6_QUICK'), /K6_QUICK=maybe: want yes or no/],
    [() => settings({ BASE_URL: 'localhost:8080' }, standard, quick), /BASE_URL=localhost:8080: want http/],
    [() => settings({ BASE_URL: 'http://a/b' }, standard, quick), /BASE_URL=http:\/\/a\/b: want http/],
  ]) {
    assert.throws(wrong, told);
  }
});
