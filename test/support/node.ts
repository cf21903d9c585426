/**
 * Gateway nodes for tests: one in this process, or the built program as a child process.
 *
 * Owns their settings for tests and their end, also when a test fails. Settings have their documented names without
 * GATEWAY_: `startNode({ REDIS_URL: url, PUBLISH_RATE: 5 })`; '' removes a default. A stop does not drain unless a test says
 * so.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { readConfig } from '../../gateway/config.ts';
import { type Extensions, startGateway } from '../../gateway/gateway.ts';
import type { ClusterParts } from '../../gateway/operations/cluster/ask.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from './cleanup.ts';
import { endWithThisProcess } from './lifeline.ts';
import { testSecret } from './token.ts';
import { within } from './until.ts';

export type NodeSettings = Record<string, string | number | boolean>;

export interface TestNode {
  /** The WebSocket endpoint; wss:// with TLS_CERT_FILE. */
  url: string;
  port: number;
  adminPort: number;
  stop(): Promise<void>;
}

/** A line of the program's log, as written by pino. */
export interface LogLine {
  level?: string;
  msg?: string;
  [field: string]: unknown;
}

export interface SpawnedNode extends TestNode {
  pid: number;
  /** All lines of standard output so far; a line that is not JSON is in `msg`. */
  logs: LogLine[];
  /** What it wrote to standard error so far. */
  errors(): string;
  kill(signal: NodeJS.Signals): void;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export const builtProgram = fileURLToPath(new URL('../../dist/gateway/main.js', import.meta.url));
const startDeadlineMs = 15_000;
const stopDeadlineMs = 10_000;

/** A node in this process. */
export interface StartedNode extends TestNode {
  /** For the operations on the whole cluster: gateway/operations/cluster. */
  cluster: ClusterParts;
}

/** Starts a node in this process, on free ports and, without REDIS_URL, on the memory backplane. */
export async function startNode(settings: NodeSettings = {}, extensions?: Extensions): Promise<StartedNode> {
  const config = readConfig(environment({ LOG_LEVEL: 'silent', ...settings }));
  const gateway = await startGateway(config, createLog(config.logLevel), extensions);
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= gateway.stop());
  onCleanup(stop);
  const { port, adminPort, cluster } = gateway;
  return { url: endpoint(port, settings), port, adminPort, cluster, stop };
}

/** The options that `npm start` gives to Node, and to the C library. */
export const usualFlags = ['--max-semi-space-size=8'];
export const usualMemory = { MALLOC_ARENA_MAX: '2' };

/** Starts the built program as `npm start` does, with the same defaults. `more`: variables of Node. `stop` sends SIGTERM, then SIGKILL if needed. */
export async function spawnNode(
  settings: NodeSettings = {},
  program = builtProgram,
  flags = usualFlags,
  more: Record<string, string> = {},
): Promise<SpawnedNode> {
  if (!existsSync(program)) throw new Error(`${program} is not there: run \`npm run build\` first`);
  const child = spawn(process.execPath, [...flags, program], {
    env: { PATH: process.env.PATH, ...usualMemory, ...environment(settings), ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithThisProcess(child);
  const logs: LogLine[] = [];
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const exited = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const stop = async () => {
    child.kill('SIGTERM');
    await within(exited, stopDeadlineMs, 'the node ends after SIGTERM').finally(() => child.kill('SIGKILL'));
  };
  onCleanup(async () => {
    child.kill('SIGKILL');
    await exited;
  });

  const listening = new Promise<LogLine>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = parseLine(text);
      logs.push(line);
      if (line.msg === 'listening') resolve(line);
    });
  });
  const early = exited.then(({ code }) => {
    throw new Error(`the node ended with ${code} before it listened:\n${logs.map((l) => l.msg).join('\n')}\n${errors}`);
  });
  const { port, adminPort } = await within(Promise.race([listening, early]), startDeadlineMs, 'the node listens');
  return {
    url: endpoint(Number(port), settings),
    port: Number(port),
    adminPort: Number(adminPort),
    pid: child.pid ?? 0,
    logs,
    errors: () => errors,
    kill: (signal) => void child.kill(signal),
    exited,
    stop,
  };
}

function environment(settings: NodeSettings): Record<string, string> {
  const all = { PORT: 0, ADMIN_PORT: 0, JWT_SECRET: testSecret, DRAIN_NOTICE_MS: 0, DRAIN_MS: 0, ...settings };
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [`GATEWAY_${name}`, `${value}`]));
}

function endpoint(port: number, settings: NodeSettings): string {
  return `${settings.TLS_CERT_FILE ? 'wss' : 'ws'}://127.0.0.1:${port}/ws`;
}

function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return { msg: text };
  }
}
