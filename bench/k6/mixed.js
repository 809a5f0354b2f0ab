// mixed: 80 % GET /infer?prompt=…, prompts drawn from a Zipf distribution of 10,000 (s = 1.1), and 20 % POST /infer, which no
// cache answers. 200 a second for a minute.
//
// The i-th request is the same in every run with the same SEED (1), so runs with and without a cache do the same work.
// EXPECT_CACHE=no is for a gateway without one; make perf:all compares both.
import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';
import { count, flag, settings } from './lib/settings.js';
import { arrivals, ask, cacheOutcome, client, delivered, infer, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';
import { uniform, zipf } from './lib/zipf.js';

const { baseURL, rate, seconds } = settings(__ENV, { rate: 200, seconds: 60 }, { rate: 60, seconds: 8 });
const seed = count(__ENV, 'SEED', 1);
const expectCache = flag({ EXPECT_CACHE: __ENV.EXPECT_CACHE || 'yes' }, 'EXPECT_CACHE');
const gets = 0.8;
const prompts = zipf(10000, 1.1);

// What an empty cache can answer of so many draws; a short run repeats itself less. Three hundredths are for chance and for
// requests that meet while their answer is being made.
const possible = prompts.hitRatio(Math.max(1, Math.round(gets * rate * seconds)));
const ratio = Math.max(0.01, Math.min(0.6, possible - 0.03));

const cacheHit = new Rate('cache_hit'); // of GETs
const hits = new Counter('cache_hits');

export const options = {
  scenarios: { mixed: arrivals(rate, seconds) },
  summaryTrendStats: trendStats,
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(95)<140', 'p(99)<280'],
    checks: ['rate>0.999'],
    http_reqs: ['count>0'],
    ...(expectCache ? { cache_hits: ['count>0'], cache_hit: [`rate>${ratio.toFixed(3)}`] } : { cache_hits: ['count==0'] }),
    ...delivered(rate * seconds),
  },
};

export default function () {
  const i = exec.scenario.iterationInTest;
  const from = client(exec.vu.idInTest);
  if (uniform(seed, 0, i) >= gets) {
    infer(`${baseURL}/infer`, `post ${i}`, from);
    return;
  }
  const response = ask(`${baseURL}/infer`, `prompt ${prompts.rank(uniform(seed, 1, i))}`, from);
  const hit = cacheOutcome(response) === 'HIT';
  cacheHit.add(hit);
  if (hit) hits.add(1);
}

export const handleSummary = summary('mixed', { rate, seconds, seed });
