/**
 * The contracts of gateway/backplane/outbox.ts and occupancy.ts, with the events of presence, over memory and over the Redis of
 * this test run with two nodes: events come with the changes that they tell of, once, in order, and only to the sender.
 */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { describe, expect, inject, test } from 'vitest';
import { MemoryOccupancy } from '../../gateway/backplane/memory/occupancy.ts';
import { MemoryOutbox } from '../../gateway/backplane/memory/outbox.ts';
import { MemoryPresence } from '../../gateway/backplane/memory/presence.ts';
import type { OccupancyStore } from '../../gateway/backplane/occupancy.ts';
import { type EventType, eventTypes, type Outbox, senderMs } from '../../gateway/backplane/outbox.ts';
import type { PresenceStore, Present } from '../../gateway/backplane/presence.ts';
import { RedisNames } from '../../gateway/redis/names.ts';
import { RedisOutbox } from '../../gateway/redis/outbox/outbox.ts';
import { OnePresenceConnection } from '../../gateway/redis/presence/connections.ts';
import { RedisPresence } from '../../gateway/redis/presence/presence.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';

const quiet = 'quiet';

class Node {
  readonly outbox: Outbox;
  readonly occupancy: OccupancyStore;
  readonly store: PresenceStore;
  readonly instance: string;
  dropped = 0;
  #connections = 0;

  constructor(instance: string, outbox: Outbox, occupancy: OccupancyStore, store: PresenceStore) {
    this.instance = instance;
    this.outbox = outbox;
    this.occupancy = occupancy;
    this.store = store;
  }

  async start(): Promise<this> {
    this.outbox.start({
      dropped: (events) => {
        this.dropped += events;
      },
    });
    await this.store.start({ changed: () => undefined, outOfSync: () => undefined, reaped: () => undefined });
    await until(async () => (await this.outbox.take(0, [])) !== undefined, 5_000, 'the outbox is there');
    await this.outbox.release();
    return this;
  }

  present(user: string | null): Present {
    this.#connections++;
    return { connection: `${this.instance}-${this.#connections}`, user, info: '{"secret":1}' };
  }

  async close(): Promise<void> {
    await this.store.close();
    this.outbox.close();
  }
}

const ownPrefix = () => `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;

interface Options {
  types?: readonly EventType[];
  most?: number;
  prefix?: string;
}

function memory({ types = eventTypes, most = 1_000 }: Options): Node[] {
  const outbox = new MemoryOutbox({ types, instance: 'n-1', most });
  const store = new MemoryPresence({ announces: () => false, tells: (room) => room !== quiet, outbox });
  return [new Node('n-1', outbox, new MemoryOccupancy(outbox), store)];
}

function redis({ types = eventTypes, most = 1_000, prefix = ownPrefix() }: Options): Node[] {
  const log = createLog('silent');
  return [1, 2].map((number) => {
    const instance = `n.${number}-${randomBytes(3).toString('hex')}`;
    const shared = { redis: redisConnections(inject('redisUrl'), log), prefix, instance };
    const outbox = new RedisOutbox({ ...shared, types, most }, log);
    const tells = (room: string) => room !== quiet;
    const [connections, names] = [new OnePresenceConnection(shared.redis), new RedisNames(prefix, 0)];
    const store = new RedisPresence({ connections, names, instance, announces: () => false, tells, outbox }, log);
    return new Node(instance, outbox, store.occupancy, store);
  });
}

describe.each([
  ['in memory', memory],
  ['over Redis, two nodes', redis],
])('%s', (_, create) => {
  async function started(options: Options = {}) {
    const nodes = await Promise.all(create(options).map((node) => node.start()));
    const [one, other] = [nodes[0], nodes.at(-1)];
    if (one === undefined || other === undefined) throw new Error('create made no node');
    onCleanup(() => Promise.all(nodes.map((node) => node.close())));
    /** Everything that waits: `room.occupied a`, `member.joined a ann`. */
    const story = async () =>
      (await one.outbox.take(1_000, [])).events.map(({ text }) => {
        const { type, room, user, connection } = JSON.parse(`{${text}}`);
        return [type, room, user ?? connection].filter((each) => each !== undefined).join(' ');
      });
    return { nodes, one, other, story };
  }

  test('the first node of a room and the last are told, each once, also when writes are repeated', async () => {
    const { one, other, story } = await started();
    for (let round = 0; round < 2; round++) {
      await one.occupancy.occupy('a');
      await other.occupancy.occupy('a');
    }
    if (one !== other) await one.occupancy.vacate('a', false);
    await one.occupancy.occupy('b');
    expect(await story()).toEqual(['room.occupied a', 'room.occupied b']);
    await other.occupancy.vacate('a', false);
    await other.occupancy.vacate('a', false);
    await one.occupancy.occupy('a');
    expect((await story()).slice(2)).toEqual(['room.vacated a', 'room.occupied a']);
  });

  test('a node in doubt tells an empty room again, and no room that another node has', async () => {
    const { one, other, story } = await started();
    await one.occupancy.vacate('a', true);
    expect(await story()).toEqual(['room.vacated a']);
    if (one === other) return;
    await other.occupancy.occupy('b');
    await one.occupancy.vacate('b', true);
    expect(await story()).toEqual(['room.vacated a', 'room.occupied b']);
  });

  test('a user joins with the first connection and leaves with the last, an anonymous connection for itself', async () => {
    const { one, other, story } = await started();
    const [first, second, nobody] = [one.present('ann "1"'), other.present('ann "1"'), one.present(null)];
    await one.store.change('a', [first, nobody], []);
    await other.store.change('a', [second], []);
    await one.store.change('a', [], [first]);
    await one.store.change(quiet, [one.present('bob')], []);
    expect(await story()).toEqual(['member.joined a ann "1"', `member.joined a ${nobody.connection}`]);
    await other.store.change('a', [], [second]);
    await one.store.sync('a', () => []);
    expect((await story()).slice(2)).toEqual(['member.left a ann "1"', `member.left a ${nobody.connection}`]);
    const { events } = await one.outbox.take(1_000, []);
    expect(JSON.stringify(events)).not.toContain('secret');
    expect(new Set(events.map(({ id }) => id)).size).toBe(4);
    for (const { at } of events) expect(Math.abs(Date.now() - at)).toBeLessThan(60_000);
  });

  test('only the types that are asked for are told', async () => {
    const { one, story } = await started({ types: ['room.vacated', 'member.left'] });
    const ann = one.present('ann');
    await one.occupancy.occupy('a');
    await one.store.change('a', [ann], []);
    await one.store.change('a', [], [ann]);
    await one.occupancy.vacate('a', false);
    expect(await story()).toEqual(['member.left a ann', 'room.vacated a']);
  });

  test('events stay until they are done, and come in the order of the changes, whatever node made them', async () => {
    const { one, other } = await started();
    for (let round = 0; round < 10; round++) await (round % 2 ? one : other).occupancy.occupy(`r${round}`);
    const { events, waiting } = await one.outbox.take(4, []);
    expect(waiting).toBe(10);
    expect(events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual(['r0', 'r1', 'r2', 'r3']);
    expect((await one.outbox.take(4, [])).events).toEqual(events);
    const next = await one.outbox.take(
      4,
      events.map(({ entry }) => entry),
    );
    expect(next.waiting).toBe(6);
    expect(next.events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual(['r4', 'r5', 'r6', 'r7']);
  });

  test('beyond the bound the oldest go, and the node that writes hears how many', async () => {
    const { nodes, one, story } = await started({ most: 10 });
    for (let round = 0; round < 15; round++) await one.occupancy.occupy(`r${round}`);
    const events = Array.from({ length: 4 }, (_, index) => ({
      id: `x${index}`,
      at: index,
      text: `"type":"x","room":"${index}"`,
    }));
    await one.outbox.append(events);
    const dropped = () => nodes.reduce((sum, node) => sum + node.dropped, 0);
    await until(() => dropped() === 9, 5_000, 'nine are counted');
    const left = ['r9', 'r10', 'r11', 'r12', 'r13', 'r14'].map((room) => `room.occupied ${room}`);
    expect(await story()).toEqual([...left, 'x 0', 'x 1', 'x 2', 'x 3']);
    expect((await one.outbox.take(100, [])).events.slice(-1)).toMatchObject([{ id: 'x3', at: 3 }]);
  });
});

describe('over Redis', () => {
  test('one node sends at a time: the next one begins when it gives its place up, or has not been heard of for its time', async () => {
    const [one, other] = (await Promise.all(redis({}).map((node) => node.start()))) as [Node, Node];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    await one.occupancy.occupy('a');
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
    const [one, other] = (await Promise.all(redis({ prefix }).map((node) => node.start()))) as [Node, Node];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    const client = new Redis(inject('redisUrl'));
    onCleanup(() => client.disconnect());
    await client.xadd(`${prefix}:outbox`, '*', 'foreign', 'entry');
    await one.occupancy.occupy('a');
    expect((await one.outbox.take(10, [])).events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual(['a']);
    expect(await one.outbox.take(10, [])).toMatchObject({ waiting: 1 });
  });

  test('a key of another type in the place of the outbox loses events, and nothing else', async () => {
    const prefix = ownPrefix();
    const [one, other] = (await Promise.all(redis({ prefix }).map((node) => node.start()))) as [Node, Node];
    onCleanup(() => Promise.all([one.close(), other.close()]));
    const client = new Redis(inject('redisUrl'));
    onCleanup(() => client.disconnect());
    await one.occupancy.occupy('a');
    expect(await client.type(`${prefix}:outbox`)).toBe('stream');
    await client.set(`${prefix}:outbox`, 'x');
    const ann = one.present('ann');
    await one.store.change('a', [ann], []);
    await one.occupancy.vacate('a', false);
    expect(one.dropped).toBe(2);
    expect((await one.store.page('a', { after: undefined, limit: 10, maxBytes: 10_000 })).members).toEqual([ann]);
  });
});
