/**
 * The measured servers: the built gateway, the reference, or a peer, each as separate processes with a separate Redis, pinned
 * to the server's processor.
 *
 * Owns their settings and their end. Each prints to standard output that it listens, and on which port.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { DialectName } from '../../gateway/cli/load/dialects.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { launchRedisProcess, type OwnRedis } from '../support/redis-process.ts';
import { within } from '../support/until.ts';
import { benchApiKey } from './api-key.ts';
import { pin, serverProcessors } from './machine.ts';

/** HS256 secret of the gateways that are measured. */
export const benchSecret = 'a-secret-for-measurements-of-more-than-32-bytes';
const startDeadlineMs = 15_000;
const stopDeadlineMs = 15_000;
/** No output limit in Redis, so that only the servers limit the result. */
const redisSettings = ['--client-output-buffer-limit', 'pubsub 0 0 0'];
const historySize = 100;

/** A program that takes REDIS_URL and says `{"msg": "listening", "port"}`, and `pid` if another process does its work. */
export interface Contestant {
  name: string;
  dialect: DialectName;
  /** Of the publisher, if it is another one. */
  publisherDialect?: DialectName;
  program: string;
  /** As for `node`. */
  flags: string[];
  environment: Record<string, string>;
  /** Factor on the rates at which a search starts, for a much slower server. */
  pace: number;
  /** So many idle members of Centrifugo's protocol are there too, in rooms of their own. */
  guests?: number;
  /** Messages go in by its HTTP API, from so many connections. Otherwise by one WebSocket. */
  apiConnections?: number;
}

/** A running server: one node, or several on one Redis. */
export interface Server {
  nodes: { port: number; adminPort: number; pid: number }[];
  pids: number[];
  redis: OwnRedis;
  redisPid: number;
  stop(): Promise<void>;
}

export const root = fileURLToPath(new URL('../../', import.meta.url));

export const reference: Contestant = {
  name: 'reference',
  dialect: 'bare',
  program: join(root, 'test/bench/reference.js'),
  flags: [],
  environment: {},
  pace: 1,
};

/** The gateway as `npm start` runs it, without the bounds per user. */
export const gateway: Contestant = {
  name: 'gateway',
  dialect: 'gateway',
  program: join(root, 'gateway/main.js'),
  flags: ['--max-semi-space-size=8'],
  environment: {
    MALLOC_ARENA_MAX: '2',
    ...gatewayEnvironment({
      PORT: 0,
      ADMIN_PORT: 0,
      JWT_SECRET: benchSecret,
      API_KEY: benchApiKey,
      PUBLISH_RATE: 0,
      REQUEST_RATE: 0,
      LOG_LEVEL: 'info',
      DRAIN_NOTICE_MS: 0,
      DRAIN_MS: 0,
    }),
  },
  pace: 1,
};

export const gatewayByApi: Contestant = { ...gateway, name: 'gateway by its HTTP API', apiConnections: 16 };

export const folder = mkdtempSync(join(tmpdir(), 'roomcast-bench-'));
const roomsFile = join(folder, 'rooms.json');
writeFileSync(roomsFile, JSON.stringify({ rooms: [{ match: '*', history: { size: historySize } }] }));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** All rooms keep a history. */
export const gatewayWithHistory: Contestant = {
  ...gateway,
  name: 'gateway with history',
  environment: { ...gateway.environment, GATEWAY_ROOMS_FILE: roomsFile },
};

/** Another build of the gateway: `folder` is its dist/. It has the settings of this one by default. */
export function otherBuild(folder: string): Contestant {
  const program = join(resolve(folder), 'gateway/main.js');
  if (!existsSync(program)) throw new TypeError(`${program} does not exist; build it with npm run build`);
  return { ...gateway, name: 'other build', program, environment: { ...gateway.environment } };
}

/** For both. Settings have the names of docs/configuration.md, without GATEWAY_. */
export function setGateways(settings: Record<string, string>, guests: number): void {
  for (const each of [gateway, gatewayWithHistory]) {
    Object.assign(each.environment, gatewayEnvironment(settings));
    each.guests = guests;
  }
}

export async function startServer(contestant: Contestant, nodes = 1): Promise<Server> {
  const redis = await launchRedisProcess(undefined, redisSettings);
  const processes = await Promise.all(Array.from({ length: nodes }, () => startNode(contestant, redis.url)));
  return {
    nodes: processes,
    pids: processes.map(({ pid }) => pid),
    redis,
    redisPid: redis.pid ?? 0,
    async stop() {
      await Promise.all(processes.map(({ stop }) => stop()));
      await redis.stop();
    },
  };
}

async function startNode({ name, program, flags, environment }: Contestant, redisUrl: string) {
  const child = spawn(process.execPath, [...flags, program], {
    env: { PATH: process.env.PATH, REDIS_URL: redisUrl, GATEWAY_REDIS_URL: redisUrl, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endWithThisProcess(child);
  pin(child.pid ?? 0, serverProcessors);
  const lines: string[] = [];
  const listening = new Promise<{ port: number; adminPort: number; pid: number }>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(line);
      if (line.includes('"msg":"listening"')) resolve({ pid: child.pid, ...JSON.parse(line) });
    });
  });
  const early = once(child, 'close').then(() => {
    throw new Error(`${name} ended before it listened:\n${lines.join('\n')}`);
  });
  const { port, adminPort, pid } = await within(Promise.race([listening, early]), startDeadlineMs, `${name} listens`);
  return { port, adminPort, pid, stop: () => stop(child, name) };
}

async function stop(child: ChildProcess, name: string): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await within(exited, stopDeadlineMs, `${name} ends after SIGTERM`).finally(() => child.kill('SIGKILL'));
}

export function gatewayEnvironment(settings: Record<string, string | number>): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`GATEWAY_${name}`, `${value}`]));
}
