/**
 * Redis refuses a command, or a part of one: a right was taken away, memory is full, somebody's key is in the way. Whoever
 * is told `unavailable` may publish again, and it is kept and delivered once; the node says what is refused, in one line,
 * and is well again as soon as Redis is. Each test has a Redis of its own.
 */
import { describe, expect, test } from 'vitest';
import { createLog } from '../../gateway/telemetry/log.ts';
import { capturedLog } from '../support/captured-log.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { offsetsOf, pageOf, publishKept, readAll, span } from './kept-room.ts';
import { keptPublication, outcome, publication } from './recorder.ts';
import { channelOf, deadlineMs, prefix, redisClient, redisNode, started } from './redis-node.ts';

/** A node that comes to this Redis as a user with all rights, which `acl` takes away and gives back. */
async function restrictable(redis: OwnRedis) {
  const admin = redisClient(redis.url);
  const acl = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'node', ...rules);
  await acl('on', '>secret', '~*', '&*', '+@all');
  const { log, lines } = capturedLog();
  const one = await redisNode(redis.url.replace('//', '//node:secret@'), { log }).start();
  const recovered = () => until(() => one.backplane.trouble === undefined, deadlineMs, 'the node is well again');
  await recovered();
  return { one, acl, recovered, lines };
}

const withKey = { dedupe: { by: 'ann', key: 'k' } };

describe('a right is taken away and given back', () => {
  test.each(['get', 'hmget', 'hset', 'pexpire', 'set', 'xrange', 'xdel', 'xadd', 'evalsha', 'publish'])(
    '%s: a message that is kept is never called refused, and a retry of it is not kept twice',
    async (right) => {
      const { one, acl } = await restrictable(await ownRedis());
      await one.backplane.subscribe('a');
      // Both messages fit only alone, so each removes the one before.
      const fields = { history: { size: 100, maxBytes: 40, ttlSeconds: 60 } };
      const [{ position }] = await publishKept(one, 'a', 2, fields);
      const epoch = position?.epoch;
      await acl(`-${right}`);
      const sent = keptPublication('a', { ...fields, ...withKey });
      const told = await outcome(one.backplane.publish(sent));
      await acl(`+${right}`);
      const again = await one.backplane.publish(sent);
      expect(again.position).toEqual({ epoch, offset: 3 });
      expect([told, again.duplicate]).toEqual(right === 'publish' ? ['timeout', true] : ['unavailable', false]);
      expect((await publishKept(one, 'a', 1, fields))[0].position).toEqual({ epoch, offset: 4 });
    },
  );

  test.each(['set', 'publish', 'evalsha'])(
    '%s: a message with a key that a plain room does not get is taken when it is sent again',
    async (right) => {
      const { one, acl } = await restrictable(await ownRedis());
      await one.backplane.subscribe('a');
      await acl(`-${right}`, '-del');
      const sent = publication('a', withKey);
      expect(await outcome(one.backplane.publish(sent))).toBe('unavailable');
      await acl(`+${right}`, '+del');
      const retry = async () => (await outcome(one.backplane.publish(sent))) === 'taken';
      await until(retry, deadlineMs, 'it is taken');
      await one.fence();
      expect(one.frames('a')).toEqual([sent.frame]);
    },
  );

  test('to a channel: what is kept and not published is of unknown outcome, and members get it by the next read', async () => {
    const { one, acl } = await restrictable(await ownRedis());
    await publishKept(one, 'a', 1);
    await acl('resetchannels', `&${prefix}:canary:*`);
    const sent = keptPublication('a', withKey);
    expect(await outcome(one.backplane.publish(sent))).toBe('timeout');
    expect((await pageOf(one, 'a')).top).toBe(2);
    await acl('&*');
    expect(await one.backplane.publish(sent)).toMatchObject({ duplicate: true, position: { offset: 2 } });
  });

  test('to keep messages: the node is in trouble, says which right and for what in one line, and does not connect again', async () => {
    const redis = await ownRedis();
    const { one, acl, recovered, lines } = await restrictable(redis);
    await one.backplane.subscribe('plain');
    await acl('-xadd');
    for (let left = 200; left > 0; left--) {
      expect(await outcome(one.backplane.publish(keptPublication('a')))).toBe('unavailable');
    }
    await until(() => one.backplane.trouble?.includes('XADD'), deadlineMs, 'it is in trouble');
    // What needs no such right goes on.
    await one.backplane.publish(publication('plain'));
    await one.untilFrames('plain', 1);
    await acl('+xadd');
    await recovered();
    await publishKept(one, 'a', 1);
    const refused = lines.filter((line) => line.includes('redis refused a command'));
    expect(refused).toHaveLength(1);
    expect(refused[0]).toContain('(XADD)');
    expect(refused[0]).toContain('keeping and reading messages of rooms with history');
    expect(one.reconnects).toBe(0);
  });
});

test('memory is full and freed: the node says so, each publish is refused without a line of its own, and all is well afterwards', async () => {
  const redis = await ownRedis();
  const { one, recovered, lines } = await restrictable(redis);
  const admin = redisClient(redis.url);
  await publishKept(one, 'a', 1);
  await admin.config('SET', 'maxmemory', '1');
  const sent = Array.from({ length: 500 }, (_, index) =>
    keptPublication('a', { dedupe: { by: 'ann', key: `${index}` } }),
  );
  const told = await Promise.all(sent.map((each) => outcome(one.backplane.publish(each))));
  expect(new Set(told)).toEqual(new Set(['unavailable']));
  await until(() => one.backplane.trouble?.includes('OOM'), deadlineMs, 'it is in trouble');
  await admin.config('SET', 'maxmemory', '0');
  await recovered();
  const taken = await Promise.all(sent.map((each) => one.backplane.publish(each)));
  expect(offsetsOf(taken)).toEqual(span(2, 501));
  expect(lines.filter((line) => line.includes('refuse')).length).toBeLessThan(5);
});

test('a room whose stream is ahead of its position goes on behind what is kept, and nothing of that is lost', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a');
  const [{ position }] = await publishKept(one, 'a', 5);
  // As a Redis leaves it that refused to write the position.
  await redisClient(redis.url).hset(`${channelOf('a')}:position`, 'offset', '2');
  const [next] = await publishKept(one, 'a', 1);
  expect(next.position).toEqual({ epoch: position?.epoch, offset: 6 });
  expect(await readAll(one, 'a')).toHaveLength(6);
});

test.each([
  ['position', 'messages'],
  ['messages', 'position'],
])("somebody's string in the place of the %s: publishes are refused until it is gone, and then taken", async (name) => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a');
  await publishKept(one, 'a', 2);
  const admin = redisClient(redis.url);
  await admin.set(`${channelOf('a')}:${name}`, 'mine');
  const sent = keptPublication('a', withKey);
  expect(await outcome(one.backplane.publish(sent))).toBe('unavailable');
  await admin.del(`${channelOf('a')}:${name}`);
  expect((await one.backplane.publish(sent)).duplicate).toBe(false);
  expect((await pageOf(one, 'a')).messages.at(-1)?.offset).toBe((await pageOf(one, 'a')).top);
});

test('a position that is no position, with half of its fields, begins a new epoch', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a');
  const [{ position }] = await publishKept(one, 'a', 2);
  await redisClient(redis.url).hdel(`${channelOf('a')}:position`, 'offset', 'written');
  const [next] = await publishKept(one, 'a', 1);
  expect(next.position?.offset).toBe(1);
  expect(next.position?.epoch).not.toBe(position?.epoch);
});

test('the scripts are flushed: they are loaded again, and no room misses anything', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a');
  await redisClient(redis.url).call('SCRIPT', 'FLUSH');
  const sent = [keptPublication('kept'), publication('a', withKey)];
  const taken = async () => (await Promise.all(sent.map((each) => outcome(one.backplane.publish(each))))).join();
  await until(async () => (await taken()) === 'taken,taken', deadlineMs, 'both are taken');
  await one.fence();
  expect(one.story('a')).toEqual([sent[1]?.prefix]);
  expect(one.reconnects).toBe(0);
});

describe('a Redis that is none to serve with', () => {
  /** A node that begins to connect, and is not waited for. */
  const unfit = (url: string, log = createLog('silent')) => {
    const node = redisNode(url, { log });
    void node.start();
    return node;
  };

  test('is tried ever more slowly, though it takes the connection, and the log says once why', async () => {
    const redis = await ownRedis();
    const admin = redisClient(redis.url);
    await admin.replicaof('127.0.0.1', '1');
    const { log, lines } = capturedLog();
    const connections = async () => Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))?.[1]);
    const before = await connections();
    const startedAt = performance.now();
    const one = unfit(redis.url, log);
    await until(async () => (await connections()) - before >= 24, deadlineMs, 'each of two tried 12 times');
    // At the least 12.5, 25, 50, 100, 200 and then 250 ms each.
    expect(performance.now() - startedAt).toBeGreaterThan(1_500);
    expect(one.backplane.trouble).toContain('it is a replica');
    expect(lines.filter((line) => line.includes('it is a replica'))).toHaveLength(2);
  });

  test('because it is in cluster mode: the start ends with a sentence that says so', async () => {
    const redis = await ownRedisOnDisk('--cluster-enabled', 'yes', '--appendonly', 'no');
    await expect(redisNode(redis.url).start()).rejects.toThrow(/cluster mode.*GATEWAY_REDIS_URL/);
  });

  test('because its database cannot be selected: the node is in trouble and says so, and is not in another one', async () => {
    const redis = await ownRedis();
    const one = unfit(`${redis.url}/99`);
    await until(
      () => /database 99 cannot be selected: .*out of range/.test(one.backplane.trouble ?? ''),
      deadlineMs,
      'it says so',
    );
    expect(await outcome(one.backplane.publish(publication('a')))).toBe('unavailable');
  });

  test('because the user may not select its database', async () => {
    const redis = await ownRedis();
    const { acl } = await restrictable(redis);
    await acl('-select');
    const one = unfit(`${redis.url.replace('//', '//node:secret@')}/5`);
    await until(
      () => /database 5 cannot be selected: .*select/.test(one.backplane.trouble ?? ''),
      deadlineMs,
      'it says so',
    );
  });
});

test('nodes on two databases of one Redis never hear each other', async () => {
  const redis = await ownRedis();
  const [one, other] = [await started(redis.url, 'a'), await started(`${redis.url}/1`, 'a')];
  const [ours, theirs] = [publication('a'), publication('a')];
  await one.backplane.publish(ours);
  await other.backplane.publish(theirs);
  await publishKept(one, 'a', 1);
  await Promise.all([one.fence(), other.fence()]);
  expect(one.frames('a')).toHaveLength(2);
  expect(other.story('a')).toEqual([theirs.frame]);
});
