// dashboard.js [DIRECTORY]: start the demo, look at /dashboard as a person would, and leave pictures in DIRECTORY. Exit code 0 if all
// is well.
import assert from "node:assert/strict";
import { join } from "node:path";
import { agent, load, open, passes, startBrowser, startGateway, tokensShown, until } from "./kit.js";

const pictures = process.argv[2];
const limits = { CLIENT_RPS: "100", CLIENT_BURST: "100", GLOBAL_RPS: "100", GLOBAL_BURST: "100" };
const wide = { viewport: { width: 1200, height: 760 }, colorScheme: "light" };

const tile = (page, name) => page.evaluate((wanted) => [...document.querySelectorAll(".tiles div")].find((d) => d.firstChild.textContent === wanted).lastChild.textContent, name);

// reads waits until a tile reads as it should.
const reads = (page, name, like) => until(`${name} reads ${like}`, async () => like.test(await tile(page, name)));

// moves waits until a chart has drawn something else than the first time.
async function moves(page, titles) {
  const drawn = (title) => page.evaluate((wanted) => {
    const chart = [...document.querySelectorAll(".chart")].find((f) => f.firstChild.textContent === wanted);
    const canvas = chart.querySelector("canvas");
    return chart.hidden || !canvas.width ? "" : canvas.toDataURL();
  }, title);
  for (const title of titles) {
    const before = await until(`${title} is drawn`, () => drawn(title));
    await until(`${title} moves`, async () => await drawn(title) !== before);
  }
}

// traffic looks at the first page.
async function traffic(page) {
  await reads(page, "requests/s", /^([5-9]|\d\d)/);
  await moves(page, ["Requests per second", "Latency", "The gateway's own part", "Under way", "Answered from the cache"]);
  await reads(page, "p99", /^[\d.]+ (µs|ms|s)$/);
  await reads(page, "overhead p50", /^[\d.]+ (µs|ms)$/);
  await reads(page, "hit ratio", /^[1-9][\d.]* %$/);
  await until("all upstreams are healthy", () => page.evaluate(() => {
    const states = [...document.querySelectorAll("#upstreams tr")].map((row) => row.children[2].className);
    return states.length === 7 && states.every((s) => s === "good");
  }));
}

// generations looks at the second one.
async function generations(page) {
  await page.locator("#pages a", { hasText: "Generations" }).focus();
  await page.keyboard.press("Enter");
  await until("the page turns", () => page.isVisible("#generations") && page.isHidden("#traffic"));
  assert.equal(await page.getAttribute("#pages a[href='#generations']", "aria-current"), "page");
  await reads(page, "tokens out/s", /^[1-9]/);
  await reads(page, "first token p50", /^[\d.]+ m?s$/);
  await reads(page, "between tokens p50", /^[\d.]+ m?s$/);
  await moves(page, ["Tokens per second", "Tokens out per second, by model", "First token", "Between tokens", "Generations", "Engines"]);
  const rows = (name) => page.$$eval(`#${name} tr`, (all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  await until("both tenants have used tokens", async () => (await rows("tenants")).filter(([id, asked, , out]) => /^team-[ab]$/.test(id) && asked !== "0" && out !== "0").length === 2);
  await until("one is refused by its budget", async () => (await rows("tenants")).some((r) => r[0] === "team-b" && / by key-tpm/.test(r[8])));
  assert.match((await rows("tenants")).find((r) => r[0] === "team-b")[9], /rpm \d+ of 60.*tpm [\d,]+ of 6,000/);
  await until("engines tell what they have to do", async () => {
    const engines = await rows("engines");
    return engines.length === 2 && engines.every((e) => e[2] === "vllm" && / %/.test(e[5])) && engines.some((e) => e[3] !== "0");
  });
  await moves(page, ["Refused per second, by limit", "Sent again per second, by why", "Tokens saved by the cache, per second"]);
}

// manners are: one poll a second at most, none while it is paused or nobody looks.
async function manners(page, url) {
  const began = Date.now(), before = page.polls;
  await passes(url, 3000);
  assert.ok(page.polls - before <= (Date.now() - began) / 1000 + 2, `${page.polls - before} polls in ${Date.now() - began} ms`);
  await page.keyboard.press("Space");
  await until("it is paused", async () => await page.textContent("#state") === "paused");
  await page.waitForFunction(() => !asking);
  let polls = page.polls;
  await passes(url, 2500);
  assert.equal(page.polls, polls, "it asks while it is paused");
  await page.keyboard.press("Space");
  await until("it goes on", () => page.polls > polls);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForFunction(() => !asking);
  polls = page.polls;
  await passes(url, 2000);
  assert.equal(page.polls, polls, "it asks while it is hidden");
  await hide(false);
  await until("it goes on", () => page.polls > polls + 1);
}

// keyboard goes to the first chart, and back in time.
async function keyboard(page) {
  await page.locator("#pages a", { hasText: "Traffic" }).focus();
  await page.keyboard.press("Enter");
  await until("the page turns", () => page.isVisible("#traffic"));
  await page.locator("#pause").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await until("the chart says what it shows", async () =>
    /^Requests per second\. .*\d:\d\d.*: 2xx, 3xx [\d.]+/.test(await page.evaluate(() => document.activeElement.getAttribute("aria-label"))));
  await page.locator("[data-minutes='1']").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.getAttribute("[data-minutes='1']", "aria-pressed"), "true");
  await page.locator("[data-minutes='5']").click();
}

// again opens a second page, which begins with the past that the first one has seen: tokens as they were counted.
async function again(browser, url) {
  const past = await until("the gateway puts tokens aside", async () => {
    const past = await (await fetch(url + "/dashboard/data?past")).json();
    return past.length >= 4 && past.at(-2).generations.output > past[0].generations.output && past;
  });
  const page = await open(browser, url, wide);
  await page.waitForFunction(() => points.length >= 10);
  const [from, to] = [past[0], past.at(-2)]; // behind the last one are the page's own figures
  const shown = await tokensShown(page, from.now_ms, to.now_ms), made = to.generations.output - from.generations.output;
  assert.ok(Math.abs(shown.out - made) <= 0.02 * made, `the past has ${shown.out} tokens, and ${made} were made`);
  assert.deepEqual(page.complaints, []);
  await page.close();
}

// bare looks at a gateway of which nobody has said anything: what is not there is not shown, least of all as broken.
async function bare(browser) {
  const gateway = await startGateway({ mode: [] });
  try {
    const page = await open(browser, gateway.url, wide, "#generations");
    await page.waitForFunction(() => points.length > 1);
    assert.ok(await page.isVisible("#traffic"), "it shows a page with nothing on it");
    for (const part of ["pages", "upstreams-part", "tenants-part", "engines-part", "queues-part"]) assert.ok(await page.isHidden("#" + part), part);
    assert.equal(await page.locator(".bad").count(), 0);
    assert.deepEqual(page.complaints, []);
    await page.close();
  } finally {
    gateway.child.kill("SIGKILL");
  }
}

// phone looks at both pages on a small screen, in the dark.
async function phone(browser, url) {
  const page = await open(browser, url, { viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true });
  for (const [name, first] of [["Traffic", "requests/s"], ["Generations", "tokens out/s"]]) {
    await page.locator("#pages a", { hasText: name }).tap();
    await reads(page, first, /^\d/);
    const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(wide <= shown, `a phone has to scroll sideways on ${name}: ${wide} > ${shown}`);
  }
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(16, 21, 27)");
  assert.deepEqual(page.complaints, []);
  await page.close();
}

// take takes the pictures of the pages, when the charts have something to show.
async function take(browser, url, directory) {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(browser, url, { viewport: { width: 1200, height: 820 }, colorScheme });
    await page.waitForFunction(() => points.filter((p) => p?.values.tokensOut > 0).length > 200, undefined, { timeout: 600_000 });
    for (const [name, file] of [["Traffic", "dashboard"], ["Generations", "generations"]]) {
      await page.locator("#pages a", { hasText: name }).click();
      await page.evaluate(() => document.activeElement.blur());
      await passes(url, 2000);
      await page.screenshot({ path: join(directory, `${file}${colorScheme === "dark" ? "-dark" : ""}.png`), fullPage: name === "Generations" });
    }
    await page.close();
  }
}

let gateway = await startGateway({ env: limits });
const stop = load(gateway.url);
const browser = await startBrowser();
try {
  const page = await open(browser, gateway.url, wide);
  await traffic(page);
  await generations(page);
  await manners(page, gateway.url);
  await keyboard(page);
  await again(browser, gateway.url);
  await phone(browser, gateway.url);
  await bare(browser);
  if (pictures) await take(browser, gateway.url, pictures);
  assert.deepEqual(page.complaints, []);

  // Without the gateway it says so, and goes on when it is back.
  stop();
  gateway.child.kill("SIGKILL");
  await until("it says that there is none", () => page.evaluate(() => document.getElementById("state").classList.contains("bad")));
  gateway = await startGateway({ port: gateway.port, env: limits });
  await until("it goes on", async () => /^up \d+ s$/.test(await page.textContent("#state")));
  console.log("dashboard: charts move, tenants and engines are seen, nothing complains, keyboard and phone work");
} finally {
  stop();
  await browser.close();
  gateway.child.kill("SIGKILL");
  agent.destroy();
}
