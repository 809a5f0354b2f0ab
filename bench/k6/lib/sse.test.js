import assert from 'node:assert/strict';
import test from 'node:test';
import { chat, events } from './sse.js';

const piece = (content, more) => `data: ${JSON.stringify({ choices: [{ delta: { content }, ...more }] })}\n\n`;

test('events', () => {
  for (const [body, want] of [
    ['', []],
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data:a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['data: a\ndata: b\n\n', ['a\nb']],
    [': ping\n\nevent: x\nid: 1\ndata: a\n\n', ['a']],
    ['data: a\n\ndata: cut', ['a']],
    ['data: a\n\ndata: cut\n', ['a']],
  ]) {
    assert.deepEqual(events(body), want, JSON.stringify(body));
  }
});

test('a whole chat', () => {
  const end = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n`;
  assert.deepEqual(chat(piece('echo:') + piece(' a') + end), { text: 'echo: a', pieces: 2, finished: true, done: true });
});

test('a chat that was cut says so', () => {
  assert.deepEqual(chat(piece('echo:') + 'data: {"cho'), { text: 'echo:', pieces: 1, finished: false, done: false });
});
