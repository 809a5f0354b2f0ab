// What the tests in a browser share: a gateway, something for it to do, and pages that must not complain. GATEWAY is the binary,
// CHROMIUM the browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { chromium } from "playwright-core";

export const gatewayFile = process.env.GATEWAY ?? "../../../.bin/gateway";
const browserFile = process.env.CHROMIUM ?? "/usr/bin/chromium";
const patience = 60_000;

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));

export const startBrowser = () => chromium.launch({ executablePath: browserFile, args: ["--no-sandbox", "--disable-gpu"] });

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

// until waits for a condition, which may be asynchronous, and returns what it gave.
export async function until(what, condition) {
  for (const end = Date.now() + patience; Date.now() < end; await wait(50)) {
    const got = await condition();
    if (got) return got;
  }
  throw new Error(`waited too long: ${what}`);
}

// startGateway starts a gateway, the demo unless something else is asked for, on a port of its own unless one is named, and waits until it
// is ready.
export async function startGateway({ args = [], env = {}, port, mode = ["-demo"] } = {}) {
  port ??= await freePort();
  const child = spawn(gatewayFile, [...mode, ...args], { stdio: ["ignore", "ignore", "pipe"], env: { PORT: String(port), ...env } });
  const said = { text: "" };
  child.stderr.on("data", (part) => (said.text += part));
  const url = `http://127.0.0.1:${port}`;
  try {
    await until("the gateway is ready", () => fetch(url + "/readyz").then((r) => r.ok, () => false));
  } catch (err) {
    child.kill("SIGKILL");
    throw new Error(`${err.message}\n${said.text}`);
  }
  return { child, port, url, said };
}

export const agent = new http.Agent({ keepAlive: true, maxSockets: 128 });

export function ask(url, body, headers = {}) {
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

const lamps = "You are the assistant of a shop that sells lamps, and answer briefly and politely. ".repeat(30);
const chatOf = (model, question, more) => JSON.stringify({
  model, stream: true, stream_options: { include_usage: true }, ...more,
  messages: [{ role: "system", content: model === "sim-chat" ? lamps : "answer" }, { role: "user", content: question }],
});

// load is a mix of everything that the charts show; more than the limits let in. stop() ends it when the last one has its answer.
export function load(url) {
  const json = { "Content-Type": "application/json" };
  const a = { ...json, "X-API-Key": "sk-demo-team-a" }, b = { ...json, "X-API-Key": "sk-demo-team-b" };
  const open = new Set();
  let n = 0;
  const timer = setInterval(() => {
    n++;
    const busy = 0.6 + 0.4 * Math.sin(n / 60), chat = `${url}/v1/chat/completions`;
    const send = (chance, ...args) => {
      if (Math.random() >= chance * busy) return;
      const asked = ask(...args).catch(() => {}).finally(() => open.delete(asked));
      open.add(asked);
    };
    send(0.8, `${url}/infer?prompt=${Math.floor(30 * Math.random() ** 3)}`);
    send(0.4, `${url}/infer/python`, '{"prompt":"hello"}', json);
    send(0.3, `${url}/infer/node`, '{"prompt":"x"}', json);
    send(0.03, `${url}/infer/node`, '{"prompt":"x"}', { ...json, "X-Sim-Error": "500" });
    send(0.01, chat, chatOf("sim-chat", `which lamp for room ${n}?`), { ...a, "X-Sim-Tokens": "40" });
    send(0.08, chat, chatOf("sim-small", `and bulb ${n}?`), { ...a, "X-Sim-Tokens": "20" });
    send(0.03, chat, chatOf("sim-llm", `question ${n % 7}`, { temperature: 0 }), a);
    send(0.01, chat, chatOf("sim-llm", `lamp ${n}`), { ...b, "X-Sim-Tokens": "30" });
    if (n % 200 > 180) for (let i = 0; i < 3; i++) send(1, `${url}/limited`);
  }, 20);
  return async () => {
    clearInterval(timer);
    await Promise.all(open);
  };
}

// open opens a page of the dashboard, which must not complain or ask anybody else.
export async function open(browser, url, options, hash = "") {
  const page = await browser.newPage(options);
  page.complaints = [];
  page.polls = 0;
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) page.complaints.push(m.text()); });
  page.on("pageerror", (err) => page.complaints.push(String(err)));
  page.on("request", (r) => {
    if (new URL(r.url()).origin !== url && !r.url().startsWith("data:")) page.complaints.push("asks " + r.url());
    if (r.url().endsWith("/dashboard/data")) page.polls++;
  });
  await page.goto(url + "/dashboard" + hash);
  page.setDefaultTimeout(patience);
  return page;
}

// passes waits until that much time has passed for the gateway.
export async function passes(url, ms) {
  const now = async () => (await (await fetch(url + "/dashboard/data")).json()).now_ms;
  const from = await now();
  await until(`${ms} ms pass`, async () => await now() - from >= ms);
}

// tokensShown are those that the charts of a page show from one time of the gateway's to another, in and out.
export const tokensShown = (page, from, to) => page.evaluate(([from, to]) => {
  const sums = { in: 0, out: 0, points: 0 };
  points.forEach((p, i) => {
    if (!p || p.at <= from + 1 || p.at > to + 1) return;
    const seconds = (p.at - (points[i - 1]?.at ?? from)) / 1000;
    sums.in += p.values.tokensIn * seconds;
    sums.out += p.values.tokensOut * seconds;
    sums.points++;
  });
  return sums;
}, [from, to]);
