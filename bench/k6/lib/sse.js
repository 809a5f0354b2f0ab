// Server-sent events of a whole body, as k6 hands it over. Pure JavaScript, so that node can test it.

// events returns the data of each event. A last event without its empty line was cut and is left out, as the standard for
// server-sent events has it.
export function events(body) {
  const whole = body.replace(/\r\n?/g, '\n').split('\n\n');
  whole.pop(); // what follows the last empty line
  const data = whole.map((event) =>
    event
      .split('\n')
      .filter((line) => line.startsWith('data:'))
      .map((line) => line.slice(5).replace(/^ /, ''))
      .join('\n'),
  );
  return data.filter((text) => text !== '');
}

// chat reads the events of a streamed chat completion: its text, how many events carried a piece of it, and whether it said
// that it ended, twice: by a finish_reason and by [DONE].
export function chat(body) {
  const seen = { text: '', pieces: 0, finished: false, done: false };
  for (const data of events(body)) {
    if (data === '[DONE]') {
      seen.done = true;
      continue;
    }
    const choice = JSON.parse(data).choices[0];
    if (!choice) continue; // the usage comes in an event without choices
    if (choice.delta.content) {
      seen.text += choice.delta.content;
      seen.pieces++;
    }
    if (choice.finish_reason) seen.finished = true;
  }
  return seen;
}
