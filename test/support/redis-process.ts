/**
 * A Redis as a child process on a free loopback port. Started again it is empty, unless it was given a folder.
 *
 * Owns the process: its signals, its port, and its end, by its own pid and at the latest with this process. Knows
 * nothing of the ladder that decides whether a process or a container is used.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { until } from './until.ts';

/** A Redis that a test may break. Every promise settles when the effect is there. */
export interface OwnRedis {
  readonly url: string;
  readonly port: number;
  /** Only where it is a process of this machine; another one after `start`. */
  readonly pid?: number | undefined;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Again on the same port, and empty, unless it keeps a file. */
  start(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
  /** The end, in whatever state it is. */
  stop(): Promise<void>;
}

const startDeadlineMs = 10_000;
const startAttempts = 3;

/**
 * Starts a Redis process; requires `redis-server` on the PATH. With a folder it keeps an append-only file there, and what
 * was answered before `kill` is there again after `start`.
 */
export async function launchRedisProcess(folder?: string): Promise<OwnRedis> {
  let { port, server } = await launchOnFreePort(folder);
  const kill = () => end(server);
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid;
    },
    kill,
    async start() {
      server = await launch(port, folder);
    },
    async pause() {
      server.kill('SIGSTOP');
    },
    async resume() {
      server.kill('SIGCONT');
    },
    stop: kill,
  };
}

/** Resolves when the Redis at `url` answers PING; `name` stands in the error. */
export async function untilRedisAnswers(url: string, name: string): Promise<void> {
  await until(() => answersPing(url), startDeadlineMs, `${name} answers PING`);
}

async function answersPing(url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  // The same failure also rejects `connect`; without a listener ioredis prints it.
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } finally {
    redis.disconnect();
  }
}

async function launchOnFreePort(folder?: string): Promise<{ port: number; server: ChildProcess }> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    try {
      return { port, server: await launch(port, folder) };
    } catch (error) {
      if (attempt === startAttempts) throw error;
    }
  }
}

async function launch(port: number, folder?: string): Promise<ChildProcess> {
  // `everysec` may hold back a write for up to 2 s while it syncs; only `always` survives a kill for sure.
  const file = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder ?? ''];
  const kept = folder === undefined ? ['--appendonly', 'no'] : file;
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', ...kept];
  const server = spawn('redis-server', settings, { stdio: 'ignore' });
  endWithThisProcess(server);
  const ended = once(server, 'exit').then(([code]) => {
    throw new Error(`redis-server on port ${port} ended with ${code} before it answered`);
  });
  try {
    await Promise.race([untilRedisAnswers(`redis://127.0.0.1:${port}`, 'redis-server'), ended]);
  } catch (error) {
    await end(server);
    throw error;
  }
  return server;
}

async function end(server: ChildProcess): Promise<void> {
  if (server.pid === undefined || server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGKILL');
  await exited;
}
