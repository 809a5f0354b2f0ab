// smoke: every route once or twice, from one user. Any failed check fails the run.
import http from 'k6/http';
import { check, sleep } from 'k6';
import { settings } from './lib/settings.js';
import { ask, client, infer, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';

const { baseURL, adminURL } = settings(__ENV, { rate: 1, seconds: 1 }, { rate: 1, seconds: 1 });

export const options = {
  vus: 1,
  iterations: 3, // 21 of the 40 tokens that a client's bucket holds as a rule
  summaryTrendStats: trendStats,
  thresholds: { checks: ['rate==1'], iterations: ['count==3'] },
};

http.setResponseCallback(http.expectedStatuses(200, 404, 405));

export default function () {
  for (const path of ['/healthz', '/livez', '/readyz', '/']) expect(get(path), 200, path);
  json(get('/healthz'), 'healthz names the service', (body) => body.ok === true && body.service === 'api-gateway-go');
  json(get('/cachez', adminURL), 'cachez has its figures', (body) =>
    ['hits', 'misses', 'hit_ratio', 'backend', 'ttl'].every((name) => name in body),
  );

  infer(`${baseURL}/infer/python`, 'hello python', client(0));
  infer(`${baseURL}/infer/node`, 'hello node', client(0));
  infer(`${baseURL}/infer`, 'hello', client(0));
  ask(`${baseURL}/infer`, 'hello again', client(0));
  json(get('/slow'), 'slow answers', (body) => body.ok === true && body.path === '/slow');
  json(get('/limited'), 'limited answers', (body) => body.ok === true);
  const models = get('/v1/models');
  check(models, {
    'models are listed, or said to be missing as OpenAI does': (r) =>
      (r.status === 200 && r.json('object') === 'list') || (r.status === 404 && !!r.json('error.message')),
  });

  json(expect(get('/no/such/route'), 404, 'an unknown route'), 'a 404 is JSON', (body) => 'error' in body);
  const wrong = http.del(`${baseURL}/slow`);
  check(wrong, {
    'a wrong method is 405 with Allow': (r) => r.status === 405 && (r.headers.Allow || '').includes('GET'),
  });
  check(get('/metrics', adminURL), {
    'metrics count requests': (r) => r.status === 200 && r.body.includes('http_requests_total{'),
  });
  sleep(1); // k6 draws no report of a run that is over at once
}

function get(path, from = baseURL) {
  return http.get(from + path, { headers: { 'X-Forwarded-For': client(0) } });
}

function expect(response, status, what) {
  check(response, { [`${what} is ${status}`]: (r) => r.status === status });
  return response;
}

function json(response, what, holds) {
  check(response, { [what]: (r) => (r.headers['Content-Type'] || '').startsWith('application/json') && holds(r.json()) });
}

export const handleSummary = summary('smoke');
