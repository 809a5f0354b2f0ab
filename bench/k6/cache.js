// cache: 40 clients ask for /slow for 20 s. It takes 120 ms to make, so nearly all of them must be answered from the cache.
//
// Each waits THINK_MS (20) between two requests: without a pause k6 would measure its own queue. VUS overrules the 40.
import exec from 'k6/execution';
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { count, settings } from './lib/settings.js';
import { cacheOutcome, client, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';

const { baseURL, seconds } = settings(__ENV, { rate: 1, seconds: 20 }, { rate: 1, seconds: 5 });
const think = count(__ENV, 'THINK_MS', 20) / 1000;

const cacheHit = new Rate('cache_hit');
const hits = new Counter('cache_hits');
const hitDuration = new Trend('cache_hit_duration', true);

export const options = {
  vus: count(__ENV, 'VUS', 40),
  duration: `${seconds}s`,
  summaryTrendStats: trendStats,
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    cache_hits: ['count>0'],
    cache_hit: ['rate>0.97'], // at most one miss a client, who came before the first answer was there
    cache_hit_duration: ['p(95)<60'], // half of what the work takes; a hit is a fraction of a millisecond, k6 is not
  },
};

export default function () {
  const response = http.get(`${baseURL}/slow`, { headers: { 'X-Forwarded-For': client(exec.vu.idInTest) } });
  const outcome = cacheOutcome(response);
  check(response, {
    'status is 200': (r) => r.status === 200,
    'the answer is /slow': (r) => r.status === 200 && r.json('path') === '/slow',
    'X-Cache is HIT or MISS': () => outcome === 'HIT' || outcome === 'MISS',
    'Cache-Status agrees': (r) => /; *hit/.test(r.headers['Cache-Status']) === (outcome === 'HIT'),
    'a hit has an Age': (r) => outcome !== 'HIT' || /^\d+$/.test(r.headers.Age),
  });
  cacheHit.add(outcome === 'HIT');
  if (outcome === 'HIT') {
    hits.add(1);
    hitDuration.add(response.timings.duration);
  }
  sleep(think);
}

export const handleSummary = summary('cache');
