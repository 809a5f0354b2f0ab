// dashboard.js [FILE.png]: start the gateway, give it something to do, look at /dashboard as a person would, and leave a
// picture in FILE. Exit code 0 if all is well. GATEWAY is the binary, CHROMIUM the browser.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { chromium } from "playwright-core";

const gatewayFile = process.env.GATEWAY ?? "../../../.bin/gateway";
const browserFile = process.env.CHROMIUM ?? "/usr/bin/chromium";
const picture = process.argv[2];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

async function startGateway() {
  const port = await freePort();
  const child = spawn(gatewayFile, ["-demo"], {
    stdio: "ignore",
    env: { PORT: String(port), CLIENT_RPS: "150", CLIENT_BURST: "150", GLOBAL_RPS: "150", GLOBAL_BURST: "150" },
  });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    try {
      await ask(url + "/healthz");
      return { child, url };
    } catch (err) {
      if (tries > 100) throw err;
      await wait(100);
    }
  }
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

function ask(url, body, headers = {}) {
  return new Promise((done, fail) => {
    const request = http.request(url, { agent, method: body ? "POST" : "GET", headers }, (answer) => {
      answer.resume();
      answer.on("end", () => done(answer.statusCode));
      answer.on("error", fail);
    });
    request.on("error", fail);
    request.end(body);
  });
}

// load is a mix of everything the charts show, until stop is called; more than the limits let in.
function load(url) {
  const chat = JSON.stringify({ model: "sim-llm", stream: true, stream_options: { include_usage: true }, messages: [{ role: "user", content: "tell me a long story" }] });
  const json = { "Content-Type": "application/json" };
  let n = 0;
  const timer = setInterval(() => {
    n++;
    const busy = 0.6 + 0.4 * Math.sin(n / 120);
    const send = (chance, ...args) => { if (Math.random() < chance * busy) ask(...args).catch(() => {}); };
    send(1, `${url}/infer?prompt=${Math.floor(30 * Math.random() ** 3)}`);
    send(0.8, `${url}/infer?prompt=${Math.floor(30 * Math.random() ** 3)}`);
    send(0.5, `${url}/infer/python`, '{"prompt":"hello"}', json);
    send(0.25, `${url}/v1/chat/completions`, chat, json);
    send(0.3, `${url}/infer/node`, '{"prompt":"x"}', json);
    send(0.03, `${url}/infer/node`, '{"prompt":"x"}', { ...json, "X-Sim-Error": "503" });
    if (n % 400 > 340) for (let i = 0; i < 3; i++) send(1, `${url}/limited`);
  }, 10);
  return () => clearInterval(timer);
}

// open opens the dashboard in a page that must not complain or ask anybody else.
async function open(browser, url, options) {
  const page = await browser.newPage(options);
  page.complaints = [];
  page.polls = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) page.complaints.push(m.text()); });
  page.on("pageerror", (err) => page.complaints.push(String(err)));
  page.on("request", (r) => {
    if (new URL(r.url()).origin !== url && !r.url().startsWith("data:")) page.complaints.push("asks " + r.url());
    if (r.url().endsWith("/dashboard/data")) page.polls.push(Date.now());
  });
  await page.goto(url + "/dashboard");
  return page;
}

const chartPixels = (page) => page.$$eval("canvas", (all) => all.map((c) => c.toDataURL()));
const tile = (page, name) => page.$eval("#tiles", (tiles, wanted) => [...tiles.children].find((d) => d.firstChild.textContent === wanted).lastChild.textContent, name);

async function look(browser, url) {
  const page = await open(browser, url, { viewport: { width: 1200, height: 760 }, colorScheme: "light" });
  await page.waitForFunction(() => document.querySelector("dd").textContent !== "–" && !document.getElementById("pages").hidden);
  const before = await chartPixels(page);
  assert.equal(before.length, 16);
  for (const i of [0, 1, 2, 5]) { // each chart that the load feeds moves on
    await page.waitForFunction(([n, was]) => document.querySelectorAll("canvas")[n].toDataURL() !== was, [i, before[i]], { timeout: 60_000 });
  }
  await page.waitForFunction(() => parseFloat(document.querySelector("dd").textContent) > 5, undefined, { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelectorAll("#upstreams .good").length === 5, undefined, { timeout: 60_000 });
  assert.match(await tile(page, "p99"), /^[\d.]+ (µs|ms|s)$/);
  assert.match(await tile(page, "overhead p50"), /^[\d.]+ (µs|ms)$/);
  assert.match(await tile(page, "hit ratio"), /^[1-9][\d.]* %$/);
  assert.equal(await page.locator("#upstreams tr").count(), 5);

  // At most one poll a second, none while paused.
  const since = (page.polls.at(-1) - page.polls[0]) / 1000; // a busy machine lets one wait, and the next one comes at its time
  assert.ok(page.polls.length <= since + 2, `${page.polls.length} polls in ${since} s`);
  await page.keyboard.press("Space");
  assert.equal(await page.textContent("#state"), "paused");
  await wait(300);
  const polls = page.polls.length;
  await wait(2500);
  assert.equal(page.polls.length, polls, "it asks while it is paused");
  await page.keyboard.press("Space");

  // None while nobody looks.
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await wait(500);
  const seen = page.polls.length;
  await wait(2000);
  assert.equal(page.polls.length, seen, "it asks while it is hidden");
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });

  // The page of generations.
  await page.goto(url + "/dashboard#generations");
  for (const i of [6, 7, 8, 9]) {
    await page.waitForFunction(([n, was]) => document.querySelectorAll("canvas")[n].toDataURL() !== was, [i, before[i]], { timeout: 60_000 });
  }
  await page.waitForFunction(() => document.querySelectorAll("#generations .chart:not([hidden])").length >= 5);
  await page.goto(url + "/dashboard#traffic");

  // By keyboard: to the first chart, and back in time.
  await page.waitForTimeout(2500);
  await page.locator("#pause").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  assert.match(label, /^Requests per second\. .*\d:\d\d.*: 2xx, 3xx [\d.]+/);
  await page.locator("[data-minutes='1']").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.getAttribute("[data-minutes='1']", "aria-pressed"), "true");
  return page;
}

// lookAgain opens a second page, which begins with the past that the first one has seen: tokens as /metrics counts them.
async function lookAgain(browser, url) {
  const tokens = (sample) => (sample.generations.models || []).reduce((n, m) => n + m.output, 0);
  let past = [];
  for (let tries = 0; past.length < 4 || tokens(past[0]) === tokens(past.at(-2)); tries++) {
    assert.ok(tries < 240, "the gateway puts no tokens aside");
    await wait(500);
    past = await (await fetch(url + "/dashboard/data?past")).json();
  }
  const page = await open(browser, url, { viewport: { width: 1200, height: 760 }, colorScheme: "light" });
  await page.waitForFunction(() => points.length >= 10);
  const made = tokens(past.at(-2)) - tokens(past[0]); // behind the last one are the page's own figures
  const shown = await page.evaluate(([from, to]) => points.reduce((n, p, i) => {
    if (!p || p.at <= from + 1 || p.at > to + 1) return n;
    return n + p.values.tokensOut * (p.at - (points[i - 1]?.at ?? from)) / 1000;
  }, 0), [past[0].now_ms, past.at(-2).now_ms]);
  assert.ok(Math.abs(shown - made) <= 0.02 * made, `the past has ${shown} tokens, and ${made} were made`);
  await page.close();
}

async function lookOnPhone(browser, url) {
  const page = await open(browser, url, { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true });
  await wait(3500);
  const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= shown, `a phone has to scroll sideways: ${wide} > ${shown}`);
  const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(dark, "rgb(16, 21, 27)");
  return page;
}

const gateway = await startGateway();
const stop = load(gateway.url);
const browser = await chromium.launch({ executablePath: browserFile, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await look(browser, gateway.url);
  await lookAgain(browser, gateway.url);
  const phone = await lookOnPhone(browser, gateway.url);
  if (picture) {
    await page.bringToFront();
    await wait(Number(process.env.PICTURE_AFTER ?? 60) * 1000);
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path: picture });
    if (process.env.PHONE_PICTURE) await phone.screenshot({ path: process.env.PHONE_PICTURE });
  }
  assert.deepEqual([...page.complaints, ...phone.complaints], []);

  // Without the gateway it says so, and goes on when it is back.
  stop();
  gateway.child.kill("SIGKILL");
  await page.waitForFunction(() => document.getElementById("state").classList.contains("bad"), undefined, { timeout: 10_000 });
  console.log("dashboard: charts move, nothing complains, keyboard and phone work");
} finally {
  stop();
  await browser.close();
  gateway.child.kill("SIGKILL");
  agent.destroy();
}
