// stream: 10 chat completions a second for 30 s, each a stream of about 40 events.
//
// k6 hands over a stream when it has ended. So this sees that every byte came, and by k6's own clock that the answer began
// long before its end (`waiting` until the first byte, `receiving` after it), not the pace of single events.
import exec from 'k6/execution';
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { settings } from './lib/settings.js';
import { arrivals, client, delivered, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';
import { chat } from './lib/sse.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 10, seconds: 30 }, { rate: 4, seconds: 5 });
const words = Array.from({ length: 38 }, (_, i) => `word${i}`).join(' ');

const streamEvents = new Trend('stream_events');
const streamBytes = new Trend('stream_bytes');
const streamsWhole = new Counter('streams_whole');

export const options = {
  scenarios: { stream: arrivals(rate, seconds) },
  summaryTrendStats: trendStats,
  thresholds: {
    checks: ['rate>0.999'],
    http_req_failed: ['rate<0.001'],
    http_req_waiting: ['p(95)<200', 'p(99)<400'], // the first byte, after 30 ms to 50 ms of work
    http_req_receiving: ['min>50'], // 40 tokens, 5 ms or more apart
    streams_whole: [`count>=${Math.floor(0.98 * rate * seconds)}`],
    stream_events: ['min>=38'],
    stream_bytes: ['min>=2000'],
    ...delivered(rate * seconds),
  },
};

export default function () {
  const prompt = `stream ${exec.scenario.iterationInTest} ${words}`;
  const response = http.post(
    `${baseURL}/v1/chat/completions`,
    JSON.stringify({ model: 'any', stream: true, messages: [{ role: 'user', content: prompt }] }),
    { headers: { 'Content-Type': 'application/json', 'X-Forwarded-For': client(exec.vu.idInTest) } },
  );
  const seen = response.status === 200 ? chat(response.body) : { text: '', pieces: 0, finished: false, done: false };
  const whole = seen.finished && seen.done && seen.text === `echo: ${prompt}`;
  check(response, {
    'status is 200': (r) => r.status === 200,
    'it is an event stream': (r) => (r.headers['Content-Type'] || '').startsWith('text/event-stream'),
    'the stream is whole and of this prompt': () => whole,
    'it came as it was made': (r) => r.timings.receiving > r.timings.waiting / 2,
  });
  streamEvents.add(seen.pieces);
  streamBytes.add(response.body ? response.body.length : 0);
  if (whole) streamsWhole.add(1);
}

export const handleSummary = summary('stream');
