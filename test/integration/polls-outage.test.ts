/**
 * Polls while Redis is away, and over a Redis that lost everything: what came meanwhile is told by the next poll, or said to
 * be gone.
 */
import { expect, test } from 'vitest';
import { startNode } from '../support/node.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import { beginPoll, poll, positionOf } from '../support/poll.ts';
import { until } from '../support/until.ts';
import { metric, readiness } from './admin.ts';
import { roomsFile } from './files.ts';
import { enter, randomRoom, tokenOf } from './people.ts';

const rules = roomsFile({ match: 'kept:*', history: {} });

function waiting(node: { adminPort: number }): Promise<unknown> {
  return until(async () => (await metric(node, 'gateway_polls')) === 1, 5_000, 'the poll waits');
}

test('while Redis is away a waiting poll ends without messages, a new one gets 503, and then nothing is missing', {
  timeout: 60_000,
}, async () => {
  const redis = await ownRedisOnDisk();
  const settings = { REDIS_URL: redis.url, ROOMS_FILE: rules };
  const nodes = [await startNode(settings), await startNode(settings)] as const;
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  let since = positionOf(await until(() => poll(nodes[0], room, { token }), 10_000, 'the position'));
  const publisher = await enter(nodes[1], 'publisher');
  await publisher.publish(room, 1);
  since = positionOf(await poll(nodes[0], room, { token, since }));
  const { answer } = beginPoll(nodes[0], room, { token, since, wait: 4 });
  await waiting(nodes[0]);
  await redis.kill();
  await until(async () => (await readiness(nodes[0])) === 503, 10_000, 'the node has noticed');
  const refused = await beginPoll(nodes[0], randomRoom('kept'), { token }).answer;
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '5']);
  const { status, text } = await answer;
  expect([status, positionOf(JSON.parse(text)), JSON.parse(text).recovered]).toEqual([200, since, true]);
  await redis.start();
  await until(() => publisher.publish(room, 2), 20_000, 'Redis takes messages again');
  const again = await until(() => poll(nodes[0], room, { token, since }), 20_000, 'the next poll');
  expect(again).toMatchObject({ messages: [{ data: 2 }], recovered: true });
});

test('when a new epoch begins while a poll waits, it says recovered: false and goes on there', {
  timeout: 60_000,
}, async () => {
  const redis = await ownRedis();
  const node = await startNode({ REDIS_URL: redis.url, ROOMS_FILE: rules });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const publisher = await enter(node, 'publisher');
  await until(() => publisher.publish(room, 1), 10_000, 'Redis takes messages');
  const first = await poll(node, room, { token });
  const { answer } = beginPoll(node, room, { token, since: positionOf(first) });
  await waiting(node);
  await redis.kill();
  await redis.start();
  const told = JSON.parse((await answer).text);
  expect(told).toMatchObject({ messages: [], recovered: false, gap: { reason: 'epoch' } });
  expect(told.epoch).not.toBe(first.epoch);
  await until(() => publisher.publish(room, 2), 20_000, 'Redis takes messages again');
  let [since, heard] = [positionOf(told), [] as unknown[]];
  while (heard.length === 0) {
    const next = await poll(node, room, { token, since });
    heard = next.messages.map(({ data }) => data);
    since = positionOf(next);
  }
  expect(heard).toEqual([2]);
});
