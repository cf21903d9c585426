/**
 * The contracts of gateway/backplane/outbox.ts and occupancy.ts, with the events of presence: events come with the changes that
 * they tell of, once, in order, and only to the sender. Memory has one node, Redis two. In Redis Cluster only events of one slot
 * are in order: all rooms here lie in one.
 */
import { describe, expect, test } from 'vitest';
import type { OccupancyStore } from '../../gateway/backplane/occupancy.ts';
import type { EventType, Outbox } from '../../gateway/backplane/outbox.ts';
import type { PresenceStore, Present } from '../../gateway/backplane/presence.ts';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { sharedHome } from '../../gateway/redis/names.ts';
import { onCleanup } from '../support/cleanup.ts';
import { roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';

/** A room that lies in the slot of what belongs to no room. */
const roomOf = (name: string) => roomIn([slotOf(sharedHome)], name);
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => roomOf(`r${from + index}-`));
export const a = roomOf('a');
const b = roomOf('b');
/** Its members are not told. */
export const quiet = roomOf('quiet');

export interface OutboxOptions {
  types?: readonly EventType[];
  most?: number;
  prefix?: string;
}

export class OutboxNode {
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

/** `create`: nodes that share an outbox. */
export function outboxSuite(title: string, create: (options: OutboxOptions) => OutboxNode[]): void {
  describe(title, () => {
    async function started(options: OutboxOptions = {}) {
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
        await one.occupancy.occupy(a);
        await other.occupancy.occupy(a);
      }
      if (one !== other) await one.occupancy.vacate(a, false);
      await one.occupancy.occupy(b);
      expect(await story()).toEqual([`room.occupied ${a}`, `room.occupied ${b}`]);
      await other.occupancy.vacate(a, false);
      await other.occupancy.vacate(a, false);
      await one.occupancy.occupy(a);
      expect((await story()).slice(2)).toEqual([`room.vacated ${a}`, `room.occupied ${a}`]);
    });

    test('a node in doubt tells an empty room again, and no room that another node has', async () => {
      const { one, other, story } = await started();
      await one.occupancy.vacate(a, true);
      expect(await story()).toEqual([`room.vacated ${a}`]);
      if (one === other) return;
      await other.occupancy.occupy(b);
      await one.occupancy.vacate(b, true);
      expect(await story()).toEqual([`room.vacated ${a}`, `room.occupied ${b}`]);
    });

    test('a user joins with the first connection and leaves with the last, an anonymous connection for itself', async () => {
      const { one, other, story } = await started();
      const [first, second, nobody] = [one.present('ann "1"'), other.present('ann "1"'), one.present(null)];
      await one.store.change(a, [first, nobody], []);
      await other.store.change(a, [second], []);
      await one.store.change(a, [], [first]);
      await one.store.change(quiet, [one.present('bob')], []);
      expect(await story()).toEqual([`member.joined ${a} ann "1"`, `member.joined ${a} ${nobody.connection}`]);
      await other.store.change(a, [], [second]);
      await one.store.sync(a, () => []);
      expect((await story()).slice(2)).toEqual([`member.left ${a} ann "1"`, `member.left ${a} ${nobody.connection}`]);
      const { events } = await one.outbox.take(1_000, []);
      expect(JSON.stringify(events)).not.toContain('secret');
      expect(new Set(events.map(({ id }) => id)).size).toBe(4);
      for (const { at } of events) expect(Math.abs(Date.now() - at)).toBeLessThan(60_000);
    });

    test('only the types that are asked for are told', async () => {
      const { one, story } = await started({ types: ['room.vacated', 'member.left'] });
      const ann = one.present('ann');
      await one.occupancy.occupy(a);
      await one.store.change(a, [ann], []);
      await one.store.change(a, [], [ann]);
      await one.occupancy.vacate(a, false);
      expect(await story()).toEqual([`member.left ${a} ann`, `room.vacated ${a}`]);
    });

    test('events stay until they are done, and come in the order of the changes, whatever node made them', async () => {
      const { one, other } = await started();
      for (let round = 0; round < 10; round++) await (round % 2 ? one : other).occupancy.occupy(roomOf(`r${round}-`));
      const { events, waiting } = await one.outbox.take(4, []);
      expect(waiting).toBe(10);
      expect(events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual(numbered(0, 4));
      expect((await one.outbox.take(4, [])).events).toEqual(events);
      const next = await one.outbox.take(
        4,
        events.map(({ entry }) => entry),
      );
      expect(next.waiting).toBe(6);
      expect(next.events.map(({ text }) => JSON.parse(`{${text}}`).room)).toEqual(numbered(4, 8));
    });

    test('beyond the bound the oldest go, and the node that writes hears how many', async () => {
      const { nodes, one, story } = await started({ most: 10 });
      for (let round = 0; round < 15; round++) await one.occupancy.occupy(roomOf(`r${round}-`));
      const events = Array.from({ length: 4 }, (_, index) => ({
        id: `x${index}`,
        at: index,
        text: `"type":"x","room":"${index}"`,
      }));
      await one.outbox.append(events);
      const dropped = () => nodes.reduce((sum, node) => sum + node.dropped, 0);
      await until(() => dropped() === 9, 5_000, 'nine are counted');
      const left = numbered(9, 15).map((room) => `room.occupied ${room}`);
      expect(await story()).toEqual([...left, 'x 0', 'x 1', 'x 2', 'x 3']);
      expect((await one.outbox.take(100, [])).events.slice(-1)).toMatchObject([{ id: 'x3', at: 3 }]);
    });
  });
}
