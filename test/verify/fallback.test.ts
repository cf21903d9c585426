/**
 * `npm run verify`: WebSockets, event streams and long polls follow one room with history, at 100 messages a second, through a
 * kill of their node, a drain and a restart of Redis. Every reader hears each message once and in order. `-- --fallback`
 * runs it at full size.
 *
 * The same judge as in every verify run (checker.ts) reads what they heard, in groups, because the whole is millions of lines.
 * Nodes reach Redis directly, not through the proxies of cluster.ts, because this process is busy with reading.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { check } from './checker.ts';
import type { Entry } from './log.ts';
import { readOptions } from './options.ts';
import { PollReader } from './poll-reader.ts';
import { Poster } from './poster.ts';
import { Messages, type Place, type Reader } from './reader.ts';
import { readHistory } from './run.ts';
import { SocketReader } from './socket-reader.ts';
import { StreamReader } from './stream-reader.ts';

const room = 'h:1';
const { fallback: full } = readOptions(process.env);
const kinds = full ? { WebSockets: 1_000, streams: 1_000, polls: 100 } : { WebSockets: 150, streams: 150, polls: 50 };
const messagesPerSecond = 100;
const steadyMs = 5_000;
const backDeadlineMs = 150_000;
const heardDeadlineMs = 150_000;
/**
 * All readers share this process. Where it cannot hear 200,000 messages a second, publishing waits for it: the reader that is
 * most behind is at most so many messages behind.
 */
const mostBehind = 1_500;
const openedAtOnce = 100;
const readersPerGroup = 70;

interface Following {
  readonly reader: Reader;
  readonly listens: boolean;
  connect(): void;
  stop(): void;
}

interface Nodes {
  redis: OwnRedis;
  balancer: Balancer;
  /** Ends a node by the signal, and starts it again after `awayMs`. */
  restart(index: number, signal: NodeJS.Signals, awayMs: number): Promise<void>;
  untilReady(): Promise<unknown>;
}

async function startNodes(): Promise<Nodes> {
  const redis = await ownRedisOnDisk();
  const balancer = await startBalancer();
  const nodes: SpawnedNode[] = [];
  const settings = {
    REDIS_URL: redis.url,
    ROOMS_FILE: roomsFile({
      ...{ match: room, subscribe: 'user', publish: 'user' },
      history: { size: 20_000, maxBytes: 268_435_456 },
    }),
    ...{ PUBLISH_RATE: 0, DRAIN_NOTICE_MS: 1_000, DRAIN_MS: 3_000, MAX_BUFFERED_BYTES: 8_388_608 },
  };
  const start = async (index: number) => {
    const node = await spawnNode({ ...settings, NODE_ID: `n${index}` });
    nodes[index] = node;
    balancer.ready[index] = false;
    balancer.targets[index] = node;
  };
  await Promise.all([start(0), start(1), start(2)]);
  const untilReady = () => until(() => balancer.ready.every(Boolean), backDeadlineMs, 'every node is ready');
  await untilReady();
  return {
    redis,
    balancer,
    untilReady,
    async restart(index, signal, awayMs) {
      nodes[index]?.kill(signal);
      await nodes[index]?.exited;
      await pause(awayMs);
      await start(index);
    },
  };
}

/** Where readers go. `only`: all of them to this node, as long as it is ready. */
function places({ balancer }: Nodes): { place: Place; only: number | undefined } {
  let turn = 0;
  const chosen = { only: undefined as number | undefined, place };
  function place(): number | undefined {
    const { targets, ready } = balancer;
    if (chosen.only !== undefined && ready[chosen.only]) return targets[chosen.only]?.port;
    for (let tries = targets.length; tries > 0; tries--) {
      turn = (turn + 1) % targets.length;
      if (ready[turn]) return targets[turn]?.port;
    }
    return undefined;
  }
  return chosen;
}

async function tokenOf(sub: string): Promise<string> {
  return mintToken({ sub, exp: Math.floor(Date.now() / 1000) + 3_600 });
}

async function follow(place: Place): Promise<Record<keyof typeof kinds, Following[]>> {
  const messages = new Messages(room);
  const all = async (kind: keyof typeof kinds, Kind: typeof SocketReader | typeof StreamReader | typeof PollReader) => {
    const readers: Following[] = [];
    onCleanup(() => {
      for (const each of readers) each.stop();
    });
    while (readers.length < kinds[kind]) {
      const name = `${kind}${readers.length}`;
      const each = new Kind(name, room, await tokenOf(name), place, messages);
      readers.push(each);
      each.connect();
      if (readers.length % openedAtOnce === 0) {
        await until(() => readers.every(({ listens }) => listens), backDeadlineMs, `${readers.length} ${kind} listen`);
      }
    }
    return readers;
  };
  return {
    WebSockets: await all('WebSockets', SocketReader),
    streams: await all('streams', StreamReader),
    polls: await all('polls', PollReader),
  };
}

/** How far the last reader is behind the first one. */
function distance(readers: readonly Following[]): number {
  const offsets = readers.map(({ reader: { position } }) => position?.offset ?? 0);
  return Math.max(...offsets) - Math.min(...offsets);
}

test('through a kill of their node, a drain and a restart of Redis, readers of every kind hear each message once, in order', {
  timeout: 900_000,
}, async () => {
  const log: Entry[] = [
    {
      ...{ t: performance.now(), event: 'run', seed: 0, minutes: 1, schedule: [] },
      rooms: [{ name: room, history: true }],
    },
  ];
  const nodes = await startNodes();
  const where = places(nodes);
  where.only = 1;
  const readers = await follow(where.place);
  const all = Object.values(readers).flat();
  const anywhere = places(nodes).place;
  const poster = new Poster({
    ...{ room, token: await tokenOf('poster'), place: anywhere, log, perSecond: messagesPerSecond },
    tooFast: () => distance(all) > mostBehind,
  });
  const began = performance.now();
  const say = (what: string) => {
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stdout.write(`${seconds} s: ${what}; ${poster.top} messages so far\n`);
  };
  const allBack = async (what: string) => {
    const back = () => all.every(({ listens }) => listens);
    await until(back, backDeadlineMs, `all are back after the ${what}`).catch((error: Error) => {
      const missing = all.flatMap(({ listens, reader }) => (listens ? [] : [reader.name]));
      throw new Error(`${error.message}; ${missing.length} are not, such as ${missing.slice(0, 5)}`);
    });
    say(`all are back after the ${what}`);
  };
  await pause(steadyMs);

  where.only = 2;
  await nodes.restart(1, 'SIGKILL', 1_000);
  await allBack('kill');
  await pause(steadyMs);

  where.only = undefined;
  await nodes.restart(2, 'SIGTERM', 0);
  await allBack('drain');
  await pause(steadyMs);

  await nodes.redis.kill();
  await nodes.redis.start();
  await nodes.untilReady();
  await pause(steadyMs);
  say('Redis is back');
  await poster.settle(backDeadlineMs);

  const isThere = ({ reader: { position } }: Following) => (position?.offset ?? 0) >= poster.top;
  await until(() => all.every(isThere), heardDeadlineMs, 'all have the last message').catch((error: Error) => {
    // The judge says what is missing.
    process.stderr.write(`${error.message}\n`);
  });
  say('all have heard all');
  const token = await mintToken({ sub: 'historian', rooms: { '*': ['history'] } });
  const history = await readHistory(await connectWelcomed(nodes.balancer.url, token), room);
  log.push(history);
  poster.stop();

  const violations = new Set<string>();
  const [first, ...rest] = log as [Entry, ...Entry[]];
  for (let from = 0; from < all.length; from += readersPerGroup) {
    const heard = all.slice(from, from + readersPerGroup).flatMap(({ reader }) => [...reader.entries()]);
    for (const { kind, what } of check([first, ...heard, ...rest])) violations.add(`${kind} ${what}`);
  }
  for (const [kind, some] of Object.entries(readers)) report(kind, some, history.offset);
  process.stderr.write(`publishing waited ${(poster.waitedMs / 1000).toFixed(1)} s for readers\n`);
  expect([...violations].slice(0, 20)).toEqual([]);
  expect(history.offset).toBeGreaterThan((messagesPerSecond * 4 * steadyMs) / 1000 / 2);
  for (const { reader } of [...readers.WebSockets, ...readers.streams]) {
    // The kill and the drain, at least.
    expect(reader.beginnings.length, reader.name).toBeGreaterThanOrEqual(3);
    expect(reader.beginnings.slice(1).every(({ recovered }) => recovered)).toBe(true);
  }
});

function report(kind: string, readers: readonly Following[], published: number): void {
  const sum = (of: (reader: Reader) => number) => readers.reduce((total, { reader }) => total + of(reader), 0);
  const latencies = Float64Array.from(readers.flatMap(({ reader }) => reader.latencies)).sort();
  const [p50, p99] = [0.5, 0.99].map((share) => latencies[Math.floor(share * (latencies.length - 1))]);
  const resumes = sum(({ beginnings }) => beginnings.length - 1);
  process.stderr.write(
    `${readers.length} ${kind}: ${published} messages published, ${sum(({ deliveries }) => deliveries)} deliveries, ` +
      `${resumes} resumes, ${sum(({ gaps }) => gaps)} gaps, latency p50 ${p50} ms, p99 ${p99} ms\n`,
  );
}
