/** The contracts of gateway/backplane/outbox.ts and occupancy.ts over memory and over the Redis of this test run. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { describe, expect, inject, test } from 'vitest';
import { MemoryOccupancy } from '../../gateway/backplane/memory/occupancy.ts';
import { MemoryOutbox } from '../../gateway/backplane/memory/outbox.ts';
import { MemoryPresence } from '../../gateway/backplane/memory/presence.ts';
import { eventTypes, senderMs } from '../../gateway/backplane/outbox.ts';
import { RedisNames } from '../../gateway/redis/names.ts';
import { RedisOutbox } from '../../gateway/redis/outbox/outbox.ts';
import { OnePresenceConnection } from '../../gateway/redis/presence/connections.ts';
import { RedisPresence } from '../../gateway/redis/presence/presence.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';
import { a, OutboxNode, type OutboxOptions, outboxSuite, quiet } from './outbox-suite.ts';

const ownPrefix = () => `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;

function memory({ types = eventTypes, most = 1_000 }: OutboxOptions): OutboxNode[] {
  const outbox = new MemoryOutbox({ types, instance: 'n-1', most });
  const store = new MemoryPresence({ announces: () => false, tells: (room) => room !== quiet, outbox });
  return [new OutboxNode('n-1', outbox, new MemoryOccupancy(outbox), store)];
}

function redis({ types = eventTypes, most = 1_000, prefix = ownPrefix() }: OutboxOptions): OutboxNode[] {
  const log = createLog('silent');
  return [1, 2].map((number) => {
    const instance = `n.${number}-${randomBytes(3).toString('hex')}`;
    const shared = { redis: redisConnections(inject('redisUrl'), log), prefix, instance };
    const outbox = new RedisOutbox({ ...shared, types, most }, log);
    const tells = (room: string) => room !== quiet;
    const [connections, names] = [new OnePresenceConnection(shared.redis), new RedisNames(prefix, 0)];
    const store = new RedisPresence(
      { connections, names, instance, announces: () => false, tells, telling: outbox.telling },
      log,
    );
    return new OutboxNode(instance, outbox, store.occupancy, store);
  });
}

outboxSuite('in memory', memory);
outboxSuite('over Redis, two nodes', redis);

describe('over Redis', () => {
  test('one node sends at a time: the next one begins when it gives its place up, or has not been heard of for its time', async () => {
    const [one, other] = (await Promise.all(redis({}).map((node) => node.start()))) as [OutboxNode, OutboxNode];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    await one.occupancy.occupy(a);
    expect(await one.outbox.take(1, [])).toMatchObject({ mine: true, events: [{}] });
    expect(await other.outbox.take(1, [])).toEqual({ mine: false, waiting: 1, events: [] });
    await other.outbox.release();
    expect(await one.outbox.take(1, [])).toMatchObject({ mine: true });
    await one.outbox.release();
    expect(await other.outbox.take(1, [])).toMatchObject({ mine: true });
    expect(await one.outbox.take(1, [])).toMatchObject({ mine: false });
    const from = performance.now();
    await until(async () => (await one.outbox.take(1, [])).mine, senderMs + 5_000, 'the place is free');
    expect(performance.now() - from).toBeGreaterThan(senderMs - 500);
  });

  test('what no node wrote is not sent, and goes', async () => {
    const prefix = ownPrefix();
    const [one, other] = (await Promise.all(redis({ prefix }).map((node) => node.start()))) as [OutboxNode, OutboxNode];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    const client = new Redis(inject('redisUrl'));
    onCleanup(() => client.disconnect());
    await client.xadd(`${prefix}:outbox`, '*', 'foreign', 'entry');
    await one.occupancy.occupy(a);
    expect((await one.outbox.take(10, [])).events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual([a]);
    expect(await one.outbox.take(10, [])).toMatchObject({ waiting: 1 });
  });

  test('a key of another type in the place of the outbox is deleted: events in it are lost, and no later ones', async () => {
    const prefix = ownPrefix();
    const [one, other] = (await Promise.all(redis({ prefix }).map((node) => node.start()))) as [OutboxNode, OutboxNode];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    const client = new Redis(inject('redisUrl'));
    onCleanup(() => client.disconnect());
    await one.occupancy.occupy(a);
    expect(await client.type(`${prefix}:outbox`)).toBe('stream');
    await client.set(`${prefix}:outbox`, 'x');
    const ann = one.present('ann');
    await one.store.change(a, [ann], []);
    await one.occupancy.vacate(a, false);
    expect(one.dropped).toBe(0);
    const { events } = await one.outbox.take(10, []);
    expect(events.map(({ text }) => JSON.parse(`{${text}}`).type)).toEqual(['member.joined', 'room.vacated']);
    expect((await one.store.page(a, { after: undefined, limit: 10, maxBytes: 10_000 })).members).toEqual([ann]);
  });
});
