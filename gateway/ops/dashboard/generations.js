"use strict";
// The page of generations: what models were asked and made, by whom, what was refused and by which limit, and what engines say.

const colours = "abcd"; // so many things have a line of their own in a chart: those with the most

const classes = ["interactive", "default", "batch"]; // of requests that wait, in the order of their turns

const generationTiles = [
  ["tokens in/s", "tokensIn", number], ["tokens out/s", "tokensOut", number], ["first token p50", "first50", time],
  ["first token p95", "first95", time], ["between tokens p50", "between50", time], ["under way", "generating", number],
  ["waiting", "waiting", number], ["tokens saved/s", "saved", number], ["refused/s", "refused", number],
  ["sent again/s", "again", number], ["engines: running", "running", number], ["engines: waiting", "queued", number],
];
const generationCharts = [
  { title: "Tokens per second", show: number, lines: [["in", "tokensIn", "a"], ["out", "tokensOut", "b"]] },
  { title: "Tokens out per second, by model", show: number, lines: [], by: "out:", of: (now) => tokensOf(now.generations.models) },
  { title: "First token", show: time, lines: [["p50", "first50", "a"], ["p95", "first95", "b"]] },
  { title: "Between tokens", show: time, lines: [["p50", "between50", "a"], ["p95", "between95", "b"]] },
  { title: "Generations", show: number, lines: [["under way", "generating", "a"], ["waiting", "waiting", "b"]] },
  { title: "Waiting, by class", show: number, lines: [], by: "waiting:", of: (now) => now.waiting },
  { title: "Refused per second, by limit", show: number, lines: [], by: "refused:", of: (now) => now.budgets },
  { title: "Sent again per second, by why", show: number, lines: [], by: "again:", of: (now) => now.again },
  { title: "Tokens saved by the cache, per second", show: number, lines: [], by: "saved", of: (now) => now.cache.saved ? { tokens: 1 } : {} },
  { title: "Engines", show: number, lines: [], by: "", of: (now) => now.load.running + now.load.waiting || (now.engines || []).length ? { running: 2, queued: 1 } : {} },
];

const tokensOf = (models) => Object.fromEntries((models || []).map((m) => [m.model, m.output]));

// compareGenerations adds what became of generations between two answers, in that many seconds.
function compareGenerations(v, now, then, before, s) {
  const g = now.generations, known = tokensOf(then.generations.models);
  v.tokensIn = rate(g.input, then.generations.input, s);
  v.tokensOut = rate(g.output, then.generations.output, s);
  for (const m of g.models || []) {
    // One that the last answer left out, because others had more, has no line from then to now.
    const was = known[m.model] ?? (m.output <= g.output - then.generations.output ? 0 : null);
    if (was != null) v["out:" + m.model] = rate(m.output, was, s);
  }
  const first = difference(g.first.counts || [], before.generations.first.counts || []);
  const between = difference(g.per_token.counts || [], before.generations.per_token.counts || []);
  for (const q of [50, 95]) {
    v["first" + q] = quantile(q / 100, g.first.bounds || [], first);
    v["between" + q] = quantile(q / 100, g.per_token.bounds || [], between);
  }
  v.generating = g.active;
  v.waiting = 0;
  for (const c of classes) v.waiting += v["waiting:" + c] = (now.waiting || {})[c] || 0;
  v.saved = rate(now.cache.saved, then.cache.saved, s);
  for (const [name, of] of [["refused", "budgets"], ["again", "again"]]) {
    v[name] = 0;
    for (const [k, n] of Object.entries(now[of] || {})) v[name] += v[name + ":" + k] = rate(n, (then[of] || {})[k] || 0, s);
  }
  v.running = now.load.running;
  v.queued = now.load.waiting;
}

// showGenerations opens the page once there is something on it, and gives what has the most its lines.
function showGenerations(now) {
  for (const chart of generationCharts) {
    if (!chart.of) continue;
    const all = Object.entries(chart.of(now) || {}), kept = new Set(chart.lines.map(([label]) => label));
    const most = all.sort((a, b) => b[1] - a[1]).slice(0, colours.length).map(([name]) => name);
    if (most.every((name) => kept.has(name))) continue;
    chart.lines = most.sort().map((name, i) => [name, chart.by === "saved" ? "saved" : chart.by + name, colours[i]]);
  }
  const some = now.generations.active > 0 || (now.generations.models || []).length || (now.engines || []).length || (now.tenants || []).length;
  if (some && $("pages").hidden) {
    $("pages").hidden = false;
    turn();
  }
}

// rows replaces those of a table, and shows its part if there are any.
function rows(name, list, fill) {
  const body = $(name), fresh = document.createDocumentFragment();
  for (const one of list) fill(element("tr", fresh), one);
  body.replaceChildren(fresh);
  $(name + "-part").hidden = !list.length;
}

const whole = (v) => Math.round(v).toLocaleString("en");
const short = (v) => v >= 1e6 ? (v / 1e6).toFixed(1) + "M" : whole(v);

// meter is a bar with its words behind it.
function meter(parent, value, most, words) {
  const m = element("meter", parent);
  m.max = most;
  m.value = value;
  m.title = words;
  parent.append(" " + words);
}

function showTables(now) {
  rows("tenants", now.tenants || [], (row, t) => {
    element("td", row, t.tenant);
    for (const used of [t.minute, t.total]) for (const n of [used.requests, used.tokens_in, used.tokens_out]) element("td", row, whole(n));
    element("td", row, whole(t.total.tokens_saved));
    const refused = Object.entries(t.refused || {}), cell = element("td", row, refused.length ? "" : "0", refused.length ? "bad lines" : "");
    for (const [limit, n] of refused) element("span", cell, `${whole(n)} by ${limit}`);
    const left = element("td", row, undefined, "left lines");
    for (const l of t.left || []) meter(element("span", left), l.left, l.of, `${l.limit} ${short(l.left)} of ${short(l.of)}`);
    if (!(t.left || []).length) left.textContent = "no limits";
  });
  $("tenants-more").hidden = !now.tenants_more;
  $("tenants-more").textContent = `and ${now.tenants_more} more, which asked less`;

  const own = new Map((now.upstreams || []).map((u) => [u.pool + " " + u.url, u]));
  rows("engines", now.engines || [], (row, e) => {
    element("td", row, e.url);
    element("td", row, e.pool);
    element("td", row, e.kind);
    element("td", row, whole(e.running));
    element("td", row, whole(e.waiting), e.waiting > 0 ? "bad" : "");
    const kv = element("td", row, e.kv < 0 ? "–" : "");
    if (e.kv >= 0) meter(kv, e.kv, 1, Math.round(100 * e.kv) + " %");
    element("td", row, e.asked > 0 && e.hits >= 0 ? Math.round(100 * e.hits / e.asked) + " %" : "–");
    element("td", row, whole((own.get(e.pool + " " + e.url) || { inflight: 0 }).inflight));
    element("td", row, e.counts ? "yes" : "no");
  });

  rows("queues", (now.queues || []).filter((q) => q.shed || Object.values(q.waiting).some((n) => n)), (row, q) => {
    element("td", row, q.pool);
    for (const c of classes) element("td", row, whole(q.waiting[c] || 0));
    element("td", row, whole(q.shed), q.shed ? "bad" : "");
  });
}
