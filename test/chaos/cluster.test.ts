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

async function subscribe(nodes: readonly Recorder[], rooms: readonly string[]): Promise<void> {
  for (const { backplane } of nodes) await Promise.all(rooms.map((room) => backplane.subscribe(room)));
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

type Publishers = ReadonlyMap<string, Publisher>;

function publishersOf(node: Recorder, rooms: readonly string[], isKept: (room: string) => boolean): Publishers {
  return new Map(rooms.map((room) => [room, new Publisher(node, room, isKept(room))]));
}

/** Of each room 20 more messages are taken and have come to every node. */
async function untilFlowing(publishers: Publishers, nodes: readonly Recorder[], what: string): Promise<void> {
  for (const [room, publisher] of publishers) {
    const from = publisher.taken.length;
    const isThere = (node: Recorder) => {
      const wanted = publisher.taken.slice(from + 20);
      return wanted.length > 0 && wanted.includes(idOf(node.frames(room).at(-1) ?? ''));
    };
    await until(() => nodes.every(isThere), deadlineMs, `${what}: ${room}`);
  }
}

/** Call it while messages flow. Ends the publishers, and checks what has come of them. */
async function expectAllTold(publishers: Publishers, nodes: readonly Recorder[]): Promise<void> {
  for (const [room, publisher] of publishers) {
    await publisher.stop();
    const last = publisher.taken.at(-1) ?? '';
    for (const node of nodes) {
      await until(() => node.story(room).some((line) => line.endsWith(last)), deadlineMs, `${last} has come`);
      expectNoSilentLoss(node, room, publisher);
    }
  }
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
    await subscribe(nodes, rooms);
    const isKept = (room: string) => rooms.indexOf(room) % 2 === 0;
    const publishers = publishersOf(one, rooms, isKept);
    await untilFlowing(publishers, nodes, 'messages flow');
    const before = new Map<string, string>();
    for (const room of rooms.filter(isKept)) before.set(room, (await keptIds(one, room)).epoch);

    await cluster.move(own.map(slotOf), await cluster.anotherThan(from));
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);

    for (const room of others) {
      expect(publishers.get(room)?.refusals, room).toEqual([]);
      for (const node of nodes) expect(node.story(room)).not.toContain('interrupted');
    }
    for (const room of rooms.filter(isKept)) {
      const taken = publishers.get(room)?.taken ?? [];
      const page = await keptIds(other, room);
      expect(page.epoch, room).toBe(before.get(room));
      expect(page.ids).toEqual(taken.slice(-100));
    }
  }, 120_000);
});

describe('a primary that is not there any more', () => {
  test('killed: nothing acknowledged by a replica is lost, its rooms are back soon, and others are never refused', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes({ replicated: true });
    const victim = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(victim, 4);
    const rooms = [...own, ...others];
    await subscribe(nodes, rooms);
    const isKept = (room: string) => rooms.indexOf(room) % 2 === 0;
    const publishers = publishersOf(one, rooms, isKept);
    await untilFlowing(publishers, nodes, 'messages flow');

    await victim.kill();
    await until(async () => (await cluster.ownerOf(slotOf('a'))) !== victim, deadlineMs, 'its replica is promoted');
    // The new primary acknowledges nothing before it has a replica.
    await victim.start();
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);

    for (const room of others) expect(publishers.get(room)?.refusals, room).toEqual([]);
    for (const room of rooms.filter(isKept)) {
      const page = await keptIds(other, room);
      expect(page.ids, room).toEqual(publishers.get(room)?.taken.slice(-page.ids.length));
    }
  }, 120_000);

  test('killed without a replica that has to confirm: rooms with history begin a new epoch, those of others do not', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes();
    const victim = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(victim, 2);
    const rooms = [...own, ...others];
    await subscribe(nodes, rooms);
    const publishers = publishersOf(one, rooms, () => true);
    await untilFlowing(publishers, nodes, 'messages flow');
    const before = new Map<string, string>();
    for (const room of rooms) before.set(room, (await keptIds(one, room)).epoch);
    await victim.kill();
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
    for (const room of own) expect((await keptIds(other, room)).epoch).not.toBe(before.get(room));
    for (const room of others) {
      expect((await keptIds(other, room)).epoch).toBe(before.get(room));
      expect(publishers.get(room)?.refusals).toEqual([]);
    }
  }, 120_000);

  test('demoted with its connections open: its rooms go on at the new one, and no node serves with it', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes();
    const former = await cluster.ownerOf(slotOf('a'));
    const { own } = await roomsOf(former, 4);
    await subscribe(nodes, own);
    const publishers = publishersOf(one, own, () => false);
    await untilFlowing(publishers, nodes, 'messages flow');
    await cluster.failOver(former);
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
    for (const room of own) expect(other.roomsWithGap()).toContain(room);
    await until(() => one.backplane.trouble === undefined, deadlineMs, 'the node is in no trouble');
  }, 60_000);

  test('frozen, and back as a replica: what it took meanwhile is told as a gap, and others are never refused', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one } = await startNodes();
    const victim = await cluster.ownerOf(slotOf('a'));
    const { own, others } = await roomsOf(victim, 2);
    const rooms = [...own, ...others];
    await subscribe(nodes, rooms);
    const publishers = publishersOf(one, rooms, () => false);
    await untilFlowing(publishers, nodes, 'messages flow');
    await victim.pause();
    const [witness = victim] = cluster.others(victim);
    const failed = async () => / master,fail /.test(await cluster.ask(witness, 'CLUSTER', 'NODES'));
    await until(failed, deadlineMs, 'it counts as failed');
    await victim.resume();
    await cluster.untilOk(3);
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
    for (const room of others) expect(publishers.get(room)?.refusals).toEqual([]);
  }, 120_000);
});

describe('a subscription', () => {
  test('is made at the new owner though the slot moved while the node was not connected', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes();
    const from = await cluster.ownerOf(slotOf('a'));
    await other.backplane.subscribe('a');
    await one.backplane.subscribe('a');
    const to = await cluster.anotherThan(from);
    const publishers = publishersOf(one, ['a'], () => false);
    // The connection is lost and the slot is gone before it is back: SSUBSCRIBE is answered by MOVED.
    await cluster.moveSlot(slotOf('a'), to, () => cluster.ask(from, 'CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
    expect(other.roomsWithGap()).toContain('a');
  }, 60_000);

  test('is made again after a notice though the map has not changed: the slot was away for a moment', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one, other } = await startNodes();
    const owner = await cluster.ownerOf(slotOf('a'));
    await subscribe(nodes, ['a']);
    const publishers = publishersOf(one, ['a'], () => false);
    await untilFlowing(publishers, nodes, 'messages flow');
    // One write: nobody reads the map in between.
    const slot = slotOf('a');
    await cluster.askAtOnce(owner, `CLUSTER DELSLOTS ${slot}`, `CLUSTER ADDSLOTS ${slot}`);
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
    expect(other.roomsWithGap()).toEqual(['a']);
  }, 60_000);

  test('survives a slot that goes and comes back at once, as often as it likes', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one } = await startNodes();
    const room = 'back-and-forth';
    const from = await cluster.ownerOf(slotOf(room));
    const to = await cluster.anotherThan(from);
    await subscribe(nodes, [room]);
    const publishers = publishersOf(one, [room], () => false);
    for (let round = 0; round < 5; round++) {
      await cluster.moveSlot(slotOf(room), to);
      await cluster.moveSlot(slotOf(room), from);
    }
    await untilFlowing(publishers, nodes, 'messages flow again');
    await expectAllTold(publishers, nodes);
  }, 60_000);
});

describe('shards', () => {
  test('that are added and removed under load take over and give up their rooms without a restart', async () => {
    cluster = await RedisCluster.start();
    const { nodes, one } = await startNodes();
    const from = await cluster.ownerOf(slotOf('a'));
    const { own } = await roomsOf(from, 4);
    await subscribe(nodes, own);
    const publishers = publishersOf(one, own, (room) => own.indexOf(room) % 2 === 0);
    await untilFlowing(publishers, nodes, 'messages flow');
    const added = await cluster.add();
    await cluster.move(own.map(slotOf), added);
    await untilFlowing(publishers, nodes, 'messages flow at the new shard');
    await cluster.move(own.map(slotOf), from);
    await untilFlowing(publishers, nodes, 'messages flow at the old one again');
    await cluster.remove(added);
    await untilFlowing(publishers, nodes, 'messages flow without it');
    await until(() => one.backplane.trouble === undefined, deadlineMs, 'the node is in no trouble');
    await expectAllTold(publishers, nodes);
  }, 120_000);
});

describe('an epoch', () => {
  test('goes on where the last slot of a server moves, and the server is gone before a node reads the map', async () => {
    // Without a file each of them may have lost something, as one that was promoted.
    cluster = await RedisCluster.start({ settings: ['--appendonly', 'no'] });
    const { nodes, one } = await startNodes();
    const leaving = await cluster.add();
    const slot = slotOf('a');
    await cluster.moveSlot(slot, leaving);
    const to = await cluster.anotherThan(leaving);
    // Each has read the new map, and knows the server that leaves.
    for (const { backplane } of nodes) {
      const read = () => backplane.read('a', { limit: 1, maxBytes: 1 }).catch(() => undefined);
      await until(read, deadlineMs, 'a node reads there');
    }
    const epochOfNext = async () => {
      const publish = () => one.backplane.publish(keptPublication('a')).catch(() => undefined);
      const published = await until(publish, deadlineMs, 'a message is taken');
      return published?.position?.epoch;
    };
    const before = await epochOfNext();
    await cluster.ask(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', leaving.id);
    await cluster.ask(leaving, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
    const keys = (await cluster.ask(leaving, 'CLUSTER', 'GETKEYSINSLOT', slot, 100)).split('\n');
    await cluster.ask(leaving, 'MIGRATE', '127.0.0.1', to.port, '', 0, 5_000, 'KEYS', ...keys);
    await leaving.kill();
    await until(() => nodes.every(({ backplane }) => !backplane.up), deadlineMs, 'the nodes have lost it');
    await cluster.ask(to, 'CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
    expect(await epochOfNext()).toBe(before);
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
      await cluster.failOver(await cluster.ownerOf(slotOf(moved)));
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
