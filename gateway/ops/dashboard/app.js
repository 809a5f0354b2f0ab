"use strict";
// The dashboard asks for counters once a second and shows what happened in between. It begins with the last quarter of an hour,
// which the gateway has put aside.

const second = 1000, kept = 15 * 60, window5 = 5; // quantiles are of the last seconds: one has too few requests
const points = []; // {at, values}, oldest first; null stands for a gap
const samples = []; // the last answers, for quantiles
let minutes = 5, paused = false, last = null, timer = 0, asking = false, cursor = -1;

// ---- figures

const rate = (now, then, seconds) => Math.max(0, now - then) / seconds;

// quantile interpolates in a histogram as Prometheus does.
function quantile(q, bounds, counts) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (total === 0) return null;
  let want = q * total;
  for (let i = 0; i < counts.length; i++) {
    if (want <= counts[i] && counts[i] > 0) {
      const low = i === 0 ? 0 : bounds[i - 1];
      return i < bounds.length ? low + (bounds[i] - low) * (want / counts[i]) : low;
    }
    want -= counts[i];
  }
  return bounds[bounds.length - 1];
}

const difference = (a, b) => a.map((v, i) => Math.max(0, v - (b[i] || 0)));

// compare is what happened between two answers, as values of the charts and tiles.
function compare(now, then, before) {
  const s = (now.now_ms - then.now_ms) / second;
  const took = difference(now.duration.counts, before.duration.counts);
  const own = difference(now.overhead.counts, before.overhead.counts);
  const hits = difference(now.cache.hits || [], then.cache.hits || []);
  const misses = Math.max(0, now.cache.misses - then.cache.misses);
  const asked = hits.reduce((a, b) => a + b, 0) + misses;
  const v = {
    rps: rate(now.requests.total, then.requests.total, s),
    good: rate(now.requests.class[2] + now.requests.class[3], then.requests.class[2] + then.requests.class[3], s),
    client: rate(now.requests.class[4], then.requests.class[4], s),
    server: rate(now.requests.class[5], then.requests.class[5], s),
    broken: rate(now.truncated + now.left, then.truncated + then.left, s), // by the upstream, by the client
    refusedClient: rate(now.refused.client, then.refused.client, s),
    refusedGlobal: rate(now.refused.global, then.refused.global, s),
    inflight: now.inflight, streams: now.streams, panics: now.panics,
    hit: asked ? (asked - misses) / asked : null,
  };
  for (const q of [50, 95, 99]) {
    v["p" + q] = quantile(q / 100, now.duration.bounds || [], took);
    v["own" + q] = quantile(q / 100, now.overhead.bounds || [], own);
  }
  (now.cache.tiers || []).forEach((tier, i) => { v["hit:" + tier] = asked ? hits[i] / asked : null; });
  compareGenerations(v, now, then, before, s);
  return v;
}

// ---- what is shown

const tiles = [
  ["requests/s", "rps", number], ["p50", "p50", time], ["p95", "p95", time], ["p99", "p99", time], ["overhead p50", "own50", time],
  ["overhead p99", "own99", time], ["hit ratio", "hit", percent], ["in flight", "inflight", number], ["streams", "streams", number],
  ["5xx/s", "server", number], ["cut or left/s", "broken", number], ["panics", "panics", number],
];
const charts = [
  { title: "Requests per second", show: number, lines: [["2xx, 3xx", "good", "a"], ["4xx", "client", "b"], ["5xx", "server", "c"]] },
  { title: "Latency", show: time, lines: [["p50", "p50", "a"], ["p95", "p95", "b"], ["p99", "p99", "c"]] },
  { title: "The gateway's own part", show: time, lines: [["p50", "own50", "a"], ["p95", "own95", "b"], ["p99", "own99", "c"]] },
  { title: "Answered from the cache", show: percent, top: 1, lines: [["all", "hit", "a"]], tiers: true },
  { title: "Refused by the limits, per second", show: number, lines: [["client", "refusedClient", "a"], ["global", "refusedGlobal", "b"]] },
  { title: "Under way", show: number, lines: [["requests", "inflight", "a"], ["streams", "streams", "b"]] },
];

function build() {
  buildTiles(tiles, $("tiles"));
  for (const chart of charts) buildChart(chart, $("charts"));
  buildTiles(generationTiles, $("generation-tiles"));
  for (const chart of generationCharts) buildChart(chart, $("generation-charts"));
  charts.push(...generationCharts);
  tiles.push(...generationTiles);
}

function showUpstreams(now, then) {
  const s = (now.now_ms - then.now_ms) / second;
  const before = new Map((then.upstreams || []).map((u) => [u.pool + " " + u.url, u]));
  rows("upstreams", now.upstreams || [], (row, u) => {
    const b = before.get(u.pool + " " + u.url) || u;
    element("td", row, u.url);
    element("td", row, u.pool);
    const state = { 1: "on trial", 2: "breaker open" }[u.breaker] || (u.healthy ? "healthy" : "not healthy");
    element("td", row, state, u.healthy && !u.breaker ? "good" : "bad");
    element("td", row, number(u.inflight));
    element("td", row, number(rate(u.answers.total, b.answers.total, s)));
    element("td", row, number(rate(u.answers.class[5], b.answers.class[5], s)));
    element("td", row, number(rate(u.errors, b.errors, s)));
  });
}

function duration(ms) {
  const m = Math.floor(ms / 60000), h = Math.floor(m / 60), d = Math.floor(h / 24);
  return d ? `${d} d ${h % 24} h` : h ? `${h} h ${m % 60} min` : m ? `${m} min` : `${Math.floor(ms / 1000)} s`;
}

function say(text, bad) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").classList.toggle("bad", Boolean(bad));
}

// ---- the loop

function take(now) {
  if (last && now.now_ms <= last.now_ms) return; // another viewer's answer
  const restarted = last && now.uptime_ms < last.uptime_ms;
  if (restarted || last && now.now_ms - last.now_ms > 7 * second) {
    last = null;
    samples.length = 0;
    points.push(null); // a gap
  }
  for (const [i, tier] of (now.cache.tiers || []).entries()) {
    const chart = charts.find((c) => c.tiers);
    if (now.cache.tiers.length > 1 && !chart.lines.some(([, key]) => key === "hit:" + tier)) chart.lines.push([tier, "hit:" + tier, "bcd"[i]]);
  }
  showGenerations(now);
  $("version").textContent = now.version;
  say((now.draining ? "draining, " : "") + "up " + duration(now.uptime_ms), now.draining);
  if (last) {
    const values = compare(now, last, samples[0]);
    points.push({ at: now.now_ms, values });
    for (const [, key, show, out] of tiles.map((t) => [...t.slice(0, 3), t.out])) out.textContent = show(values[key]);
    showUpstreams(now, last);
    showTables(now);
  }
  if (points.length > kept) points.splice(0, points.length - kept);
  samples.push(now);
  if (samples.length > window5) samples.shift();
  last = now;
  if (cursor >= 0 && points.length === kept) cursor = Math.max(0, cursor - 1);
  draw();
}

// remember takes what the gateway has put aside: what lies between two of its samples is the same for each second of that time.
function remember(past) {
  for (let i = 1; i < past.length; i++) {
    const then = past[i - 1], now = past[i];
    if (now.uptime_ms < then.uptime_ms) continue;
    const values = compare(now, then, then), took = now.now_ms - then.now_ms, seconds = Math.max(1, Math.round(took / second));
    for (let n = 1; n <= seconds; n++) points.push({ at: then.now_ms + n * took / seconds, values });
    showGenerations(now);
  }
  if (points.length > kept) points.splice(0, points.length - kept);
  if (past.length) last = past[past.length - 1];
  if (last) samples.push(last);
}

async function begin() {
  try {
    const answer = await fetch("/dashboard/data?past", { cache: "no-store", signal: AbortSignal.timeout(4 * second) });
    if (answer.ok) remember(await answer.json());
  } catch {
    // then it begins with now
  }
  tick();
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch("/dashboard/data", { cache: "no-store", signal: AbortSignal.timeout(4 * second) });
    if (!answer.ok) throw new Error(String(answer.status));
    const now = await answer.json();
    if (!paused) take(now);
  } catch {
    say("the gateway does not answer, trying again", true);
  }
  asking = false;
}

// tick asks once a second, and not at all while nobody looks.
function tick() {
  clearInterval(timer);
  timer = 0;
  if (paused || document.hidden) return;
  ask();
  timer = setInterval(ask, second);
}

function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) say("paused");
  tick();
}

// turn shows the page that the address names, once there is something on it.
function turn() {
  const generations = location.hash === "#generations" && !$("pages").hidden;
  $("traffic").hidden = generations;
  $("generations").hidden = !generations;
  for (const a of $("pages").children) {
    if ((a.hash === "#generations") === generations) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  draw();
}

build();
addEventListener("hashchange", turn);
$("pause").addEventListener("click", pause);
for (const button of document.querySelectorAll("[data-minutes]")) {
  button.addEventListener("click", () => {
    minutes = Number(button.dataset.minutes);
    for (const b of document.querySelectorAll("[data-minutes]")) b.setAttribute("aria-pressed", String(b === button));
    draw();
  });
}
document.addEventListener("keydown", (e) => {
  if (e.key !== " " || e.target instanceof HTMLButtonElement) return;
  e.preventDefault();
  pause();
});
document.addEventListener("visibilitychange", tick);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
begin();
