"use strict";
// The dashboard asks for counters once a second and shows what happened in between. It begins with the last quarter of an hour,
// which the gateway has put aside.

const second = 1000, kept = 15 * 60, window5 = 5; // quantiles are of the last seconds: one has too few requests
const $ = (id) => document.getElementById(id);
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

// compareGenerations adds what became of generations.
function compareGenerations(v, now, then, before, s) {
  const g = now.generations, known = new Map((then.generations.models || []).map((m) => [m.model, m]));
  v.tokensIn = v.tokensOut = 0;
  for (const m of g.models || []) {
    const was = known.get(m.model) || { input: 0, output: 0 }, out = rate(m.output, was.output, s);
    v.tokensIn += rate(m.input, was.input, s);
    v.tokensOut += out;
    v["out:" + m.model] = out;
  }
  const first = difference(g.first.counts || [], before.generations.first.counts || []);
  const between = difference(g.per_token.counts || [], before.generations.per_token.counts || []);
  for (const q of [50, 95]) {
    v["first" + q] = quantile(q / 100, g.first.bounds || [], first);
    v["between" + q] = quantile(q / 100, g.per_token.bounds || [], between);
  }
  v.generating = g.active;
  v.waiting = (now.queues || []).reduce((n, q) => n + Object.values(q.waiting).reduce((a, b) => a + b, 0), 0);
}

const number = (v) => v == null ? "–" : v >= 9999.5 ? (v / 1000).toFixed(1) + "k" : v >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toFixed(1);
const percent = (v) => v == null ? "–" : (100 * v).toFixed(v > 0 && v < 1 ? 1 : 0) + " %";
function time(v) {
  if (v == null) return "–";
  if (v < 0.9995e-3) return (v * 1e6).toFixed(0) + " µs";
  if (v < 0.9995) return (v * 1e3).toFixed(v < 0.00995 ? 1 : 0) + " ms";
  return v.toFixed(v < 9.95 ? 1 : 0) + " s";
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
  { title: "Tokens per second", show: number, lines: [["in", "tokensIn", "a"], ["out", "tokensOut", "b"]], of: "generations" },
  { title: "Tokens out per second, by model", show: number, lines: [], of: "generations", models: true },
  { title: "First token", show: time, lines: [["p50", "first50", "a"], ["p95", "first95", "b"]], of: "generations" },
  { title: "Between tokens", show: time, lines: [["p50", "between50", "a"], ["p95", "between95", "b"]], of: "generations" },
  { title: "Generations", show: number, lines: [["under way", "generating", "a"], ["waiting", "waiting", "b"]], of: "generations" },
];
const colours = "abcd"; // as many models have a line of their own: the first by tokens

function element(name, parent, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  parent.append(e);
  return e;
}

function build() {
  for (const tile of tiles) {
    const div = element("div", $("tiles"));
    element("dt", div, tile[0]);
    tile.out = element("dd", div, "–");
  }
  for (const chart of charts) {
    const figure = element("figure", $(chart.of || "charts"), undefined, "chart");
    element("h2", figure, chart.title);
    chart.canvas = element("canvas", figure);
    chart.canvas.tabIndex = 0;
    chart.canvas.setAttribute("role", "img");
    chart.legend = element("ul", figure, undefined, "legend");
    chart.canvas.addEventListener("keydown", (e) => move(e));
    chart.canvas.addEventListener("pointermove", (e) => point(chart, e));
    chart.canvas.addEventListener("pointerleave", () => { cursor = -1; draw(); });
    chart.canvas.addEventListener("blur", () => { cursor = -1; draw(); });
    new ResizeObserver(() => drawChart(chart)).observe(chart.canvas);
  }
}

const span = () => Math.min(minutes * 60, kept);
const visible = () => points.slice(-span());

function move(e) {
  const n = visible().length;
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -kept, End: kept }[e.key];
  if (!step || !n) return;
  e.preventDefault();
  cursor = Math.min(n - 1, Math.max(0, (cursor < 0 ? n - 1 : cursor) + step));
  draw();
}

function point(chart, e) {
  const box = chart.canvas.getBoundingClientRect(), n = visible().length;
  const at = Math.round((e.clientX - box.left) / box.width * (span() - 1)) - (span() - n);
  cursor = at >= 0 && at < n ? at : -1;
  draw();
}

// ceiling is a round number above v for the top of an axis.
function ceiling(v) {
  if (!(v > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(v));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((n) => n * unit >= v) * unit;
}

function drawChart(chart) {
  const canvas = chart.canvas, width = canvas.clientWidth, height = canvas.clientHeight, dots = window.devicePixelRatio || 1;
  if (!width) return;
  if (canvas.width !== Math.round(width * dots) || canvas.height !== Math.round(height * dots)) {
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
  }
  const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue("--" + name);
  const draw = canvas.getContext("2d"), shown = visible(), total = span();
  let top = chart.top || 0;
  if (!top) {
    for (const p of shown) for (const [, key] of chart.lines) if (p && p.values[key] > top) top = p.values[key];
    top = ceiling(top);
  }
  const x = (i) => (i + total - shown.length) / (total - 1) * width, y = (v) => height - 4 - v / top * (height - 22);
  draw.setTransform(dots, 0, 0, dots, 0, 0);
  draw.clearRect(0, 0, width, height);
  draw.lineWidth = 1;
  draw.strokeStyle = color("line");
  for (const part of [0, 0.5, 1]) {
    const at = Math.round(y(part * top)) + 0.5;
    draw.beginPath(); draw.moveTo(0, at); draw.lineTo(width, at); draw.stroke();
  }
  draw.lineWidth = 1.75;
  draw.lineJoin = "round";
  const dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3]]; // not by colour alone
  chart.lines.forEach(([, key, name], n) => {
    draw.strokeStyle = color(name);
    draw.setLineDash(dashes[n % 4]);
    draw.beginPath();
    let pen = false;
    shown.forEach((p, i) => {
      const v = p ? p.values[key] : null;
      if (v == null) { pen = false; return; }
      if (pen) draw.lineTo(x(i), y(Math.min(v, top))); else draw.moveTo(x(i), y(Math.min(v, top)));
      pen = true;
    });
    draw.stroke();
  });
  draw.setLineDash([]);
  draw.fillStyle = color("faint");
  draw.font = "11px system-ui, sans-serif";
  draw.fillText(chart.show(top), 2, y(top) - 4);
  const at = cursor >= 0 && cursor < shown.length ? cursor : -1;
  if (at >= 0) {
    draw.lineWidth = 1;
    draw.strokeStyle = color("faint");
    draw.beginPath(); draw.moveTo(x(at), 14); draw.lineTo(x(at), height); draw.stroke();
  }
  const p = at >= 0 ? shown[at] : shown[shown.length - 1];
  legend(chart, p, at >= 0);
}

function legend(chart, p, picked) {
  const texts = chart.lines.map(([label, key]) => label + " " + (p ? chart.show(p.values[key]) : "–"));
  const when = picked && p ? new Date(p.at).toLocaleTimeString() + ": " : "";
  chart.canvas.setAttribute("aria-label", chart.title + ". " + when + texts.join(", "));
  chart.legend.replaceChildren();
  if (when) element("li", chart.legend, when.slice(0, -2));
  for (const [label, key, name] of chart.lines) {
    const item = element("li", chart.legend);
    const mark = element("i", item);
    mark.style.borderColor = `var(--${name})`;
    item.append(label + " ");
    element("b", item, p ? chart.show(p.values[key]) : "–");
  }
}

function draw() {
  for (const chart of charts) drawChart(chart);
}

function showUpstreams(now, then) {
  const s = (now.now_ms - then.now_ms) / second;
  const before = new Map((then.upstreams || []).map((u) => [u.pool + " " + u.url, u]));
  const engines = new Map((now.engines || []).map((e) => [e.pool + " " + e.url, e]));
  $("upstreams").replaceChildren();
  for (const u of now.upstreams || []) {
    const b = before.get(u.pool + " " + u.url) || u;
    const row = element("tr", $("upstreams"));
    element("td", row, u.url);
    element("td", row, u.pool);
    const state = { 1: "on trial", 2: "breaker open" }[u.breaker] || (u.healthy ? "healthy" : "not healthy");
    element("td", row, state + saidBy(engines.get(u.pool + " " + u.url)), u.healthy && !u.breaker ? "good" : "bad");
    element("td", row, number(u.inflight));
    element("td", row, number(rate(u.answers.total, b.answers.total, s)));
    element("td", row, number(rate(u.answers.class[5], b.answers.class[5], s)));
    element("td", row, number(rate(u.errors, b.errors, s)));
  }
}

// saidBy is what an upstream's engine says of itself.
function saidBy(e) {
  if (!e) return "";
  const share = (v) => `${Math.round(100 * v)} %`;
  return `; ${e.kind}: ${e.running} running, ${e.waiting} waiting` + (e.kv >= 0 ? `, KV ${share(e.kv)}` : "") +
    (e.asked > 0 && e.hits >= 0 ? `, ${share(e.hits / e.asked)} of prompts found` : "") + (e.counts ? "" : " (not taken for true)");
}

// showModels opens the part about generations once there is one, and gives the busiest models their lines.
function showModels(now) {
  const models = now.generations.models || [];
  if (!models.length) return;
  $("generations-part").hidden = false;
  const busiest = [...models].sort((a, b) => b.output - a.output).slice(0, colours.length).map((m) => m.model).sort();
  charts.find((c) => c.models).lines = busiest.map((m, i) => [m, "out:" + m, colours[i]]);
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
  showModels(now);
  $("version").textContent = now.version;
  say((now.draining ? "draining, " : "") + "up " + duration(now.uptime_ms), now.draining);
  if (last) {
    const values = compare(now, last, samples[0]);
    points.push({ at: now.now_ms, values });
    for (const [, key, show, out] of tiles.map((t) => [...t.slice(0, 3), t.out])) out.textContent = show(values[key]);
    showUpstreams(now, last);
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
    const values = compare(now, then, then), seconds = Math.round((now.now_ms - then.now_ms) / second);
    for (let n = 1; n <= seconds; n++) points.push({ at: then.now_ms + n * second, values });
    showModels(now);
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

build();
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
