// baseline: posts to the Python service, 50 a second for 30 s and then 150 a second for two minutes.
//
// RATE is the second rate, the first is a third of it; DURATION the second time, the first is a quarter of it.
import exec from 'k6/execution';
import { settings } from './lib/settings.js';
import { arrivals, client, delivered, infer, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 150, seconds: 120 }, { rate: 45, seconds: 8 });
const slower = Math.max(1, Math.round(rate / 3));
const before = Math.max(1, Math.round(seconds / 4));

export const options = {
  scenarios: {
    warm: arrivals(slower, before),
    full: arrivals(rate, seconds, { startTime: `${before}s` }),
  },
  summaryTrendStats: trendStats,
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(95)<200', 'p(99)<400'],
    checks: ['rate>0.999'],
    http_reqs: ['count>0'],
    ...delivered(slower * before + rate * seconds),
  },
};

export default function () {
  infer(`${baseURL}/infer/python`, `baseline ${exec.scenario.iterationInTest}`, client(exec.vu.idInTest));
}

export const handleSummary = summary('baseline');
