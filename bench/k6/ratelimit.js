// ratelimit: one greedy client beside a quiet one, and then a crowd of clients that is too much together.
//
// It wants a gateway with limits, and has to know them: CLIENT_RPS, CLIENT_BURST, GLOBAL_RPS and GLOBAL_BURST, with the
// gateway's own defaults. The greedy client asks for RATE a second, three times what he may have.
import exec from 'k6/execution';
import http from 'k6/http';
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { count, settings } from './lib/settings.js';
import { arrivals, client, delivered, trendStats } from './lib/load.js';
import { summary } from './lib/summary.js';

const one = { rps: count(__ENV, 'CLIENT_RPS', 20), burst: count(__ENV, 'CLIENT_BURST', 40) };
const all = { rps: count(__ENV, 'GLOBAL_RPS', 200), burst: count(__ENV, 'GLOBAL_BURST', 100) };
const greed = 3 * one.rps;
const { baseURL, rate, seconds } = settings(__ENV, { rate: greed, seconds: 20 }, { rate: greed, seconds: 6 });
const quietRate = Math.max(1, Math.floor(one.rps / 5));
const crowdRate = 2 * all.rps;
const crowdSeconds = Math.ceil(all.burst / all.rps) + Math.max(2, Math.round(seconds / 4)); // its bucket has to run dry first

const admitted = new Counter('admitted');
const refused = new Counter('refused');

export const options = {
  scenarios: {
    greedy: arrivals(rate, seconds, { exec: 'greedy' }),
    quiet: arrivals(quietRate, seconds, { exec: 'quiet' }),
    crowd: arrivals(crowdRate, crowdSeconds, { exec: 'crowd', startTime: `${seconds}s` }),
  },
  summaryTrendStats: trendStats,
  thresholds: {
    checks: ['rate==1'], // the fields of every single answer
    http_req_failed: ['rate==0'], // neither 200 nor 429
    // What a bucket admits is its burst and what flows in meanwhile; a second more and 5 % are for clocks and a busy machine.
    'admitted{client:greedy}': [
      `count>=${Math.floor(0.9 * (one.burst + one.rps * (seconds - 1)))}`,
      `count<=${Math.ceil(1.05 * (one.burst + one.rps * (seconds + 1)))}`,
    ],
    'refused{client:greedy,scope:client}': ['count>0'],
    'refused{client:greedy,scope:global}': ['count==0'],
    'admitted{client:quiet}': ['count>0'],
    'refused{client:quiet}': ['count==0'],
    'admitted{client:crowd}': ['count>0'],
    'refused{client:crowd,scope:global}': ['count>0'],
    'refused{client:crowd,scope:client}': ['count==0'],
    ...delivered((rate + quietRate) * seconds + crowdRate * crowdSeconds),
  },
};

http.setResponseCallback(http.expectedStatuses(200, 429));

export function greedy() {
  knock(client(1), 'greedy');
}

export function quiet() {
  knock(client(2), 'quiet');
}

export function crowd() {
  knock(client(1000 + exec.scenario.iterationInTest), 'crowd');
}

function knock(from, who) {
  const response = http.get(`${baseURL}/limited`, { headers: { 'X-Forwarded-For': from } });
  if (response.status === 429) {
    refused.add(1, { client: who, scope: response.headers['Ratelimit-Scope'] || 'none' });
    check(response, refusal);
  } else {
    admitted.add(1, { client: who });
    check(response, admission);
  }
}

// k6 writes names of fields in Go's canonical form.
const admission = {
  'admitted: status is 200': (r) => r.status === 200,
  'admitted: the answer says so': (r) => r.status === 200 && r.json('ok') === true,
  'admitted: RateLimit-Policy names both buckets': (r) => /"client";q=\d+.*"global";q=\d+/.test(r.headers['Ratelimit-Policy']),
  'admitted: RateLimit tells what remains': (r) => /^"client";r=\d+/.test(r.headers.Ratelimit),
};

const refusal = {
  'refused: Retry-After is whole seconds, at least 1': (r) => /^[1-9]\d*$/.test(r.headers['Retry-After']),
  'refused: RateLimit-Scope is client or global': (r) => ['client', 'global'].includes(r.headers['Ratelimit-Scope']),
  'refused: RateLimit-Remaining is a number': (r) => /^\d+$/.test(r.headers['Ratelimit-Remaining']),
  'refused: it is JSON': (r) => (r.headers['Content-Type'] || '').startsWith('application/json'),
  'refused: the error is too_many_requests': (r) => r.json('error') === 'too_many_requests',
};

export const handleSummary = summary('ratelimit');
