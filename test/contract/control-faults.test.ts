/**
 * What gateway/backplane/control.ts promises while nodes or Redis fail: a Redis of its own for each test, which is killed or
 * hangs, nodes that are cut off, and foreign bytes on the channels. Nodes that are killed and frozen as processes:
 * test/integration/control.test.ts.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { deadlineMs, maxCommandBytes } from '../../gateway/backplane/control.ts';
import { capturedLog } from '../support/captured-log.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { type ControlNode, redisNode } from './control-node.ts';
import { redisClient } from './redis-node.ts';

const prefix = `rct:${randomBytes(6).toString('hex')}`;
/** What a caller waits for at most, and the slack of a busy machine. */
const answeredMs = deadlineMs + 500;

async function started(url: string, options: Parameters<typeof redisNode>[2] = {}): Promise<ControlNode> {
  return redisNode(url, prefix, options).start();
}

async function timed<Result>(work: () => Promise<Result>): Promise<{ result: Result; tookMs: number }> {
  const startedAt = performance.now();
  const result = await work();
  return { result, tookMs: performance.now() - startedAt };
}

describe('a node', () => {
  test('that hears nothing any more is missing within the deadline, is not expected once its lease is over, and is back when it hears again', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    const proxy = await faultProxy(redis.url);
    const cutOff = await started(proxy.url);
    await one.untilAround(one, cutOff);
    proxy.mode = 'blackhole';
    const { result, tookMs } = await timed(() => one.around());
    expect(result).toEqual({ there: [one.name], missing: [cutOff.name] });
    expect(tookMs).toBeLessThan(answeredMs);
    await one.untilAround(one);
    const told = cutOff.interruptions;
    proxy.mode = 'pass';
    proxy.cut();
    await one.untilAround(one, cutOff);
    expect(cutOff.interruptions).toBeGreaterThan(told);
  }, 40_000);

  test('that joins while a question is under way may answer, and is not waited for; the next question reaches it', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    const held = one.ask('hold', {}, other.instance);
    await until(() => other.held === 1, 5_000, 'the command has come');
    const joined = await started(redis.url);
    other.release();
    expect(await held).toEqual({
      answers: [{ instance: other.instance, node: other.name, value: 'held' }],
      missing: [],
    });
    await one.untilAround(one, other, joined);
  });

  test('that is dead is not expected any more, though its lease cannot be taken away', async () => {
    const redis = await ownRedis();
    const client = redisClient(redis.url);
    const lease = 'dead-0123456789.1';
    await client.hset(`${prefix}:nodes`, lease, 7);
    // No node can remove its members from this room.
    await client.sadd(`${prefix}:node:${lease}:rooms`, '', 'broken');
    await client.acl('SETUSER', 'default', 'resetkeys', `~${prefix}:[a-z]*`);
    const one = await started(redis.url);
    expect(await one.around()).toEqual({ there: [one.name], missing: ['dead'] });
    await one.untilAround(one);
    expect(await client.hexists(`${prefix}:nodes`, lease)).toBe(1);
  }, 20_000);

  test('that ends in order is not expected from then on', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    await other.close();
    expect(await one.around()).toEqual({ there: [one.name], missing: [] });
  });

  test.each([
    ['prefix', `${prefix}:other`, ''],
    ['database', prefix, '/7'],
  ])('of another %s is of another cluster', async (_, otherPrefix, database) => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    const foreign = await redisNode(`${redis.url}${database}`, otherPrefix).start();
    expect(await foreign.around()).toEqual({ there: [foreign.name], missing: [] });
    expect(await one.around()).toEqual({ there: [one.name], missing: [] });
    await foreign.channel.block('ann', 60_000);
    expect((await one.channel.blocks(undefined))?.blocks).toEqual([]);
  });
});

describe('Redis', () => {
  test('is killed while a question is under way: it ends within the deadline, and the next ones work when Redis is back', async () => {
    const redis = await ownRedisOnDisk();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    const held = timed(() => one.ask('hold', {}, other.instance));
    await until(() => other.held === 1, 5_000, 'the command has come');
    await redis.kill();
    await redis.start();
    other.release();
    const { result, tookMs } = await held;
    expect(tookMs).toBeLessThan(answeredMs);
    expect([[], [other.name]]).toContainEqual(result.missing);
    await one.untilAround(one, other);
  }, 40_000);

  test('is away: a question and a block are refused as unavailable at once', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    await redis.kill();
    await until(() => !one.up, 10_000, 'the node is down');
    for (const asked of [() => one.ask('echo'), () => one.channel.block('ann', 1_000), () => one.channel.blocks('')]) {
      const { result, tookMs } = await timed(() => asked().then(String, (error: { code: string }) => error.code));
      expect(result).toBe('unavailable');
      expect(tookMs).toBeLessThan(1_000);
    }
    expect(one.performed).toEqual([]);
  });

  test('hangs: a question ends within the deadline, and was not sent, or names who is missing', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    await redis.pause();
    const { result, tookMs } = await timed(() => one.around().catch((error: { code: string }) => error.code));
    expect(result).toBe('unavailable');
    expect(tookMs).toBeLessThan(answeredMs);
    await redis.resume();
    await one.untilAround(one, other);
  }, 40_000);

  test('takes the command, and hangs before it is passed on: every node is missing at the deadline, or it is unknown', async () => {
    const redis = await ownRedis();
    const proxy = await faultProxy(redis.url);
    const one = await started(proxy.url, { leasesUrl: redis.url });
    const other = await started(redis.url);
    await one.untilAround(one, other);
    proxy.mode = 'blackhole';
    const { result, tookMs } = await timed(() => one.around().catch((error: { code: string }) => error.code));
    expect(['timeout', { there: [], missing: [one.name, other.name].sort() }]).toContainEqual(result);
    expect(tookMs).toBeLessThan(answeredMs);
    proxy.mode = 'pass';
    await one.untilAround(one, other);
  }, 40_000);

  test('has its scripts flushed: the next block but one works', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    await redisClient(redis.url).script('FLUSH');
    const blocked = () => one.channel.block('ann', 60_000).then(() => true);
    await until(blocked, 5_000, 'the script is loaded again');
  });

  test('restarts with its append-only file: blocks are there. Without: they are gone, and nodes are told', async () => {
    for (const [redis, left] of [[await ownRedisOnDisk(), ['ann']] as const, [await ownRedis(), []] as const]) {
      const one = await started(redis.url);
      const { after } = await one.channel.block('ann', 60_000);
      const told = one.interruptions;
      await redis.kill();
      await redis.start();
      await until(() => one.interruptions > told, 10_000, 'the node is connected again');
      const list = await one.channel.blocks(left.length > 0 ? undefined : after);
      expect(list?.blocks.map(({ user }) => user)).toEqual(left);
    }
  }, 40_000);
});

describe('on the channels', () => {
  const head = { v: 1, id: '7', from: 'stranger-0123456789' };
  test.each([
    ['nothing', ''],
    ['bytes that are no text', '\u0000\uffff'],
    ['no JSON', '{"v":1,'],
    ['no object', '7'],
    ['null', 'null'],
    ['no version', JSON.stringify({ ...head, v: undefined, kind: 'echo' })],
    ['no id', JSON.stringify({ ...head, id: undefined, kind: 'echo' })],
    ['an id that no node writes', JSON.stringify({ ...head, id: '{x}', kind: 'echo' })],
    ['a sender that is the name of another channel', JSON.stringify({ ...head, from: '{room}', kind: 'echo' })],
    ['no kind', JSON.stringify(head)],
    ['a kind that is no text', JSON.stringify({ ...head, kind: ['echo'] })],
    ['a goal that is no text', JSON.stringify({ ...head, kind: 'echo', to: 7 })],
    ['too much', JSON.stringify({ ...head, kind: 'echo', arguments: 'x'.repeat(maxCommandBytes) })],
  ])('%s is ignored with a line in the log, and does no harm', async (_, text) => {
    const redis = await ownRedis();
    const { log, lines } = capturedLog();
    const one = await started(redis.url, { log });
    const client = redisClient(redis.url);
    for (const name of ['control', `commands:${one.instance}`, `control:${one.instance}`])
      await client.publish(`${prefix}:${name}`, text);
    expect(await one.around()).toEqual({ there: [one.name], missing: [] });
    expect(one.performed).toHaveLength(1);
    expect(lines.join('')).toContain('not a command of a node; ignored');
  });

  test('a command to one node is told to no other; one of the release before, which has no channel for that, gets it all the same', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    const [ear, client] = [redisClient(redis.url), redisClient(redis.url)];
    const before = { name: 'before', instance: 'before-0123456789' };
    const toAll: string[] = [];
    ear.on('message', (_, text: string) => {
      const { id, from, to, kind } = JSON.parse(text);
      toAll.push(kind);
      const answer = JSON.stringify({ v: 1, id, from: before.instance, value: 'done' });
      if (to === before.instance) void client.publish(`${prefix}:control:${from}`, answer);
    });
    await ear.subscribe(`${prefix}:control`);
    const { answers } = await one.ask('echo', 1, other.instance);
    expect([answers.map(({ value }) => value), other.performed.at(-1), toAll]).toEqual([[1], 1, []]);
    await client.hset(`${prefix}:nodes`, `${before.instance}.1`, 1);
    expect(await one.ask('old', {}, before.instance)).toEqual({
      answers: [{ node: before.name, instance: before.instance, value: 'done' }],
      missing: [],
    });
    expect(toAll).toEqual(['old']);
  });

  test('a command of a later version or kind is answered `unsupported`, so that the node that asks need not wait', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    const [ear, client] = [redisClient(redis.url), redisClient(redis.url)];
    const heard: unknown[] = [];
    ear.on('message', (_, text: string) => heard.push(JSON.parse(text)));
    await ear.subscribe(`${prefix}:control:${head.from}`);
    for (const [id, more] of [
      ['1', { v: 2, something: 'else' }],
      ['2', { kind: 'of a later version' }],
      ['3', { kind: 'echo', arguments: 'known', more: 1 }],
    ] as const) {
      await client.publish(`${prefix}:control`, JSON.stringify({ ...head, id, ...more }));
    }
    await until(() => heard.length === 3, 5_000, 'three answers');
    const from = { v: 1, from: one.instance };
    expect(heard).toContainEqual({ ...from, id: '1', error: 'unsupported' });
    expect(heard).toContainEqual({ ...from, id: '2', error: 'unsupported' });
    expect(heard).toContainEqual({ ...from, id: '3', value: 'known' });
  });

  test('answers that nobody asked for, come twice, late, or from a stranger change nothing', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url), await started(redis.url)];
    await one.untilAround(one, other);
    const client = redisClient(redis.url);
    const say = (fields: object) =>
      client.publish(`${prefix}:control:${one.instance}`, JSON.stringify({ v: 1, ...fields }));
    await say({ id: '999', from: other.instance, value: 1 });
    const held = one.ask('hold', {}, other.instance);
    const id = String(one.durations.length + 1);
    await say({ id, from: 'stranger-0123456789', value: 'mine' });
    await until(() => other.held === 1, 5_000, 'the command has come');
    other.release();
    const { answers, missing } = await held;
    expect(missing).toEqual([]);
    expect(answers.filter(({ instance }) => instance === other.instance)).toHaveLength(1);
    await say({ id, from: other.instance, value: 'late' });
    expect((await one.around()).missing).toEqual([]);
  });
});
