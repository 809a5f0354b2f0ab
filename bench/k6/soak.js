// soak: the mixed work at 100 a second for half an hour, from clients that keep changing, while somebody watches the gateway's
// memory, goroutines and open files: what grows without end fails the run.
import exec from 'k6/execution';
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { settings } from './lib/settings.js';
import { arrivals, ask, client, delivered, infer, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';
import { uniform, zipf } from './lib/zipf.js';

const { baseURL, adminURL, rate, seconds } = settings(__ENV, { rate: 100, seconds: 1800 }, { rate: 40, seconds: 20 });
const prompts = zipf(10000, 1.1);
const warm = Math.round(seconds / 4); // after that the gateway ought to have what it needs
const every = Math.max(1, Math.min(10, Math.floor(seconds / 20)));

const looks = new Counter('looks');
const rss = new Trend('gateway_rss_bytes');
const grown = {
  process_resident_memory_bytes: new Trend('gateway_rss_growth'),
  go_goroutines: new Trend('gateway_goroutines_growth'),
  process_open_fds: new Trend('gateway_fds_growth'),
};

export const options = {
  scenarios: {
    mixed: arrivals(rate, seconds, { exec: 'mixed' }),
    watch: { executor: 'constant-vus', vus: 1, duration: `${seconds}s`, gracefulStop: '15s', exec: 'watch' },
  },
  summaryTrendStats: trendStats,
  thresholds: {
    'http_req_failed{scenario:mixed}': ['rate<0.001'],
    'http_req_duration{scenario:mixed}': ['p(95)<200', 'p(99)<400'],
    checks: ['rate>0.999'],
    looks: ['count>=5'],
    // Times what it was after the warm-up. The cache goes on filling: half as much again is not yet a leak.
    gateway_rss_growth: ['max<1.5'],
    gateway_goroutines_growth: ['max<2'],
    gateway_fds_growth: ['max<2'],
    ...delivered(rate * seconds),
  },
};

export function mixed() {
  const i = exec.scenario.iterationInTest;
  if (uniform(1, 0, i) >= 0.8) infer(`${baseURL}/infer`, `post ${i}`, client(i));
  else ask(`${baseURL}/infer`, `prompt ${prompts.rank(uniform(1, 1, i))}`, client(i));
}

// What a small gateway grows by is its cache and buffers; below these sizes growth says nothing.
const floor = { process_resident_memory_bytes: 64 << 20, go_goroutines: 50, process_open_fds: 50 };

const first = {}; // of the one user who watches

export function watch() {
  const page = http.get(`${adminURL}/metrics`);
  const now = Object.keys(grown).map((name) => [name, gauge(page, name)]);
  check(page, { 'the gateway tells its memory, goroutines and files': () => now.every(([, value]) => value > 0) });
  rss.add(now[0][1]);
  if (exec.instance.currentTestRunDuration / 1000 >= warm) {
    looks.add(1);
    for (const [name, value] of now) {
      const size = Math.max(value, floor[name]);
      first[name] = first[name] || size;
      grown[name].add(size / first[name]);
    }
  }
  sleep(every);
}

function gauge(page, name) {
  const found = page.status === 200 && new RegExp(`^${name} ([0-9.e+]+)$`, 'm').exec(page.body);
  return found ? Number(found[1]) : NaN;
}

export const handleSummary = summary('soak');
