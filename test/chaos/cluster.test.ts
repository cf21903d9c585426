/**
 * What a Redis Cluster does while nodes use it: slots move, primaries die, come and go. Rooms of other shards never notice, and
 * nothing is lost without a word. The contract without faults is test/contract/cluster.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { clusterBackplane, clusterPresenceNode, ownPrefix } from '../contract/cluster-node.ts';
import { keptPublication, outcome, publication, Recorder } from '../contract/recorder.ts';
import { type ClusterServer, RedisCluster, roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';

const deadlineMs = 30_000;
/** Of the running test: each breaks its own. */
let cluster: RedisCluster;

async function startNodes(options: { replicated?: boolean } = {}) {
  const prefix = ownPrefix();
  const nodes = await Promise.all(
    ['one', 'other'].map((node) => new Recorder(clusterBackplane(cluster, { prefix, node, ...options })).start()),
  );
  const [one, other] = nodes;
  if (one === undefined || other === undefined) throw new Error('there are two nodes');
  for (const node of nodes) await node.untilUp(true);
  return { nodes, one, other, prefix };
}

/** Rooms whose slots this server has, and the other rooms. */
async function roomsOf(server: ClusterServer, number: number) {
  const slots = await cluster.slotsOf(server);
  const own = Array.from({ length: number }, (_, index) => roomIn(slots, `own${index}:`));
  const rest = Array.from({ length: 16_384 }, (_, slot) => slot).filter((slot) => !slots.includes(slot));
  const others = Array.from({ length: number }, (_, index) => roomIn(rest, `other${index}:`));
  return { own, others };
}

/** Publishes to the room one after the other until `stop`; each again, with its key, until it is taken. */
class Publisher {
  readonly taken: string[] = [];
  readonly refusals: string[] = [];
  /** Those that ended with `timeout` at least once: a server that stood still may deliver them late, when it goes on. */
  readonly uncertain = new Set<string>();
  #stopped = false;
  readonly #done: Promise<void>;

  constructor({ backplane }: Recorder, room: string, kept: boolean) {
    this.#done = this.#run(backplane as ClusterBackplane, room, kept);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(backplane: ClusterBackplane, room: string, kept: boolean): Promise<void> {
    for (let number = 0; !this.#stopped; number++) {
      const base = kept ? keptPublication(room) : publication(room);
      const id = `${room} ${number}`;
      const each = { ...base, dedupe: { by: 'ann', key: id }, suffix: `${base.suffix} ${id}` };
      for (let code = ''; code !== 'taken'; ) {
        code = await outcome(backplane.publish(each));
        if (code !== 'taken') {
          this.refusals.push(code);
          if (code === 'timeout') this.uncertain.add(id);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
      this.taken.push(id);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** The numbers of the messages of a room that came, each once, in order; and where gaps were told between them. */
const idOf = (frame: string) => /(\S+ \d+)$/.exec(frame)?.[1] ?? '';

/** What was taken has come, in its order, or a gap stands where it is missing. */
function expectNoSilentLoss(node: Recorder, room: string, { taken, uncertain }: Publisher): void {
  const missing = new Set(taken);
  let expected = 0;
  let gapSince = false;
  for (const line of node.story(room)) {
    if (line === 'interrupted' || line === 'unreadable') {
      gapSince = true;
      continue;
    }
    const number = Number(idOf(line).split(' ').at(-1));
    if (number < expected && uncertain.has(idOf(line))) continue;
    expect(number, `order in ${room}`).toBeGreaterThanOrEqual(expected);
    if (number !== expected) expect(gapSince, `a gap before ${number} in ${room}`).toBe(true);
    expected = number + 1;
    gapSince = false;
    missing.delete(idOf(line));
  }
  // The last ones may be told missing by a gap only if nothing follows.
  if (!gapSince) expect([...missing].filter((id) => Number(id.split(' ').at(-1)) >= expected)).toEqual([]);
}

async function keptIds(node: Recorder, room: string): Promise<{ epoch: string; offsets: number[]; ids: string[] }> {
  const page = await node.backplane.read(room, { limit: 5_000, maxBytes: 10_000_000 });
  const ids = page.messages.map(({ frame }) => idOf(Buffer.from(frame).toString()));
  return { epoch: page.epoch, offsets: page.messages.map(({ offset }) => offset), ids };
}

describe('slots that move under load', () => {
  test('lose nothing: epochs stay, plain rooms get a gap where messages are missing, other rooms notice nothing', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes();
    const from = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(from, 6);
    const rooms = [...own, ...others];
    for (const node of nodes) await Promise.all(rooms.map((room) => node.backplane.subscribe(room)));
    const isKept = (room: string) => rooms.indexOf(room) % 2 === 0;
    const publishers = new Map(rooms.map((room) => [room, new Publisher(one, room, isKept(room))]));
    await until(() => rooms.every((room) => (publishers.get(room)?.taken.length ?? 0) > 20), deadlineMs, 'messages flow');
    const before = new Map<string, string>();
    for (const room of rooms.filter(isKept)) before.set(room, (await keptIds(one, room)).epoch);

    const to = await cluster.anotherThan(from);
    await cluster.move(own.map(slotOf), to);
    const counts = new Map(rooms.map((room) => [room, publishers.get(room)?.taken.length ?? 0]));
    const flows = (room: string) => (publishers.get(room)?.taken.length ?? 0) > (counts.get(room) ?? 0) + 20;
    await until(() => rooms.every(flows), deadlineMs, 'messages flow again');
    for (const publisher of publishers.values()) await publisher.stop();

    for (const room of others) expect(publishers.get(room)?.refusals, room).toEqual([]);
    for (const node of [one, other]) {
      for (const room of rooms) {
        const taken = publishers.get(room)?.taken ?? [];
        const last = taken.at(-1) ?? '';
        await until(() => node.story(room).some((line) => line.endsWith(last)), deadlineMs, `${last} has come`);
        expectNoSilentLoss(node, room, publishers.get(room) as Publisher);
        if (others.includes(room)) expect(node.story(room)).not.toContain('interrupted');
      }
    }
    for (const room of rooms.filter(isKept)) {
      const taken = publishers.get(room)?.taken ?? [];
      const page = await keptIds(other, room);
      expect(page.epoch, room).toBe(before.get(room));
      expect(page.ids).toEqual(taken.slice(-page.ids.length));
      expect(page.ids.length).toBe(Math.min(100, taken.length));
    }
  }, 120_000);
});

describe('a primary that is not there any more', () => {
  test('killed: nothing acknowledged by a replica is lost, its rooms are back soon, and others are never refused', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes({ replicated: true });
    const victim = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(victim, 4);
    const rooms = [...own, ...others];
    for (const node of [one, other]) await Promise.all(rooms.map((room) => node.backplane.subscribe(room)));
    const isKept = (room: string) => rooms.indexOf(room) % 2 === 0;
    const publishers = new Map(rooms.map((room) => [room, new Publisher(one, room, isKept(room))]));
    const taken = (room: string) => publishers.get(room)?.taken ?? [];
    await until(() => rooms.every((room) => taken(room).length > 10), deadlineMs, 'messages flow');

    await victim.kill();
    await until(async () => (await cluster.ownerOf(slotOf('a'))) !== victim, deadlineMs, 'its replica is promoted');
    // The new primary acknowledges nothing before it has a replica.
    await victim.start();
    const counts = new Map(rooms.map((room) => [room, taken(room).length]));
    await until(
      () => rooms.every((room) => taken(room).length > (counts.get(room) ?? 0) + 10),
      deadlineMs,
      'messages flow again',
    );
    for (const publisher of publishers.values()) await publisher.stop();

    for (const room of others) expect(publishers.get(room)?.refusals, room).toEqual([]);
    for (const node of [one, other]) {
      for (const room of rooms) {
        const last = taken(room).at(-1) ?? '';
        await until(() => node.story(room).some((line) => line.endsWith(last)), deadlineMs, `${last} has come`);
        expectNoSilentLoss(node, room, publishers.get(room) as Publisher);
      }
    }
    for (const room of rooms.filter(isKept)) {
      const page = await keptIds(other, room);
      expect(page.ids, room).toEqual(taken(room).slice(-page.ids.length));
    }
  }, 120_000);

  test('demoted with its connections open: its rooms go on at the new one, and no node serves with it', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes();
    const former = await cluster.ownerOf(slotOf('a'));
    const { own } = await roomsOf(former, 4);
    for (const node of [one, other]) await Promise.all(own.map((room) => node.backplane.subscribe(room)));
    await cluster.ask(await cluster.replicaOf(former), 'CLUSTER', 'FAILOVER');
    const flows = async (room: string) => {
      const sent = publication(room);
      const isTaken = (await outcome(one.backplane.publish(sent))) === 'taken';
      return isTaken && until(() => other.frames(room).includes(sent.frame), 1_000, 'it has come');
    };
    await until(async () => (await cluster.ownerOf(slotOf('a'))) !== former, deadlineMs, 'the replica is promoted');
    for (const room of own) await until(() => flows(room), deadlineMs, `messages of ${room} flow`);
    for (const room of own) expect(other.roomsWithGap()).toContain(room);
    await until(() => one.backplane.trouble === undefined, deadlineMs, 'the node is in no trouble');
    await cluster.untilOk(3);
  }, 60_000);

  test('frozen, and back as a replica with connections open: what it took meanwhile is told as a gap', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes();
    const victim = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(victim, 2);
    for (const node of [one, other]) {
      await Promise.all([...own, ...others].map((room) => node.backplane.subscribe(room)));
    }
    const publishers = [...own, ...others].map((room) => [room, new Publisher(one, room, false)] as const);
    await until(() => publishers.every(([, { taken }]) => taken.length > 10), deadlineMs, 'messages flow');
    await victim.pause();
    await until(
      async () => (await cluster.ask(cluster.others(victim)[0] ?? victim, 'CLUSTER', 'NODES')).includes('fail'),
      deadlineMs,
      'it counts as failed',
    );
    const counts = publishers.map(([, { taken }]) => taken.length);
    await until(
      () => publishers.every(([, { taken }], index) => taken.length > (counts[index] ?? 0) + 10),
      deadlineMs,
      'messages flow again',
    );
    await victim.resume();
    await cluster.untilOk(3);
    for (const [room, publisher] of publishers) {
      await publisher.stop();
      if (others.includes(room)) expect(publisher.refusals).toEqual([]);
      for (const node of [one, other]) {
        const last = publisher.taken.at(-1) ?? '';
        await until(() => node.story(room).some((line) => line.endsWith(last)), deadlineMs, `${last} has come`);
        expectNoSilentLoss(node, room, publisher);
      }
    }
  }, 120_000);
});

describe('a subscription', () => {
  test('is made at the new owner though the slot moved while the node was not connected', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes();
    const from = await cluster.ownerOf(slotOf('a'));
    await other.backplane.subscribe('a');
    const to = await cluster.anotherThan(from);
    // The connection is lost and the slot is gone before it is back: SSUBSCRIBE is answered by MOVED.
    await Promise.all([cluster.ask(from, 'CLIENT', 'KILL', 'TYPE', 'pubsub'), cluster.moveSlot(slotOf('a'), to)]);
    const flows = async () => {
      const sent = publication('a');
      const isTaken = (await outcome(one.backplane.publish(sent))) === 'taken';
      return isTaken && until(() => other.frames('a').includes(sent.frame), 1_000, 'it has come');
    };
    await until(flows, deadlineMs, 'messages flow');
    expect(other.roomsWithGap()).toContain('a');
  }, 60_000);

  test('survives a slot that goes and comes back at once, as often as it likes', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes();
    const slot = slotOf('back-and-forth');
    const from = await cluster.ownerOf(slot);
    const to = await cluster.anotherThan(from);
    await other.backplane.subscribe('back-and-forth');
    const publisher = new Publisher(one, 'back-and-forth', false);
    for (let round = 0; round < 5; round++) {
      await cluster.moveSlot(slot, to);
      await cluster.moveSlot(slot, from);
    }
    const count = publisher.taken.length;
    await until(() => publisher.taken.length > count + 20, deadlineMs, 'messages flow again');
    await publisher.stop();
    const last = publisher.taken.at(-1) ?? '';
    await until(() => other.story('back-and-forth').some((line) => line.endsWith(last)), deadlineMs, 'the last has come');
    expectNoSilentLoss(other, 'back-and-forth', publisher);
  }, 60_000);
});

describe('presence', () => {
  test('is right, and nobody is told as gone, while the slots of a room and of the leases move, and primaries fail over', async () => {
    cluster = await RedisCluster.start();
    const prefix = ownPrefix();
    const nodes = [clusterPresenceNode(cluster, { prefix }), clusterPresenceNode(cluster, { prefix })];
    const [one, other] = nodes;
    if (one === undefined || other === undefined) throw new Error('there are two nodes');
    const room = roomIn(await cluster.slotsOf(await cluster.ownerOf(slotOf('a'))), 'present');
    const there = new Map(nodes.map((node) => [node, [node.present('ann'), node.present(`user of ${node.instance}`)]]));
    for (const node of nodes) {
      await node.start(room);
      const sync = () => void node.store.sync(room, () => there.get(node) ?? []).catch(() => setTimeout(sync, 100));
      node.onDoubt = sync;
    }
    const isRight = async () => {
      const page = await other.page(room);
      return page.count === 4 && page.users === 3 && page.members.length === 4;
    };
    for (const node of nodes) await node.store.sync(room, () => there.get(node) ?? []);
    await until(isRight, deadlineMs, 'all are there');

    for (const moved of [room, 'control']) {
      const from = await cluster.ownerOf(slotOf(moved));
      await cluster.moveSlot(slotOf(moved), await cluster.anotherThan(from));
      await until(isRight, deadlineMs, 'all are still there');
      const primary = await cluster.ownerOf(slotOf(moved));
      await cluster.ask(await cluster.replicaOf(primary), 'CLUSTER', 'FAILOVER');
      await until(async () => (await cluster.ownerOf(slotOf(moved))) !== primary, deadlineMs, 'it has failed over');
      await cluster.untilOk(3);
      await until(isRight, deadlineMs, 'all are there again');
    }
    // A node that dies is still taken out, once: it has a lease, and an index with the room.
    const before = other.story(room).length;
    await one.store.close();
    await until(async () => (await other.page(room)).count === 2, deadlineMs, 'the dead node is taken out');
    await until(() => other.story(room).length > before, deadlineMs, 'its user is told as gone');
    expect(other.story(room).filter((line) => line.startsWith('leave'))).toEqual([`leave user of ${one.instance}`]);
  }, 120_000);
});

describe('shards', () => {
  test('that are added and removed under load take over and give up their rooms without a restart', async () => {
    cluster = await RedisCluster.start();
    const { one, other } = await startNodes();
    const from = await cluster.ownerOf(slotOf('a'));
    const { own } = await roomsOf(from, 4);
    for (const node of [one, other]) await Promise.all(own.map((room) => node.backplane.subscribe(room)));
    const publishers = own.map((room, index) => [room, new Publisher(one, room, index % 2 === 0)] as const);
    await until(() => publishers.every(([, { taken }]) => taken.length > 10), deadlineMs, 'messages flow');
    const added = await cluster.add();
    const flow = async (what: string) => {
      const counts = publishers.map(([, { taken }]) => taken.length);
      const more = () => publishers.every(([, { taken }], index) => taken.length > (counts[index] ?? 0) + 20);
      await until(more, deadlineMs, what);
    };
    await cluster.move(own.map(slotOf), added);
    await flow('messages flow at the new shard');
    await cluster.move(own.map(slotOf), from);
    await flow('messages flow at the old one again');
    await cluster.remove(added);
    await flow('messages flow without it');
    await until(() => one.backplane.trouble === undefined, deadlineMs, 'the node is in no trouble');
    for (const [room, publisher] of publishers) {
      await publisher.stop();
      const last = publisher.taken.at(-1) ?? '';
      for (const node of [one, other]) {
        await until(() => node.story(room).some((line) => line.endsWith(last)), deadlineMs, `${last} has come`);
        expectNoSilentLoss(node, room, publisher);
      }
    }
  }, 120_000);
});
