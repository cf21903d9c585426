/**
 * A Redis as a child process on a free loopback port. After a new start it is empty, unless it was given a folder.
 *
 * Owns the process: its signals, its port, and its end, by its pid and at the latest with this process. It does not know
 * the ladder that chooses between process and container.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { until } from './until.ts';

/** A Redis that a test may break. Every promise settles when the effect has happened. */
export interface OwnRedis {
  readonly url: string;
  readonly port: number;
  /** Only for a process of this machine; `start` changes it. */
  readonly pid?: number | undefined;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts again on the same port; empty, unless it keeps a file. */
  start(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
  /** Ends it, in any state. */
  stop(): Promise<void>;
}

const startDeadlineMs = 10_000;
const startAttempts = 3;

/**
 * Starts a Redis process; requires `redis-server` on the PATH. With a folder it keeps an append-only file there: everything
 * answered before `kill` is there again after `start`. `settings` are further arguments; the last one of a name counts. `more`:
 * variables of its environment.
 */
export async function launchRedisProcess(
  folder?: string,
  settings: readonly string[] = [],
  more: Record<string, string> = {},
): Promise<OwnRedis> {
  let { port, server } = await launchOnFreePort(folder, settings, more);
  const kill = () => end(server);
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid;
    },
    kill,
    async start() {
      // Meanwhile the kernel may have given its port to a connection, even to one that tried to reach it and met itself.
      const again = () => launch(port, folder, settings, more);
      server = await until(again, startDeadlineMs, `redis-server has its port ${port} again`);
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

/** Resolves when the Redis at `url` answers PING; `name` is for the error. */
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

async function launchOnFreePort(folder: string | undefined, settings: readonly string[], more: Record<string, string>) {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    try {
      return { port, server: await launch(port, folder, settings, more) };
    } catch (error) {
      if (attempt === startAttempts) throw error;
    }
  }
}

async function launch(
  port: number,
  folder: string | undefined,
  settings: readonly string[],
  more: Record<string, string>,
): Promise<ChildProcess> {
  // `everysec` may hold back a write for up to 2 s during a sync; only `always` surely survives a kill.
  const file = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder ?? ''];
  const kept = folder === undefined ? ['--appendonly', 'no'] : file;
  const basics = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', ''];
  const server = spawn('redis-server', [...basics, ...kept, ...settings], {
    env: { ...process.env, ...more },
    stdio: 'ignore',
  });
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
