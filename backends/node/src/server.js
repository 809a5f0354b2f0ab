/** `node src/server.js`: reads the environment, serves until SIGTERM, exits 0. */

import { once } from 'node:events';
import { createServer } from 'node:http';

import { createApp } from './app.js';
import { writeLine } from './log.js';
import { BadSettings, load } from './settings.js';

/** @returns {import('./settings.js').Settings} */
function settingsOrExit() {
  try {
    return load(process.env);
  } catch (error) {
    if (!(error instanceof BadSettings)) throw error;
    process.stderr.write(`${error.message}\n`);
    return process.exit(1);
  }
}

/**
 * Lets what is open end, then closes; what is still open after the grace is cut.
 *
 * @param {import('node:http').Server} server
 * @param {number} graceSeconds
 */
async function stop(server, graceSeconds) {
  // A connection that falls idle from now on would otherwise hold the exit for its keep-alive.
  const sweep = setInterval(() => server.closeIdleConnections(), 100);
  const cut = setTimeout(() => {
    server.closeAllConnections();
    for (const socket of upgraded) socket.destroy(); // These are no longer the server's.
  }, graceSeconds * 1000);
  server.close();
  await once(server, 'close');
  clearInterval(sweep);
  clearTimeout(cut);
}

const settings = settingsOrExit();
const server = createServer();
let stopping = false;
server.on('request', (_req, res) => {
  if (stopping) res.setHeader('Connection', 'close');
});
const { app, upgrade } = createApp(settings);
server.on('request', app);
/** @type {Set<import('node:stream').Duplex>} */
const upgraded = new Set();
server.on('upgrade', (_req, socket) => {
  upgraded.add(socket);
  socket.once('close', () => upgraded.delete(socket));
});
server.on('upgrade', upgrade);
server.on('error', (error) => {
  writeLine({ level: 'ERROR', msg: error.message });
  process.exit(1);
});
server.listen(settings.port, settings.host, () => {
  const { address, port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  writeLine({ level: 'INFO', msg: 'listening', host: address, port });
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  // Once: a second signal ends the process at once.
  process.once(signal, () => {
    stopping = true;
    stop(server, settings.shutdownGraceSeconds);
  });
}
