/**
 * One run: three nodes and a Redis of its own, load, a rest, load, and a rest. Nothing may differ between the two
 * rests but what a lifetime explains; and under load nothing may grow.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { redisClient } from '../contract/redis-node.ts';
import { apiKey, call } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { type Change, changedBuild } from '../support/changed-build.ts';
import { type SpawnedNode, spawnNode, usualFlags } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';
import { Churn } from './churn.ts';
import { growths, type Judged, judge, leftovers, moreObjectsThan } from './judge.ts';
import type { Objects } from './objects.ts';
import type { Options } from './options.ts';
import { type Counts, count, type Sampled, SampleFiles, sample } from './sample.ts';

const nodeCount = 3;
const mostSamples = 60;
/** Presence shows a connection for a second after its end; a block and a dedupe key last as long; the place of a sender 5 s. */
const restMs = 12_000;
const restDeadlineMs = 30_000;
/** At the objects that are left: a leak is there each time. */
const looks = 3;

export interface Outcome extends Omit<Judged, 'mostRise' | 'leftovers'> {
  /** Empty: the run holds. */
  reasons: string[];
}

/**
 * Nodes remember the rules, tokens, rights and rates of the last 1,000 to 20,000 that were asked for. It takes longer than a run to
 * fill that. In the program that runs here such a memory holds 10, so that it is full at once and any growth is another's.
 */
const smallCaches: readonly Change[] = [
  cache('rooms/access.js', 'maxRemembered = 20_000'),
  cache('auth/verified-tokens.js', 'maxRemembered = 10_000'),
  cache('auth/claims.js', 'maxRememberedGrants = 1_000'),
  cache('http/fallback/client-rates.js', 'maxRemembered = 10_000'),
];

/** Buffers that grow with the largest frame so far, and are used again, are here as large as they get from the start. */
const grownBuffers: readonly Change[] = [
  { file: 'protocol/centrifugo/protobuf/write.js', place: 'firstBytes = 16_384', change: 'firstBytes = 1_048_576' },
  {
    file: 'protocol/msgpack/write.js',
    place: 'new MsgpackEncoder({ maxDepth })',
    change: 'new MsgpackEncoder({ maxDepth, initialBufferSize: 1_048_576 })',
  },
  // Of frames with long integers, which here only chance makes: 16 digits in a row in a random name.
  {
    file: 'protocol/msgpack/write.js',
    place: 'new MsgpackEncoder({ maxDepth, useBigInt64: true })',
    change: 'new MsgpackEncoder({ maxDepth, useBigInt64: true, initialBufferSize: 1_048_576 })',
  },
];

function cache(file: string, place: string): Change {
  return { file, place, change: place.replace(/[\d_]+$/, '10') };
}

interface World {
  nodes: SpawnedNode[];
  files: SampleFiles;
  admin: Redis;
}

/** `leaks`: deliberate ones. */
export async function soak(
  { warmUpMs, sampledMs, mostRise }: Options,
  leaks: readonly Change[] = [],
): Promise<Outcome> {
  const world = await startWorld(changedBuild(...smallCaches, ...grownBuffers, ...leaks));
  const { nodes, files } = world;
  const churn = new Churn(nodes);
  churn.start();
  await delay(warmUpMs / 2);
  await churn.end();
  await delay(restMs);
  const before = await count(nodes, files, world.admin);
  const objects = await objectsAtRest(world);
  churn.start();
  await delay(warmUpMs);
  const samples = await sampleFor(sampledMs, world);
  await churn.end();
  await delay(restMs);
  const left = await leftAtRest(world, before);
  const { done, failures } = churn;
  const judged = {
    growths: growths(samples),
    objects: { before: objects, after: await objectsThatStay(world, objects) },
    done,
    failures,
  };
  return { ...judged, reasons: judge({ ...judged, mostRise, leftovers: left }) };
}

/** What is too much now, and stays so: a buffer that a read or an answer uses is there at one moment, and not at the next. */
async function objectsThatStay(world: World, before: Objects): Promise<Objects> {
  let after = await objectsAtRest(world);
  for (let look = 1; look < looks && moreObjectsThan({ before, after }).length > 0; look++) {
    after = await objectsAtRest(world);
  }
  return after;
}

/** Of the first node, which stops meanwhile. Resolves when it holds its lease again. */
async function objectsAtRest({ nodes, files }: World): Promise<Objects> {
  const [node] = nodes as [SpawnedNode];
  const objects = await files.objects(node, 0);
  const answers = async () => (await call(node, 'GET', '/api/rooms/live:nobody/members')).status === 200;
  await until(answers, restDeadlineMs, 'the first node has its lease again');
  return objects;
}

async function startWorld(program: string): Promise<World> {
  const redis = await ownRedis();
  const receiver = await new WebhookReceiver().start();
  // It is not what is measured.
  receiver.answer = () => {
    receiver.requests.length = 0;
    return 200;
  };
  const open = { subscribe: 'user', publish: 'user' };
  const history = { size: 50, ttlSeconds: 2 };
  const settings = {
    ...receiver.settings,
    REDIS_URL: redis.url,
    API_KEY: apiKey,
    CENTRIFUGO: true,
    PUBLISH_RATE: 0,
    REQUEST_RATE: 0,
    DEDUPE_MS: 2_000,
    PING_INTERVAL_MS: 1_000,
    MAX_MESSAGE_BYTES: 16_384,
    MAX_BUFFERED_BYTES: 131_072,
    ROOMS_FILE: roomsFile(
      { match: 'live:*', ...open, presence: true, joinLeave: true },
      { match: 'kept:*', ...open, presence: true, history },
      { match: 'plain:*', ...open },
    ),
  };
  const files = new SampleFiles();
  const start = (index: number) =>
    spawnNode({ ...settings, NODE_ID: `n${index}` }, program, [...usualFlags, ...files.flags(index)]);
  const nodes = await Promise.all(Array.from({ length: nodeCount }, (_, index) => start(index)));
  return { nodes, files, admin: redisClient(redis.url) };
}

/** Of all nodes but the first: the memory of that one has held a copy of its heap. */
async function sampleFor(ms: number, { nodes, files }: World): Promise<Sampled[]> {
  const samples: Sampled[] = [];
  const endsAt = performance.now() + ms;
  while (performance.now() < endsAt) {
    await delay(ms / mostSamples);
    samples.push(await sample(nodes, files, 1));
  }
  return samples;
}

/** What is too much now, and stays so: a timer or a socket of a moment ends by itself. */
async function leftAtRest({ nodes, files, admin }: World, before: Counts): Promise<string[]> {
  let left: string[] = [];
  const nothing = async () => {
    left = leftovers(before, await count(nodes, files, admin));
    return left.length === 0;
  };
  await until(nothing, restDeadlineMs, 'everything is given back').catch(() => undefined);
  return left;
}
