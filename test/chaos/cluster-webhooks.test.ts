/**
 * Webhooks while a Redis Cluster changes: slots move with events that wait, primaries and nodes are killed. Everything is told, the
 * events of each room in order, and in the end the receiver knows what is.
 */
import { expect, test } from 'vitest';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { clusterOutboxNode, ownPrefix } from '../contract/cluster-node.ts';
import type { OutboxNode } from '../contract/outbox-suite.ts';
import { enter, join, names } from '../integration/people.ts';
import { presenceRooms } from '../integration/presence-members.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { Client } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { RedisCluster, roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';
import { type WebhookEvent, WebhookReceiver } from '../support/webhook-receiver.ts';

const deadlineMs = 30_000;
/** Longer than a lease, and than a write that failed waits to be made again. */
const quietMs = 8_000;

async function outboxNodes(cluster: RedisCluster): Promise<[OutboxNode, OutboxNode]> {
  const prefix = ownPrefix();
  const nodes = [clusterOutboxNode(cluster, { prefix }), clusterOutboxNode(cluster, { prefix })] as const;
  await Promise.all(nodes.map((node) => node.start()));
  onCleanup(() => Promise.all(nodes.map((node) => node.close())));
  return [...nodes];
}

/** Rooms of all three shards. */
async function roomsOfAll(cluster: RedisCluster, number: number, name: string): Promise<string[]> {
  const owners = await Promise.all([0, 6_000, 12_000].map((slot) => cluster.ownerOf(slot)));
  const slots = await Promise.all(owners.map((owner) => cluster.slotsOf(owner)));
  return Array.from({ length: number }, (_, index) => roomIn(slots[index % 3] ?? [], `${name}${index}:`));
}

test('events that wait in slots that move are sent once, in order, also when a slot goes between sending and removing', async () => {
  const cluster = await RedisCluster.start({ replicas: 0 });
  const [one, other] = await outboxNodes(cluster);
  const rooms = await roomsOfAll(cluster, 9, 'room');
  for (const room of rooms) await one.occupancy.occupy(room);
  for (const room of rooms) await one.occupancy.vacate(room, false);
  const taken: string[] = [];
  const take = async (limit: number, done: readonly string[]) => {
    const { events } = await one.outbox.take(limit, done);
    for (const { text } of events) {
      const { type, room } = JSON.parse(`{${text}}`);
      taken.push(`${type} ${room}`);
    }
    return events.map(({ entry }) => entry);
  };
  const first = await take(7, []);
  for (const room of rooms) {
    await cluster.moveSlot(slotOf(room), await cluster.anotherThan(await cluster.ownerOf(slotOf(room))));
  }
  // Written where the slots are now.
  for (const room of rooms) {
    const occupied = () =>
      other.occupancy.occupy(room).then(
        () => true,
        () => false,
      );
    await until(occupied, deadlineMs, 'it is written at the new owner');
  }
  let done = first;
  await until(
    async () => {
      done = await take(7, done);
      return taken.length >= 3 * rooms.length && done.length === 0;
    },
    deadlineMs,
    'all are taken',
  );
  for (const room of rooms) {
    expect(taken.filter((line) => line.endsWith(` ${room}`))).toEqual(
      ['occupied', 'vacated', 'occupied'].map((what) => `room.${what} ${room}`),
    );
  }
  expect((await one.outbox.take(1, [])).waiting).toBe(0);
  for (const server of cluster.running) {
    expect(await cluster.ask(server, 'KEYS', '*:outbox')).not.toMatch(/:outbox$/m);
  }
}, 120_000);

test('people come and go under load while slots move, a primary is killed and a node is: what was told last is what is', async () => {
  const cluster = await RedisCluster.start();
  const receiver = await new WebhookReceiver().start();
  const settings = { ROOMS_FILE: presenceRooms(), REDIS_URL: cluster.url, ...receiver.settings };
  const nodes = (await Promise.all([0, 1, 2].map((index) => spawnNode({ ...settings, NODE_ID: `node${index}` })))) as [
    SpawnedNode,
    SpawnedNode,
    SpawnedNode,
  ];
  const [dying, stays, third] = nodes;
  const rooms = await roomsOfAll(cluster, 6, 'team:');
  const [kept = '', ...others] = rooms;
  await join(stays, 'keeper', kept);
  await join(dying, 'victim', ...rooms);
  await until(() => rooms.every((room) => receiver.story(room).includes('member.joined victim')), deadlineMs, 'told');

  let stopped = false;
  const churn = async (user: string, node: SpawnedNode) => {
    for (let round = 0; !stopped; round++) {
      const client = await enter(node, user);
      const room = rooms[round % rooms.length] ?? '';
      await client.request({ type: 'subscribe', room });
      await new Promise((resolve) => setTimeout(resolve, 50));
      await client.close();
    }
  };
  const churning = names('guest', 4).map((user, index) => churn(user, index % 2 === 0 ? stays : third));

  for (const room of rooms.slice(0, 4)) {
    await cluster.moveSlot(slotOf(room), await cluster.anotherThan(await cluster.ownerOf(slotOf(room))));
  }
  const primary = await cluster.ownerOf(slotOf(kept));
  await primary.kill();
  await until(async () => (await cluster.ownerOf(slotOf(kept))) !== primary, deadlineMs, 'its replica is promoted');
  dying.kill('SIGKILL');
  stopped = true;
  await Promise.all(churning);

  const isRight = () =>
    receiver
      .story(kept)
      .filter((line) => line.startsWith('room.'))
      .at(-1) === 'room.occupied' &&
    others.every(
      (room) =>
        receiver
          .story(room)
          .filter((line) => line.startsWith('room.'))
          .at(-1) === 'room.vacated',
    ) &&
    rooms.every((room) => lastOf(receiver, room, 'victim') === 'member.left victim') &&
    rooms.every((room) =>
      names('guest', 4).every((user) => lastOf(receiver, room, user) !== `member.joined ${user}`),
    ) &&
    lastOf(receiver, kept, 'keeper') === 'member.joined keeper';
  await until(isRight, 2 * deadlineMs, 'the receiver knows what is');
  expect(receiver.complaints).toEqual([]);
  expect(receiver.mostUnderWay).toBe(1);
}, 180_000);

function lastOf(receiver: WebhookReceiver, room: string, user: string): string | undefined {
  return receiver
    .story(room)
    .filter((line) => line.endsWith(` ${user}`))
    .at(-1);
}

async function startTwo() {
  const [cluster, receiver] = await Promise.all([RedisCluster.start(), new WebhookReceiver().start()]);
  // Visitors that are refused try again at once.
  const settings = {
    ...{ ROOMS_FILE: presenceRooms(), REDIS_URL: cluster.url, REQUEST_RATE: '0' },
    ...receiver.settings,
  };
  const nodes = await Promise.all(names('node', 2).map((name) => spawnNode({ ...settings, NODE_ID: name })));
  return { cluster, receiver, nodes };
}

function roomsOf(slots: readonly number[], count: number): string[] {
  return Array.from({ length: count }, (_, index) => roomIn(slots, `team:${index}-`));
}

/** Of a room: what came, without repetitions. At least once is the promise. */
function told(receiver: WebhookReceiver, room: string): string[] {
  const all = receiver.taken.filter((event) => event.room === room);
  const once = [...new Map(all.map((event): [string, WebhookEvent] => [event.id, event])).values()];
  return once.map(({ type, user }) => [type, user].filter(Boolean).join(' '));
}

function wait(ms: number): Promise<unknown> {
  const from = performance.now();
  return until(() => performance.now() - from > ms, ms + 5_000, `${ms} ms are over`);
}

/** Joins the room and leaves it, until it is stopped. Redis may refuse a change for as long as a slot moves. */
class Visitor {
  readonly user: string;
  visits = 0;
  lastAnswer = 'none';
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(node: SpawnedNode, user: string, room: string) {
    this.user = user;
    this.#done = this.#run(enter(node, user), room);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(entering: Promise<Client>, room: string): Promise<void> {
    const client = await entering;
    while (!this.#stopped) {
      const answer = await client.request({ type: 'subscribe', room });
      this.lastAnswer = JSON.stringify(answer);
      if (answer.type !== 'ok') continue;
      const left = await client.request({ type: 'unsubscribe', room });
      if (left.type !== 'ok') throw new Error(`it is in the room and cannot leave: ${JSON.stringify(left)}`);
      this.visits++;
    }
    await client.close();
  }
}

test('slots that move while users come and go: each is told as joined and as left in turn, and each room ends once', async () => {
  const { cluster, receiver, nodes } = await startTwo();
  const from = await cluster.ownerOf(slotOf('team:a'));
  const to = await cluster.anotherThan(from);
  const rooms = roomsOf(await cluster.slotsOf(from), 8);
  const visitors = rooms.flatMap((room) =>
    nodes.map((node, at) => ({ room, node, of: new Visitor(node, `u${at}`, room) })),
  );
  const untilVisited = () => {
    const before = visitors.map(({ of }) => of.visits);
    const isVisited = () => {
      const late = visitors.filter(({ of }, at) => of.visits <= (before[at] ?? 0) + 5);
      if (late.length === 0) return true;
      throw new Error(late.map(({ room, of }) => `${of.user} in ${room} waits behind ${of.lastAnswer}`).join(', '));
    };
    return until(isVisited, deadlineMs, 'users come and go');
  };
  await untilVisited();
  for (const server of [to, from, to]) {
    await cluster.move(rooms.map(slotOf), server);
    await untilVisited();
  }
  await Promise.all(visitors.map(({ of }) => of.stop()));
  // Their visits may have been too short to be told.
  for (const { room, of, node } of visitors) {
    const joined = `member.joined ${of.user}`;
    const client = await join(node, of.user, room);
    await until(() => told(receiver, room).includes(joined), deadlineMs, `${joined} in ${room}`);
    await client.close();
  }
  const isOver = (room: string) => told(receiver, room).at(-1) === 'room.vacated';
  await until(() => rooms.every(isOver), deadlineMs, 'every room is told as vacated');
  await wait(quietMs);
  for (const room of rooms) {
    const story = told(receiver, room);
    for (const user of ['u0', 'u1']) {
      const own = story.filter((line) => line.endsWith(` ${user}`));
      expect(own.length, `${user} in ${room}`).toBeGreaterThan(0);
      expect(own).toEqual(own.map((_, at) => `member.${at % 2 === 0 ? 'joined' : 'left'} ${user}`));
      expect(own.length % 2).toBe(0);
    }
    const own = story.filter((line) => line.startsWith('room.'));
    expect(own).toEqual(own.map((_, at) => (at % 2 === 0 ? 'room.occupied' : 'room.vacated')));
    expect(own.at(-1)).toBe('room.vacated');
  }
  expect(receiver.complaints).toEqual([]);
  expect(receiver.mostUnderWay).toBe(1);
}, 120_000);
