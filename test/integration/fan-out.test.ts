/**
 * One room on many nodes: a message published on any node reaches every member on every node, once and in one order.
 *
 * Nodes are separate processes if the promise is about processes; otherwise they run in this process.
 */
import { describe, expect, inject, test } from 'vitest';
import { spawnNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { carrying, dataOf, enter, join, joinAll, messagesOf, names, randomRoom } from './people.ts';

const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix'), PUBLISH_RATE: 0 };
const nodes = await Promise.all(names('n', 3).map((NODE_ID) => startNode({ ...redis, NODE_ID })));
const [node = await startNode(redis)] = nodes;

describe('nodes on one Redis', () => {
  test('two processes with 100 clients each: all 200 receive what any of them publishes once, in one order', async () => {
    const processes = await Promise.all([spawnNode(redis), spawnNode(redis)]);
    const room = randomRoom();
    const users = [names('left', 100), names('right', 100)];
    const members = (await Promise.all(processes.map((each, side) => joinAll(each, users[side] ?? [], room)))).flat();

    await Promise.all(members.map((member, index) => member.publish(room, users.flat()[index])));
    await Promise.all(members.map((member) => until(() => messagesOf(member, room).length >= 200, 15_000, '200')));
    await members[0]?.publish(room, 'last');
    await Promise.all(members.map((member) => member.next(carrying(room, 'last'))));

    const ids = members.map((member) => messagesOf(member, room).map(({ id }) => id));
    const [first = []] = ids;
    expect(first).toHaveLength(201);
    expect(new Set(first).size).toBe(201);
    for (const each of ids) expect(each).toEqual(first);
    expect(new Set(members[0] && dataOf(members[0], room))).toEqual(new Set([...users.flat(), 'last']));
  });

  test('a killed process disconnects its own clients, and others notice nothing', async () => {
    const [dies, stays] = await Promise.all([spawnNode(redis), spawnNode(redis)]);
    const room = randomRoom();
    const lost = await joinAll(dies, names('lost', 10), room);
    const [first, second] = await joinAll(stays, ['first', 'second'], room);
    dies.kill('SIGKILL');
    for (const client of lost) expect(await client.closed).toMatchObject({ code: 1006 });
    await first?.publish(room, 'hello');
    await second?.next(carrying(room, 'hello'));
    expect(second?.frames.map(({ type }) => type)).toEqual(['welcome', 'ok', 'message']);
  });

  test('three nodes see the messages of three busy publishers in the same order', async () => {
    const room = randomRoom();
    const members = await Promise.all(nodes.map((each, index) => join(each, `member${index}`, room)));
    const publishers = await Promise.all(nodes.map((each, index) => enter(each, `publisher${index}`)));

    await Promise.all(
      publishers.flatMap((publisher, index) => names(`${index}-`, 100).map((data) => publisher.publish(room, data))),
    );
    await Promise.all(members.map((member) => until(() => messagesOf(member, room).length >= 300, 10_000, '300')));

    const orders = members.map((member) => dataOf(member, room));
    for (const order of orders) expect(order).toEqual(orders[0]);
    for (const index of [0, 1, 2]) {
      expect(orders[0]?.filter((data) => String(data).startsWith(`${index}-`))).toEqual(names(`${index}-`, 100));
    }
  });

  test('a message is the same on every node: room, id, data, from, at', async () => {
    const room = randomRoom();
    const [here, there] = await Promise.all(nodes.map((each, index) => join(each, `member${index}`, room)));
    const before = Date.now();
    await here?.publish(room, { text: 'häß ✓', list: [1, null, true] });

    const message = await there?.next('message');
    expect(message).toEqual({
      type: 'message',
      room,
      id: expect.any(String),
      data: { text: 'häß ✓', list: [1, null, true] },
      from: 'member0',
      at: expect.any(Number),
    });
    expect(message?.at).toBeGreaterThanOrEqual(before);
    expect(message?.at).toBeLessThanOrEqual(Date.now());
    expect(await here?.next('message')).toEqual(message);
  });

  test('rooms whose names differ in one character share no message', async () => {
    const room = randomRoom();
    const near = [`${room}0`, room.slice(0, -1), room.toUpperCase(), `${room}:`];
    const members = await Promise.all(near.map((name, index) => join(node, `member${index}`, name)));
    const publisher = await enter(node, 'publisher');

    await publisher.publish(room, 'for nobody');
    for (const name of near) await publisher.publish(name, name);
    await Promise.all(members.map((member) => member.next('message')));
    expect(members.map((member, index) => dataOf(member, near[index] ?? ''))).toEqual(near.map((name) => [name]));
    expect(members.flatMap(({ frames }) => frames.filter(({ type }) => type === 'message'))).toHaveLength(4);
  });

  test('two deployments on one Redis with different prefixes share no message', async () => {
    const other = await startNode({ ...redis, REDIS_PREFIX: `${inject('redisPrefix')}-other` });
    const room = randomRoom();
    const stranger = await join(other, 'stranger', room);
    const member = await join(node, 'member', room);
    await member.publish(room, 'ours');
    await member.next(carrying(room, 'ours'));
    await stranger.publish(room, 'theirs');
    await stranger.next(carrying(room, 'theirs'));
    expect(dataOf(stranger, room)).toEqual(['theirs']);
    expect(dataOf(member, room)).toEqual(['ours']);
  });
});

describe.each([
  ['memory', await startNode({ PUBLISH_RATE: 0 })],
  ['Redis', node],
])('one node, backplane %s', (_name, node) => {
  test('members receive every message once, in one order, the publisher included', async () => {
    const room = randomRoom();
    const members = await joinAll(node, names('member', 20), room);
    await Promise.all(members.map((member, index) => member.publish(room, index)));
    await Promise.all(members.map((member) => until(() => messagesOf(member, room).length >= 20, 5_000, '20')));
    const [first] = members.map((member) => messagesOf(member, room));
    for (const member of members) expect(messagesOf(member, room)).toEqual(first);
    expect(new Set(first?.map(({ id }) => id)).size).toBe(20);
  });

  test('a publisher that is no member does not receive its own message', async () => {
    const room = randomRoom();
    const member = await join(node, 'member', room);
    const publisher = await enter(node, 'publisher');
    await publisher.publish(room, 'before');
    await member.next(carrying(room, 'before'));
    await publisher.subscribe(room);
    await publisher.publish(room, 'after');
    await publisher.next(carrying(room, 'after'));
    expect(dataOf(publisher, room)).toEqual(['after']);
  });

  test('other members notice nothing when a member leaves or a connection ends', async () => {
    const room = randomRoom();
    const [stays, leaves, ends] = await joinAll(node, ['stays', 'leaves', 'ends'], room);
    await leaves?.request({ type: 'unsubscribe', room });
    ends?.socket.terminate();
    await stays?.publish(room, 'hello');
    await stays?.next(carrying(room, 'hello'));
    expect(await leaves?.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    expect(leaves && dataOf(leaves, room)).toEqual([]);
  });
});
