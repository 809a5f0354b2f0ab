"use strict";
// Charts: lines on a canvas, read by pointer, keyboard and screen readers. They draw the points that app.js has.

const $ = (id) => document.getElementById(id);
const number = (v) => v == null ? "–" : v >= 9999.5 ? (v / 1000).toFixed(1) + "k" : v >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toFixed(1);
const percent = (v) => v == null ? "–" : (100 * v).toFixed(v > 0 && v < 1 ? 1 : 0) + " %";
function time(v) {
  if (v == null) return "–";
  if (v < 0.9995e-3) return (v * 1e6).toFixed(0) + " µs";
  if (v < 0.9995) return (v * 1e3).toFixed(v < 0.00995 ? 1 : 0) + " ms";
  return v.toFixed(v < 9.95 ? 1 : 0) + " s";
}

function element(name, parent, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  parent.append(e);
  return e;
}

function buildTiles(tiles, place) {
  for (const tile of tiles) {
    const div = element("div", place);
    element("dt", div, tile[0]);
    tile.out = element("dd", div, "–");
  }
}

function buildChart(chart, place) {
  const figure = element("figure", place, undefined, "chart");
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
  chart.canvas.parentElement.hidden = !chart.lines.length;
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

