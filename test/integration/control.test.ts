/**
 * What an operator does to users of the whole cluster, from a node that has none of their connections: with nodes that are
 * killed, frozen and cut off, and with a Redis that restarts.
 */
import { describe, expect, test } from 'vitest';
import {
  disconnectConnection,
  disconnectUser,
  kickUser,
  subscribeUser,
} from '../../gateway/operations/cluster/users.ts';
import { type Client, connect } from '../support/client.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { caller, clusterSettings, timed, untilThere } from './cluster.ts';
import { roomsFile } from './files.ts';
import { enter, join, randomRoom, tokenOf } from './people.ts';

/** A live node answers at once; a dead one costs the deadline of 2 s. */
const answeredMs = 2_500;

const named = (settings: NodeSettings, name: string) => ({ ...settings, NODE_ID: name });

/** The close code that a user gets who comes now; undefined: it is welcome. */
async function codeFor(node: { url: string }, user: string): Promise<number | undefined> {
  const client = await connect(node.url, { token: await tokenOf(user) });
  const welcome = client.next('welcome').then(
    () => undefined,
    () => client.closed.then(({ code }) => code),
  );
  return welcome.finally(() => client.socket.terminate());
}

describe('disconnect', () => {
  test('closes the connections of a user on all nodes with 4503, and nobody else', async () => {
    const settings = clusterSettings();
    const [asked, one, two] = await Promise.all(
      ['asked', 'one', 'two'].map((name) => startNode(named(settings, name))),
    );
    if (asked === undefined || one === undefined || two === undefined) throw new Error('three nodes');
    const anns = [await enter(one, 'ann'), await enter(one, 'ann'), await enter(two, 'ann')];
    const bob = await enter(two, 'bob');
    expect(await disconnectUser(asked.cluster, caller, { user: 'ann' })).toEqual({ disconnected: 3 });
    for (const ann of anns) expect(await ann.closed).toMatchObject({ code: 4503 });
    expect(await bob.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    expect(await disconnectUser(asked.cluster, caller, { user: 'ann' })).toEqual({ disconnected: 0 });
    expect(await codeFor(one, 'ann')).toBeUndefined();
    expect(await metric(asked, 'gateway_control_seconds_count')).toBe(2);
  });

  test('closes one connection by its id; an id of nobody, or of a node that is gone, closes none at once', async () => {
    const settings = clusterSettings();
    const [asked, other] = [await startNode(named(settings, 'asked')), await startNode(named(settings, 'other'))];
    const [ann, again] = [await enter(other, 'ann'), await enter(other, 'ann')];
    const [welcome] = ann.frames;
    const id = welcome?.type === 'welcome' ? welcome.connection : '';
    expect(await disconnectConnection(asked.cluster, caller, id)).toEqual({ disconnected: 1 });
    expect(await ann.closed).toMatchObject({ code: 4503 });
    for (const none of [id, `${id}0`, 'gone-0123456789-1', 'nonsense', '', '-', 'x'.repeat(10_000)]) {
      const { result, tookMs } = await timed(() => disconnectConnection(asked.cluster, caller, none));
      expect(result).toEqual({ disconnected: 0 });
      expect(tookMs).toBeLessThan(answeredMs);
    }
    expect(await again.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });

  test('names a node that was just killed as missing within 2.5 s, and later does not wait for it', async () => {
    const settings = clusterSettings();
    const asked = await startNode(named(settings, 'asked'));
    const [alive, dead] = [await spawnNode(named(settings, 'alive')), await spawnNode(named(settings, 'dead'))];
    await untilThere(asked, 'asked', 'alive', 'dead');
    const ann = await enter(alive, 'ann');
    await enter(dead, 'ann');
    dead.kill('SIGKILL');
    await dead.exited;
    const { result, tookMs } = await timed(() => disconnectUser(asked.cluster, caller, { user: 'ann' }));
    expect(result).toEqual({ disconnected: 1, missing: ['dead'] });
    expect(tookMs).toBeLessThan(answeredMs);
    expect(await ann.closed).toMatchObject({ code: 4503 });
    await untilThere(asked, 'asked', 'alive');
    const later = await timed(() => disconnectUser(asked.cluster, caller, { user: 'ann' }));
    expect(later.result).toEqual({ disconnected: 0 });
    expect(later.tookMs).toBeLessThan(1_000);
  }, 40_000);

  test('names a frozen node as missing; when that goes on it does what it was told, or closes everybody', async () => {
    const settings = clusterSettings();
    const asked = await startNode(named(settings, 'asked'));
    const frozen = await spawnNode(named(settings, 'frozen'));
    await untilThere(asked, 'asked', 'frozen');
    const ann = await enter(frozen, 'ann');
    frozen.kill('SIGSTOP');
    const { result, tookMs } = await timed(() =>
      disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 60 }),
    );
    expect(result).toEqual({ disconnected: 0, missing: ['frozen'] });
    expect(tookMs).toBeLessThan(answeredMs);
    frozen.kill('SIGCONT');
    expect([4503, 4005]).toContain((await ann.closed).code);
    await until(async () => (await codeFor(frozen, 'ann')) === 4503, 10_000, 'the node knows of the block');
  }, 40_000);
});

describe('a blocked user', () => {
  test('is refused with 4503 on every node until the end, at the handshake and by `auth`; others are welcome', async () => {
    const settings = clusterSettings();
    const [asked, one] = [await startNode(named(settings, 'asked')), await startNode(named(settings, 'one'))];
    const ann = await enter(one, 'ann');
    expect(await disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 3_600 })).toEqual({
      disconnected: 1,
    });
    expect(await ann.closed).toMatchObject({ code: 4503 });
    // Also on a node that starts afterwards.
    const late = await startNode(named(settings, 'late'));
    for (const node of [asked, one, late]) {
      expect(await codeFor(node, 'ann')).toBe(4503);
      expect(await codeFor(node, 'bob')).toBeUndefined();
      const byFrame = await connect(node.url);
      byFrame.send({ type: 'auth', token: await tokenOf('ann') });
      expect(await byFrame.closed).toMatchObject({ code: 4503 });
      expect(await metric(node, 'gateway_handshakes_rejected_total{reason="blocked"}')).toBe(1);
    }
    expect(await disconnectUser(late.cluster, caller, { user: 'ann', blockSeconds: 1 })).toEqual({ disconnected: 0 });
    for (const node of [asked, one, late]) {
      await until(async () => (await codeFor(node, 'ann')) === undefined, 5_000, 'ann is welcome again');
    }
  });

  test('comes back at once when the block is ended with 0', async () => {
    const settings = clusterSettings();
    const [asked, one] = [await startNode(named(settings, 'asked')), await startNode(named(settings, 'one'))];
    await disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 3_600 });
    expect(await codeFor(one, 'ann')).toBe(4503);
    await disconnectUser(one.cluster, caller, { user: 'ann', blockSeconds: 0 });
    for (const node of [asked, one]) expect(await codeFor(node, 'ann')).toBeUndefined();
  });

  test('loses its connections also on a node that missed the command, as soon as that has Redis again', async () => {
    const settings = clusterSettings();
    const proxy = await faultProxy(String(settings.REDIS_URL));
    const asked = await startNode(named(settings, 'asked'));
    const cutOff = await startNode({ ...named(settings, 'cut-off'), REDIS_URL: proxy.url });
    await untilThere(asked, 'asked', 'cut-off');
    const ann = await enter(cutOff, 'ann');
    // Nothing that Redis holds for the old connections may reach the node.
    proxy.mode = 'reset';
    const { result, tookMs } = await timed(() =>
      disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 3_600 }),
    );
    expect(result).toEqual({ disconnected: 0, missing: ['cut-off'] });
    expect(tookMs).toBeLessThan(answeredMs);
    expect(await ann.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    proxy.mode = 'pass';
    expect(await ann.closed).toMatchObject({ code: 4503 });
    expect(await codeFor(cutOff, 'ann')).toBe(4503);
  }, 40_000);

  test('stays blocked while Redis is away, and after it has come back with its append-only file', async () => {
    const redis = await ownRedisOnDisk();
    const settings = clusterSettings(redis.url);
    const asked = await startNode(named(settings, 'asked'));
    await disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 3_600 });
    await redis.kill();
    await expect(disconnectUser(asked.cluster, caller, { user: 'bob' })).rejects.toMatchObject({ name: 'Refusal' });
    expect(await codeFor(asked, 'ann')).toBe(4503);
    expect(await codeFor(asked, 'bob')).toBeUndefined();
    await redis.start();
    await untilThere(asked, 'asked');
    const fresh = await startNode(named(settings, 'fresh'));
    for (const node of [asked, fresh]) expect(await codeFor(node, 'ann')).toBe(4503);
  }, 40_000);
});

describe('members', () => {
  test('all connections of a user become members of a room, hear it, and are removed from it, on all nodes', async () => {
    const settings = {
      ...clusterSettings(),
      ROOMS_FILE: roomsFile({ match: 'kept:*', subscribe: 'server', history: {} }),
    };
    const [asked, one, two] = await Promise.all(
      ['asked', 'one', 'two'].map((name) => startNode(named(settings, name))),
    );
    if (asked === undefined || one === undefined || two === undefined) throw new Error('three nodes');
    const room = randomRoom('kept');
    // Without any right of their own.
    const token = await mintToken({ sub: 'ann' });
    const enterAs = async (node: { url: string }) => {
      const client = await connect(node.url, { token });
      await client.next('welcome');
      return client;
    };
    const anns: Client[] = [await enterAs(one), await enterAs(two)];
    const bob = await enter(two, 'bob');
    expect(await subscribeUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ subscribed: 2 });
    for (const ann of anns) expect(await ann.next('subscribed')).toMatchObject({ room, offset: 0 });
    const publisher = await enter(asked, 'publisher');
    await publisher.publish(room, 'hello');
    for (const ann of anns) expect(await ann.next('message')).toMatchObject({ room, offset: 1, data: 'hello' });
    expect(await kickUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ removed: 2 });
    for (const ann of anns)
      expect(await ann.next('unsubscribed')).toEqual({ type: 'unsubscribed', room, reason: 'kicked' });
    expect(await kickUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ removed: 0 });
    await publisher.publish(room, 'nobody hears this');
    for (const ann of anns) {
      expect(await ann.request({ type: 'subscribe', room })).toMatchObject({ code: 'forbidden' });
      expect(ann.frames.filter(({ type }) => type === 'message')).toHaveLength(1);
    }
    expect(bob.frames.map(({ type }) => type)).toEqual(['welcome']);
  });

  test('who is removed may come back if it has the right: a block is what keeps a user out', async () => {
    const settings = clusterSettings();
    const [asked, one] = [await startNode(named(settings, 'asked')), await startNode(named(settings, 'one'))];
    const room = randomRoom();
    const ann = await join(one, 'ann', room);
    expect(await kickUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ removed: 1 });
    await ann.next('unsubscribed');
    expect(await ann.subscribe(room)).toMatchObject({ type: 'ok', room });
  });
});
