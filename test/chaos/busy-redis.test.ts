/**
 * Messages come so fast that Redis' answers are late behind them: the connection is not given up for that, which would cost each
 * room a gap when there is the most to do. Without an end it is.
 */
import { expect, inject, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { carrying, dataOf, enter, join, randomRoom } from '../integration/people.ts';
import { LyingRedis } from '../support/lying-redis.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';

const deadlineMs = 20_000;
const reconnects = 'gateway_backplane_reconnects_total';

test('answers that are 3 s late behind messages cost no message and no connection; without an end it is made anew within 8 s', async () => {
  const redis = await LyingRedis.start(inject('redisUrl'));
  const behind = { REDIS_URL: redis.url, REDIS_PREFIX: inject('redisPrefix'), PUBLISH_RATE: 0, REQUEST_RATE: 0 };
  const [node, other] = await Promise.all([startNode(behind), startNode({ ...behind, REDIS_URL: inject('redisUrl') })]);
  const room = randomRoom();
  const member = await join(node, 'member', room);
  const publisher = await enter(other, 'publisher');
  let sent = 0;
  const flow = async (goesOn: () => boolean | Promise<boolean>) => {
    while (await goesOn()) await publisher.publish(room, ++sent);
  };

  redis.hold();
  const end = performance.now() + 3_000;
  await flow(() => performance.now() < end);
  redis.release();
  await member.next(carrying(room, sent), deadlineMs);
  const seen = dataOf(member, room);
  expect(seen).toEqual(Array.from({ length: sent }, (_, index) => index + 1));
  expect(await metric(node, reconnects)).toBe(0);

  redis.hold();
  const held = performance.now();
  await flow(async () => {
    if (performance.now() - held > 8_000) throw new Error('the connection is still there');
    return (await metric(node, reconnects)) === 0;
  });
  redis.release();
  await until(async () => (await enterAndHear()) !== undefined, deadlineMs, 'the room works again');

  async function enterAndHear() {
    await publisher.publish(room, 'again');
    return member.next(carrying(room, 'again'), 1_000);
  }
}, 60_000);
