/**
 * One hot room with 500 members and 200 messages per second, besides a hundred quiet rooms on the same node: no message
 * is lost, duplicated or out of order. The bench measures the speed.
 */
import { setInterval as ticks } from 'node:timers/promises';
import { expect, inject, test } from 'vitest';
import { spawnNode } from '../support/node.ts';
import { metric } from './admin.ts';
import { CountingMember, range } from './counting-member.ts';
import { enter, names, randomRoom } from './people.ts';

const seconds = 2;
const tickMs = 50;
const ticksInAll = (seconds * 1_000) / tickMs;
const perTick = (200 * tickMs) / 1_000;

test.each([0, 20])(
  '500 members of a hot room and the members of 100 quiet rooms hear everything once and in order, FLUSH_MS %i',
  async (FLUSH_MS) => {
    const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };
    const node = await spawnNode({ ...redis, PUBLISH_RATE: 0, FLUSH_MS, MAX_BUFFERED_BYTES: 8_388_608 });
    const hot = randomRoom('hot');
    const quiet = names(randomRoom('quiet'), 100);
    const crowd: CountingMember[] = [];
    for (const wave of names('wave', 5)) {
      crowd.push(...(await Promise.all(names(wave, 100).map((user) => CountingMember.join(node, user, [hot])))));
    }
    const listeners = await Promise.all(names('l', 20).map((user) => CountingMember.join(node, user, quiet)));
    const [loud, soft] = [await enter(node, 'loud'), await enter(node, 'soft')];

    // The load is a rate, so this test has to wait for time to pass.
    let tick = 0;
    const acknowledged: Promise<unknown>[] = [];
    for await (const _ of ticks(tickMs)) {
      for (const number of range(tick * perTick, (tick + 1) * perTick)) acknowledged.push(loud.publish(hot, [number]));
      const round = Math.floor(tick / 10);
      if (tick % 10 === 0) for (const room of quiet) acknowledged.push(soft.publish(room, [round]));
      tick++;
      if (tick === ticksInAll) break;
    }
    await Promise.all(acknowledged);
    const last = ticksInAll * perTick - 1;
    const rounds = ticksInAll / 10;
    await Promise.all(crowd.map((member) => member.untilHeard(hot, last, 20_000)));
    await Promise.all(listeners.flatMap((member) => quiet.map((room) => member.untilHeard(room, rounds - 1, 20_000))));

    for (const member of crowd) expect(member.heard(hot)).toEqual(range(0, last + 1));
    for (const member of listeners) for (const room of quiet) expect(member.heard(room)).toEqual(range(0, rounds));
    const deliveries = 500 * (last + 1) + 20 * 100 * rounds;
    expect(await metric(node, 'gateway_messages_delivered_total')).toBe(deliveries);
    expect(await metric(node, 'gateway_messages_published_total{source="client"}')).toBe(last + 1 + 100 * rounds);
  },
  60_000,
);
