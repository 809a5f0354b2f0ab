// generations: chat completions, prompts drawn from a Zipf distribution of 2,000 (s = 1.1), half of them streams, six in ten with a
// temperature of 0, of which equal ones have one answer. 20 a second for a minute.
//
// The i-th request is the same in every run with the same SEED (1), so runs with and without a cache do the same work.
// EXPECT_CACHE=no is for a gateway that keeps no generations; make perf:generations compares both.
import exec from 'k6/execution';
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { count, flag, settings } from './lib/settings.js';
import { arrivals, cacheOutcome, client, delivered, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';
import { chat, events } from './lib/sse.js';
import { uniform, zipf } from './lib/zipf.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 20, seconds: 60 }, { rate: 8, seconds: 6 });
const seed = count(__ENV, 'SEED', 1);
const expectCache = flag({ EXPECT_CACHE: __ENV.EXPECT_CACHE || 'yes' }, 'EXPECT_CACHE');
const deterministic = 0.6;
const streams = 0.5;
const prompts = zipf(2000, 1.1);
const words = Array.from({ length: 20 }, (_, i) => `word${i}`).join(' ');

// A prompt has two answers, whole and as a stream, so each half of the draws repeats itself less. Three hundredths are for chance.
const possible = prompts.hitRatio(Math.max(1, Math.round(deterministic * streams * rate * seconds)));
const ratio = Math.max(0.01, possible - 0.03);

const reused = new Rate('generation_reused'); // of those that may be: from the cache, or another request's
const generated = new Counter('tokens_generated'); // that the engine wrote
const spared = new Counter('tokens_spared'); // that came without it
const engine = new Counter('engine_ms'); // from the request to the last byte, of what the engine answered
const firstToken = new Trend('first_token', true);

export const options = {
  scenarios: { generations: arrivals(rate, seconds) },
  summaryTrendStats: trendStats,
  thresholds: {
    http_req_failed: ['rate<0.001'],
    checks: ['rate>0.999'],
    http_reqs: ['count>0'],
    tokens_generated: ['count>0'],
    ...(expectCache ? { generation_reused: [`rate>${ratio.toFixed(3)}`] } : { tokens_spared: ['count==0'] }),
    ...delivered(rate * seconds),
  },
};

export default function () {
  const i = exec.scenario.iterationInTest;
  const same = uniform(seed, 0, i) < deterministic;
  const stream = uniform(seed, 1, i) < streams;
  const prompt = `generation ${prompts.rank(uniform(seed, 2, i))} ${words}`;
  const response = http.post(
    `${baseURL}/v1/chat/completions`,
    JSON.stringify({
      model: 'any',
      messages: [{ role: 'user', content: prompt }],
      temperature: same ? 0 : 1,
      ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
    }),
    { headers: { 'Content-Type': 'application/json', 'X-Forwarded-For': client(exec.vu.idInTest) } },
  );
  const answer = stream ? streamed(response) : whole(response);
  check(response, {
    'status is 200': (r) => r.status === 200,
    'the answer is whole and of this prompt': () => answer.text === `echo: ${prompt}`,
    'it tells its tokens': () => answer.tokens > 0,
    'what is drawn anew is made anew': () => same || !fromOthers(response),
  });
  if (fromOthers(response)) {
    spared.add(answer.tokens);
  } else {
    generated.add(answer.tokens);
    engine.add(response.timings.waiting + response.timings.receiving);
    spared.add(0);
  }
  if (same) reused.add(fromOthers(response));
  if (stream) firstToken.add(response.timings.waiting);
}

// fromOthers is whether the engine had nothing to do for the request.
function fromOthers(response) {
  return cacheOutcome(response) === 'HIT' || (response.headers['Cache-Status'] || '').includes('collapsed');
}

function whole(response) {
  if (response.status !== 200) return { text: '', tokens: 0 };
  const body = response.json();
  return { text: body.choices[0].message.content, tokens: body.usage.completion_tokens };
}

function streamed(response) {
  if (response.status !== 200) return { text: '', tokens: 0 };
  const seen = chat(response.body);
  let tokens = 0;
  for (const data of events(response.body)) {
    if (data === '[DONE]') continue;
    const usage = JSON.parse(data).usage;
    if (usage) tokens = usage.completion_tokens;
  }
  return { text: seen.finished && seen.done ? seen.text : '', tokens };
}

export const handleSummary = summary('generations', { rate, seconds, seed });
