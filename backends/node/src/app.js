/** The application: which route goes where. */

import express from 'express';

import { audioRoutes } from './audio.js';
import { generateRoutes } from './generate.js';
import { inferRoutes, Model, query } from './infer.js';
import { noteUpgrade, observe } from './log.js';
import { SERVICE } from './names.js';
import { messagesRoutes } from './messages.js';
import { openaiRoutes } from './openai.js';
import { realtime } from './realtime.js';
import { rankingRoutes } from './ranking.js';
import { responsesRoutes } from './responses.js';
import { Service } from './service.js';
import { speechRoutes } from './speech.js';
import { tokenRoutes } from './tokens.js';
import { allowOnly, errorHandler, notFound, reply } from './reply.js';
import { Stats } from './stats.js';

/**
 * @param {import('./settings.js').Settings} settings
 * @returns {{app: express.Express, upgrade: (...event: any) => void}} what a server does with its requests and upgrades
 */
export function createApp(settings) {
  const stats = new Stats();
  const model = new Model(settings.inferLatency, stats);
  const app = express();
  app.disable('x-powered-by');
  app.enable('case sensitive routing');
  app.enable('strict routing');
  app.use(observe(stats, settings.accessLog));
  app.use(inferRoutes(model));
  const service = new Service(model, settings);
  for (const routes of [
    openaiRoutes,
    generateRoutes,
    responsesRoutes,
    messagesRoutes,
    rankingRoutes,
    audioRoutes,
    speechRoutes,
    tokenRoutes,
  ]) {
    app.use(routes(service));
  }
  app
    .route('/healthz')
    .get((_req, res) => reply(res, { ok: true, service: SERVICE }))
    .all(allowOnly('GET, HEAD'));
  app
    .route('/stats')
    .get((req, res) => {
      res.setHeader('Cache-Control', 'no-store');
      reply(res, stats.snapshot(query(req).get('id')));
    })
    .all(allowOnly('GET, HEAD'));
  app.use(notFound);
  app.use(errorHandler);
  const converse = realtime(service);
  /** @type {(req: import('node:http').IncomingMessage, socket: import('node:stream').Duplex, head: Buffer) => void} */
  const upgrade = (req, socket, head) => {
    stats.requests += 1;
    const start = performance.now();
    const status = converse(req, socket, head);
    if (!settings.accessLog) return;
    socket.once('close', () => noteUpgrade(req, status, performance.now() - start));
  };
  return { app, upgrade };
}
