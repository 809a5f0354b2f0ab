// optimized: posts to the Python service, 200 a second for two minutes, with tighter bounds than baseline's.
import exec from 'k6/execution';
import { settings } from './lib/settings.js';
import { arrivals, client, delivered, infer, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 200, seconds: 120 }, { rate: 60, seconds: 8 });

export const options = {
  scenarios: { full: arrivals(rate, seconds) },
  summaryTrendStats: trendStats,
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(95)<140', 'p(99)<280'],
    checks: ['rate>0.999'],
    http_reqs: ['count>0'],
    ...delivered(rate * seconds),
  },
};

export default function () {
  infer(`${baseURL}/infer/python`, `optimized ${exec.scenario.iterationInTest}`, client(exec.vu.idInTest));
}

export const handleSummary = summary('optimized');
