// spike: 20 posts a second, then bursts to 200, 225 and 250 a second, each up within a second, held, and down again.
//
// RATE is the highest burst; DURATION the time a burst is held.
import exec from 'k6/execution';
import { settings } from './lib/settings.js';
import { client, delivered, infer, trendStats, users } from './lib/load.js';
import { summary } from './lib/summary.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 250, seconds: 10 }, { rate: 80, seconds: 3 });
const calm = Math.max(1, Math.round(0.08 * rate));

const bursts = [0.8, 0.9, 1].map((part) => Math.max(1, Math.round(part * rate)));
const stages = bursts.flatMap((target) => [
  { target: calm, duration: `${seconds}s` },
  { target, duration: '1s' },
  { target, duration: `${seconds}s` },
  { target: calm, duration: '1s' },
]);
stages.push({ target: calm, duration: `${seconds}s` });
const sent = bursts.reduce((sum, target) => sum + seconds * (target + calm), seconds * calm);

export const options = {
  scenarios: {
    spike: { executor: 'ramping-arrival-rate', startRate: calm, timeUnit: '1s', stages, ...users(rate) },
  },
  summaryTrendStats: trendStats,
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(95)<250', 'p(99)<500'],
    checks: ['rate>0.999'],
    http_reqs: ['count>0'],
    ...delivered(sent),
  },
};

export default function () {
  infer(`${baseURL}/infer/python`, `spike ${exec.scenario.iterationInTest}`, client(exec.vu.idInTest));
}

export const handleSummary = summary('spike');
