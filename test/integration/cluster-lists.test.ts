/** What an operator sees of the whole cluster: connections, rooms, nodes and numbers, asked of any node. */
import { describe, expect, test } from 'vitest';
import { type ConnectionEntry, listConnections, listRooms } from '../../gateway/operations/cluster/lists.ts';
import { listNodes, type NodesQuestion, stats } from '../../gateway/operations/cluster/nodes.ts';
import { version } from '../../gateway/version.ts';
import { connect } from '../support/client.ts';
import { type NodeSettings, type StartedNode, spawnNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { caller, clusterSettings, timed, untilThere } from './cluster.ts';
import { enter, join, names, randomRoom } from './people.ts';

/** Three nodes, by name. */
async function three(settings: NodeSettings = {}): Promise<[StartedNode, StartedNode, StartedNode]> {
  const all = { ...clusterSettings(), PING_INTERVAL_MS: 200, ...settings };
  const nodes = await Promise.all(['one', 'two', 'three'].map((NODE_ID) => startNode({ ...all, NODE_ID })));
  await untilThere(nodes[0] as StartedNode, 'one', 'two', 'three');
  return nodes as [StartedNode, StartedNode, StartedNode];
}

describe('connections', () => {
  test('are listed with what an operator wants to know of each', async () => {
    const [one, two] = await three();
    const before = Date.now();
    const ann = await join(two, 'ann', randomRoom(), randomRoom());
    const found = async () => {
      const { connections } = await listConnections(one.cluster, caller, { user: 'ann', limit: 10 });
      return connections[0]?.rttMs ? connections : undefined;
    };
    const [welcome] = ann.frames;
    const id = welcome?.type === 'welcome' ? welcome.connection : '';
    expect(await until(found, 5_000, 'a ping was answered')).toEqual([
      {
        ...{ connection: id, user: 'ann', node: 'two', address: '127.0.0.1', openedAt: expect.any(Number) },
        ...{ rooms: 2, bufferedBytes: 0, rttMs: expect.any(Number) },
      },
    ]);
    const [entry] = (await found()) ?? [];
    expect(entry?.openedAt).toBeGreaterThan(before - 1_000);
    expect(entry?.openedAt).toBeLessThanOrEqual(Date.now());
  });

  test('are found by user, by room and by node, and page after page has each of all nodes once', async () => {
    const nodes = await three({ ANONYMOUS: true });
    const [one, two] = nodes;
    const room = randomRoom();
    for (const node of nodes) {
      await Promise.all(names('user', 9).map((user) => enter(node, user)));
      await join(node, 'ann', room);
    }
    const nobody = await connect(two.url);
    await nobody.next('welcome');
    const list = (question: object) => listConnections(one.cluster, caller, { limit: 1_000, ...question });
    const all = (await list({})).connections;
    expect(all).toHaveLength(31);
    expect(all.filter(({ user }) => user === null)).toHaveLength(1);
    expect((await list({ user: 'user3' })).connections.map(({ user }) => user)).toEqual(Array(3).fill('user3'));
    expect((await list({ room })).connections.map(({ user }) => user)).toEqual(Array(3).fill('ann'));
    expect((await list({ node: 'two' })).connections).toHaveLength(11);
    expect((await list({ node: 'two', user: 'ann', room })).connections).toHaveLength(1);
    expect((await list({ node: 'none' })).connections).toEqual([]);
    expect((await list({ user: 'none' })).connections).toEqual([]);
    const found: ConnectionEntry[] = [];
    for (let more: true | undefined = true; more; ) {
      const page = await list({ limit: 4, after: found.at(-1)?.connection });
      expect(page.connections.length).toBeLessThanOrEqual(4);
      found.push(...page.connections);
      more = page.more;
    }
    expect(found.map(({ connection }) => connection)).toEqual(all.map(({ connection }) => connection));
  });
});

describe('rooms', () => {
  test('are listed by name, with the members on all nodes, by prefix and page after page', async () => {
    const nodes = await three();
    const [one, two] = nodes;
    const topic = randomRoom();
    for (const node of nodes) await join(node, 'ann', `${topic}:b`);
    await join(two, 'bob', `${topic}:b`, `${topic}:a`, `${topic}:c`);
    const leaver = await join(two, 'cid', `${topic}:left`, `${topic}:a`);
    await leaver.request({ type: 'unsubscribe', room: `${topic}:left` });
    const list = (question: object) => listRooms(one.cluster, caller, { limit: 100, ...question });
    const rooms = [
      { room: `${topic}:a`, members: 2 },
      { room: `${topic}:b`, members: 4 },
      { room: `${topic}:c`, members: 1 },
    ];
    expect(await list({})).toEqual({ rooms });
    expect(await list({ prefix: `${topic}:b` })).toEqual({ rooms: rooms.slice(1, 2) });
    expect(await list({ prefix: 'none' })).toEqual({ rooms: [] });
    expect(await list({ limit: 2 })).toEqual({ rooms: rooms.slice(0, 2), more: true });
    expect(await list({ limit: 2, after: `${topic}:b` })).toEqual({ rooms: rooms.slice(2) });
  });

  test('of a node that was killed are missing, and the others are right, within 2.5 s', async () => {
    const settings = clusterSettings();
    const one = await startNode({ ...settings, NODE_ID: 'one' });
    const dead = await spawnNode({ ...settings, NODE_ID: 'dead' });
    await untilThere(one, 'one', 'dead');
    const room = randomRoom();
    await join(one, 'ann', room);
    await join(dead, 'bob', room);
    dead.kill('SIGKILL');
    await dead.exited;
    const asked = [
      async () =>
        expect(await listRooms(one.cluster, caller, { limit: 9 })).toEqual({
          rooms: [{ room, members: 1 }],
          missing: ['dead'],
        }),
      async () =>
        expect(await listConnections(one.cluster, caller, { limit: 9 })).toMatchObject({
          connections: [{ user: 'ann' }],
          missing: ['dead'],
        }),
      async () =>
        expect(await listNodes(one.cluster, caller)).toMatchObject({ nodes: [{ node: 'one' }], missing: ['dead'] }),
      async () =>
        expect(await stats(one.cluster, caller)).toMatchObject({ nodes: 1, connections: 1, missing: ['dead'] }),
    ];
    const { tookMs } = await timed(() => Promise.all(asked.map((each) => each())));
    expect(tookMs).toBeLessThan(2_500);
  });
});

describe('nodes', () => {
  test('are listed with their numbers, also one that has no room at all', async () => {
    const before = Date.now();
    const [one, two] = await three();
    await join(two, 'ann', randomRoom());
    const listed = async () => {
      const { nodes } = await listNodes(one.cluster, caller);
      return nodes.every(({ backplaneRttMs }) => backplaneRttMs !== null) ? nodes : undefined;
    };
    const nodes = (await until(listed, 5_000, 'each had a canary')) ?? [];
    const alike = { version, draining: false, startedAt: expect.any(Number), backplaneRttMs: expect.any(Number) };
    expect(nodes).toEqual([
      { node: 'one', connections: 0, rooms: 0, ...alike },
      { node: 'three', connections: 0, rooms: 0, ...alike },
      { node: 'two', connections: 1, rooms: 1, ...alike },
    ]);
    for (const { startedAt } of nodes) expect(startedAt).toBeGreaterThan(before - 1_000);
  });

  test('are listed page after page, each of them once', async () => {
    const [one] = await three();
    const namesOf = async (question: NodesQuestion) => {
      const { nodes, ...rest } = await listNodes(one.cluster, caller, question);
      return { names: nodes.map(({ node }) => node), ...rest };
    };
    expect(await namesOf({ limit: 2 })).toEqual({ names: ['one', 'three'], more: true });
    expect(await namesOf({ limit: 2, after: 'three' })).toEqual({ names: ['two'] });
    expect(await namesOf({ limit: 3 })).toEqual({ names: ['one', 'three', 'two'] });
    expect(await namesOf({ limit: 1, after: 'two' })).toEqual({ names: [] });
    await expect(namesOf({ limit: 0 })).rejects.toThrow('limit is a whole number from 1 to 1000');
  });

  test('say that they drain, and are gone when they have', async () => {
    const settings = { ...clusterSettings(), DRAIN_MS: 20_000 };
    const one = await startNode({ ...settings, NODE_ID: 'one' });
    const leaving = await spawnNode({ ...settings, NODE_ID: 'leaving' });
    await untilThere(one, 'one', 'leaving');
    const ann = await enter(leaving, 'ann');
    leaving.kill('SIGTERM');
    await ann.next('reconnect');
    expect(await listNodes(one.cluster, caller)).toMatchObject({
      nodes: [
        { node: 'leaving', draining: true, connections: 1 },
        { node: 'one', draining: false },
      ],
    });
    await ann.close();
    await leaving.exited;
    await untilThere(one, 'one');
  }, 30_000);

  test('a node on the memory backplane is a cluster of its own', async () => {
    const alone = await startNode({ NODE_ID: 'alone' });
    expect(await listNodes(alone.cluster, caller)).toMatchObject({ nodes: [{ node: 'alone', backplaneRttMs: null }] });
  });
});

test('numbers of the cluster count users and rooms once that are on several nodes, and messages of the last seconds', async () => {
  const nodes = await three();
  const [one] = nodes;
  const room = randomRoom();
  const anns = await Promise.all(nodes.map((node) => join(node, 'ann', room)));
  await join(one, 'bob', room, randomRoom());
  expect(await stats(one.cluster, caller)).toEqual({
    ...{ nodes: 3, connections: 4, users: 2, rooms: 2 },
    ...{ publishedPerSecond: expect.any(Number), deliveredPerSecond: expect.any(Number) },
  });
  const rated = async () => {
    await anns[0]?.publish(room, 'x');
    const { publishedPerSecond, deliveredPerSecond } = await stats(one.cluster, caller);
    return publishedPerSecond > 0 && deliveredPerSecond > publishedPerSecond;
  };
  await until(rated, 10_000, 'the rates rise');
}, 20_000);
