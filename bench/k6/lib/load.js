// How load is put on: arrival rates, clients and requests that all profiles share.
import http from 'k6/http';
import { check } from 'k6';

// The figures that a summary has to have for reports, medians and tails included.
export const trendStats = ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)'];

// arrivals is a scenario in which `rate` requests a second arrive for so many seconds, whether or not earlier ones have been
// answered.
export function arrivals(rate, seconds, more) {
  return {
    executor: 'constant-arrival-rate',
    rate,
    timeUnit: '1s',
    duration: `${seconds}s`,
    ...users(rate),
    ...more,
  };
}

// users are enough for answers that take half a second. k6 makes more, for up to 2 s, but drops arrivals while it does.
export function users(rate) {
  return { preAllocatedVUs: Math.max(5, Math.ceil(rate / 2)), maxVUs: Math.max(20, 2 * rate) };
}

// delivered is the threshold that at most one arrival in a hundred was dropped, because k6 had no user left to send it.
export function delivered(arrivals) {
  return { dropped_iterations: [`count<=${Math.ceil(arrivals / 100)}`] };
}

// client is the X-Forwarded-For of the n-th client: an address of 198.18.0.0/15, which RFC 2544 keeps for benchmarks. A
// gateway believes it from loopback and private networks.
export function client(n) {
  const i = n % 131072;
  return `198.${18 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
}

// infer posts a prompt and checks its echo.
export function infer(url, prompt, from) {
  const response = http.post(url, JSON.stringify({ prompt }), {
    headers: { 'Content-Type': 'application/json', 'X-Forwarded-For': from },
  });
  checkEcho(response, prompt);
  return response;
}

// ask gets the answer to a prompt, the form that can be cached, and checks its echo. The metrics know it by one name, however
// many prompts there are.
export function ask(url, prompt, from) {
  const response = http.get(`${url}?prompt=${encodeURIComponent(prompt)}`, {
    headers: { 'X-Forwarded-For': from },
    tags: { name: `GET ${url}` },
  });
  checkEcho(response, prompt);
  return response;
}

function checkEcho(response, prompt) {
  check(response, {
    'status is 200': (r) => r.status === 200,
    'the answer is of this prompt': (r) => r.status === 200 && r.json('result') === `echo: ${prompt}`,
  });
}

// cacheOutcome is what X-Cache says, or "" without a cache.
export function cacheOutcome(response) {
  return response.headers['X-Cache'] || '';
}
