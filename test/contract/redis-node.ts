/**
 * Nodes on a Redis that a test owns and may break: started, subscribed, and publishing again as soon as it takes
 * something. All nodes of a test file share a prefix, and so one backplane for each Redis.
 */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';
import { outcome, publication, Recorder } from './recorder.ts';

export const deadlineMs = 10_000;
export const prefix = `rct:${randomBytes(6).toString('hex')}`;
let nodes = 0;

/** The channel of a room in Redis. */
export function channelOf(room: string): string {
  return `${prefix}:{${room}}`;
}

/** A node that is not started yet. */
export function redisNode(url: string, { replicated = false, log = createLog('silent') } = {}): Recorder {
  nodes += 1;
  const options = { redis: redisConnections(url, log), prefix, node: `node-${nodes}`, dedupeMs: 60_000, replicated };
  return new Recorder(new RedisBackplane(options, log));
}

/** A started node that is subscribed to these rooms. */
export async function started(url: string, ...rooms: string[]): Promise<Recorder> {
  const node = await redisNode(url).start();
  await Promise.all(rooms.map((room) => node.backplane.subscribe(room)));
  return node;
}

/** A client of Redis beside the gateway. */
export function redisClient(url: string): Redis {
  const redis = new Redis(url);
  // It is killed by the tests; without a listener ioredis prints that.
  redis.on('error', () => undefined);
  onCleanup(() => redis.disconnect());
  return redis;
}

/**
 * Resolves when the node is up again and these rooms are confirmed. Up alone does not say so of every room: each is told
 * when it is subscribed again.
 */
export async function untilBack(node: Recorder, ...rooms: string[]): Promise<void> {
  const back = async () => {
    await Promise.all(rooms.map((room) => node.backplane.subscribe(room)));
    return node.backplane.up;
  };
  await until(back, deadlineMs, 'the node is back');
}

/** Publishes until Redis takes it, and resolves with the frame. */
export async function publishWhenBack(node: Recorder, room: string): Promise<string> {
  const sent = publication(room);
  await until(async () => (await outcome(node.backplane.publish(sent))) === 'taken', deadlineMs, 'Redis is back');
  return sent.frame;
}
