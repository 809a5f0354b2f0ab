// soak.js [SECONDS]: look at the dashboard under load, for five minutes unless told otherwise. Its charts of tokens and of the first
// token must show what /metrics says, within 2 %; a second page must show the same past; nothing may complain. It prints what it found.
import assert from "node:assert/strict";
import { agent, load, open, startBrowser, startGateway, tokensShown, until } from "./kit.js";

const seconds = Number(process.argv[2] ?? 300);
const tolerance = 0.02;
const wide = { viewport: { width: 1200, height: 820 }, colorScheme: "light" };

// scrape reads what /metrics says of generations: tokens, and the histogram of first tokens as cumulative counts by their bounds.
async function scrape(url) {
  const text = await (await fetch(url + "/metrics")).text();
  const m = { in: 0, out: 0, first: new Map() };
  for (const line of text.split("\n")) {
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("gen_ai_client_token_usage_sum{")) m[line.includes('"input"') ? "in" : "out"] += value;
    const le = line.startsWith("gen_ai_server_time_to_first_token_bucket{") && line.match(/le="([^"]+)"/);
    if (le) m.first.set(Number(le[1].replace("+Inf", "Infinity")), (m.first.get(Number(le[1].replace("+Inf", "Infinity"))) ?? 0) + value);
  }
  return m;
}

// quantile is that of the first tokens between two scrapes, as Prometheus' histogram_quantile has it.
function quantile(q, then, now) {
  const counts = [...now.first].sort(([a], [b]) => a - b).map(([le, n]) => [le, n - (then.first.get(le) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (!total) return null;
  const at = counts.findIndex(([, n]) => n >= q * total), [le, n] = counts[at];
  const [low, before] = at > 0 ? counts[at - 1] : [0, 0];
  return le === Infinity ? low : low + (le - low) * (q * total - before) / (n - before);
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
const off = (shown, said) => Math.abs(shown - said) / said;
const percent = (v) => (100 * v).toFixed(2) + " %";

// compare tells how far what is shown is from what was said, and fails if that is too far.
function compare(what, shown, said, most = tolerance) {
  console.log(`${what}: shown ${shown.toPrecision(6)}, /metrics ${said.toPrecision(6)}, off by ${percent(off(shown, said))}`);
  assert.ok(off(shown, said) <= most, what);
}

// watch scrapes /metrics whenever the page has asked, until the time is over. It returns pairs of what the chart of the first token shows
// and should: quantiles of the same five seconds.
async function watch(page, url, time) {
  const scrapes = [], pairs = { 50: [], 95: [] };
  const end = Date.now() + time;
  let at = 0;
  while (Date.now() < end) {
    const asked = await until("the page asks", () => page.evaluate((at) => last && last.now_ms > at &&
      { at: last.now_ms, first: last.generations.first.counts.reduce((a, b) => a + b, 0), shown: points.at(-1)?.values }, at));
    const said = await scrape(url), { shown } = asked;
    said.same = said.first.get(Infinity) === asked.first;
    at = asked.at;
    scrapes.push(said);
    if (scrapes.length < 6 || !said.same || !scrapes.at(-6).same) continue; // a token came between the page's question and this one
    for (const q of [50, 95]) {
      const wanted = quantile(q / 100, scrapes.at(-6), said);
      if (wanted != null && shown["first" + q] != null) pairs[q].push([shown["first" + q], wanted]);
    }
  }
  return pairs;
}

async function soak(browser, url) {
  const page = await open(browser, url, wide, "#generations");
  await page.waitForFunction(() => last);
  const before = await scrape(url), from = await page.evaluate(() => last.now_ms);
  const began = Date.now(), polls = page.polls, stop = load(url);
  const pairs = await watch(page, url, seconds * 1000);
  await stop();
  const took = (Date.now() - began) / 1000, asked = page.polls - polls;
  const after = await until("nothing is under way", async () => {
    const [a, b] = [await scrape(url), await page.evaluate(() => last.generations)];
    return b.active === 0 && a.in === b.input && a.out === b.output && a;
  });
  const to = await page.evaluate(() => points.at(-1).at);
  const shown = await tokensShown(page, from, to);
  console.log(`${took.toFixed(0)} s of load, ${shown.points} points, ${asked} polls, ${page.complaints.length} complaints`);
  compare("tokens in", shown.in, after.in - before.in);
  compare("tokens out", shown.out, after.out - before.out);
  for (const q of [50, 95]) {
    const list = pairs[q].map(([a, b]) => off(a, b)).sort((a, b) => a - b);
    compare(`first token, p${q}, mean of ${list.length} points`, mean(pairs[q].map(([a]) => a)), mean(pairs[q].map(([, b]) => b)));
    console.log(`  of single points: median off by ${percent(list[list.length >> 1])}, 95 of 100 by at most ${percent(list[Math.floor(list.length * 0.95)])}`);
  }
  assert.ok(asked <= took + 2, `${asked} polls in ${took} s`);
  await second(browser, url, page);
  assert.deepEqual(page.complaints, []);
  await page.close();
}

// second opens another page, which must show the past that the first one has seen.
async function second(browser, url, first) {
  const past = await until("the gateway has put all of it aside", async () => {
    const [past, now] = await Promise.all(["?past", ""].map(async (query) => (await fetch(url + "/dashboard/data" + query)).json()));
    return past.at(-2)?.generations.output === now.generations.output && past;
  });
  const page = await open(browser, url, wide, "#generations");
  await page.waitForFunction(() => points.length > 10);
  const [from, to] = [past[0].now_ms, past.at(-2).now_ms];
  const [a, b] = [await tokensShown(first, from, to), await tokensShown(page, from, to)];
  console.log(`a second page begins with ${b.points} points, and ${(JSON.stringify(past).length / 1024).toFixed(0)} KB of the past`);
  compare("tokens in, second page and first", b.in, a.in);
  compare("tokens out, second page and first", b.out, a.out);
  // Of five seconds each, but not of the same ones: said, not judged.
  compare("first token p50, second page and first, mean over time", await firstShown(page, from, to), await firstShown(first, from, to), Infinity);
  assert.deepEqual(page.complaints, []);
  await page.close();
}

// firstShown is the mean over time of what the chart shows as the median of first tokens.
const firstShown = (page, from, to) => page.evaluate(([from, to]) => {
  const list = points.filter((p) => p && p.at > from && p.at <= to && p.values.first50 != null).map((p) => p.values.first50);
  return list.reduce((a, b) => a + b, 0) / list.length;
}, [from, to]);

const gateway = await startGateway({ args: ["-visitors=false"], env: { CLIENT_RPS: "100", CLIENT_BURST: "100", GLOBAL_RPS: "100", GLOBAL_BURST: "100" } });
const browser = await startBrowser();
try {
  await soak(browser, gateway.url);
  console.log("soak: the charts show what /metrics says");
} finally {
  await browser.close();
  gateway.child.kill("SIGKILL");
  agent.destroy();
}
