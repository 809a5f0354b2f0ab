// page.js: a page of one origin streams a chat from a gateway of another, with a key, as a real browser lets it. Exit code 0 if all is
// well.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatewayFile, startBrowser, startGateway, until } from "./kit.js";

// servePage serves an empty page: an origin.
async function servePage() {
  const server = http.createServer((_req, res) => {
    res.setHeader("Content-Type", "text/html");
    res.end("<!doctype html><title>page</title><link rel=icon href='data:,'>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

// startKeyed starts one whose models pages of one origin may ask, with a key.
async function startKeyed(dir, origin) {
  const [key, line] = newKey();
  writeFileSync(join(dir, "keys.yaml"), `keys:\n  - ${line}\n`, { mode: 0o600 });
  writeFileSync(join(dir, "gateway.yaml"), `
routes:
  - path: "/v1/*"
    pool: llm
    cors: {origins: ["${origin}"], headers: [authorization, content-type], max_age: 60s}
`);
  const args = ["-config", join(dir, "gateway.yaml")], env = { ACCESS_LOG: "true", KEYS_FILE: join(dir, "keys.yaml") };
  return { ...await startGateway({ args, env }), key };
}

// newKey is a key and its line for the file.
function newKey() {
  const said = execFileSync(gatewayFile, ["keygen", "-id", "page"], { encoding: "utf8" });
  return [said.match(/sk-\S+/)[0], said.match(/\{.*\}/)[0]];
}

// chat runs in the page: one streamed chat, read as it comes.
async function chat({ url, key }) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const messages = [{ role: "user", content: "one two three four five" }];
  const body = JSON.stringify({ messages, stream: true, model: "sim-llm" });
  try {
    const answer = await fetch(url + "/v1/chat/completions", { method: "POST", headers, body });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let parts = 0;
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      text += value;
      parts += 1;
    }
    return { status: answer.status, text, parts, id: answer.headers.get("x-request-id"), hidden: answer.headers.get("via") };
  } catch (err) {
    return { failed: String(err) };
  }
}

const said = (text) => text.split("\n\n").filter((e) => e.startsWith("data: {")).map((e) => JSON.parse(e.slice(6)))
  .map((chunk) => chunk.choices[0].delta.content ?? "").join("");

async function look(browser, gateway, origin) {
  const page = await browser.newPage();
  await page.goto(origin);
  let good;
  for (let goes = 0; goes < 5 && !(good?.parts > 3); goes++) { // on a busy machine several parts may be there at once when it looks
    good = await page.evaluate(chat, { url: gateway.url, key: gateway.key });
    assert.equal(good.status, 200, JSON.stringify(good));
  }
  assert.equal(said(good.text), "echo: one two three four five");
  assert.ok(good.text.endsWith("data: [DONE]\n\n"));
  assert.ok(good.parts > 3, `it came in ${good.parts} parts`); // 20 ms between two tokens
  assert.equal(good.hidden, null); // what is not exposed, a page does not see

  // Refusals can be read, too.
  for (const key of [null, "sk-of-nobody"]) {
    const refused = await page.evaluate(chat, { url: gateway.url, key });
    assert.equal(refused.status, 401, JSON.stringify(refused));
    assert.equal(typeof JSON.parse(refused.text).error.message, "string");
  }
  await page.close();
}

async function lookFromElsewhere(browser, gateway) {
  const { server, origin } = await servePage();
  const page = await browser.newPage();
  await page.goto(origin);
  const refused = await page.evaluate(chat, { url: gateway.url, key: gateway.key });
  assert.match(refused.failed ?? "", /Failed to fetch/);
  await page.close();
  server.close();
}

const { server, origin } = await servePage();
const dir = mkdtempSync(join(tmpdir(), "aigateway-page-"));
const gateway = await startKeyed(dir, origin);
const browser = await startBrowser();
try {
  await look(browser, gateway, origin);
  await lookFromElsewhere(browser, gateway);
  const lines = () => gateway.said.text.split("\n").slice(0, -1).filter((l) => l.startsWith("{")).map((l) => JSON.parse(l))
    .filter((l) => l.path === "/v1/chat/completions").map((l) => `${l.method} ${l.status}`);
  const methods = await until("all lines are there", () => ["POST", "OPTIONS"].every((m, i) => lines().filter((l) => l.startsWith(m)).length >= [3, 1][i]) && lines());
  assert.ok(methods.includes("OPTIONS 204"), methods.join(", "));
  // Of the page elsewhere only its preflight came.
  const posts = methods.filter((m) => m.startsWith("POST"));
  assert.deepEqual([...new Set(posts.slice(0, -2)), ...posts.slice(-2)], ["POST 200", "POST 401", "POST 401"]);
  console.log("page: a stream from another origin, refusals that can be read, and nothing for others");
} finally {
  await browser.close();
  gateway.child.kill("SIGKILL");
  server.close();
  rmSync(dir, { recursive: true });
}
