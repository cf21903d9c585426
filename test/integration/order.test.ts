/**
 * The order of frames of one connection: per room they take effect in the order they were sent, at any speed.
 *
 * Each test sends all its frames without waiting for answers. It runs on both backplanes.
 */
import { describe, expect, inject, test } from 'vitest';
import { connect, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { carrying, dataOf, enter, everywhere, join, messagesOf, names, randomRoom, tokenOf } from './people.ts';

const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };
const fast = { PUBLISH_RATE: 0, REQUEST_RATE: 0 };

describe.each([
  ['memory', await startNode(fast)],
  ['Redis', await startNode({ ...redis, ...fast })],
])('backplane %s', (_name, node) => {
  test('a publish right after a subscribe is received by its own publisher, after the ok', async () => {
    const room = randomRoom();
    const client = await enter(node, 'user');
    client.send({ type: 'subscribe', id: 'join', room });
    client.send({ type: 'publish', room, data: 'mine' });
    await client.next(carrying(room, 'mine'));
    const types = client.frames.map((frame) => frame.type);
    expect(types).toEqual(['welcome', 'ok', 'message']);
  });

  test('a thousand messages of one connection arrive in the order sent', async () => {
    const room = randomRoom();
    const member = await join(node, 'member', room);
    const publisher = await enter(node, 'publisher');
    const sent = names('', 1000);
    for (const data of sent) publisher.send({ type: 'publish', room, data });
    await until(() => messagesOf(member, room).length >= sent.length, 10_000, 'all messages');
    expect(dataOf(member, room)).toEqual(sent);
  });

  test('after the ok to unsubscribe no frame of the room follows, while others keep receiving', async () => {
    const room = randomRoom();
    const [leaves, stays] = [await join(node, 'leaves', room), await join(node, 'stays', room)];
    const publisher = await enter(node, 'publisher');
    const sent = names('', 500);
    for (const data of sent) publisher.send({ type: 'publish', room, data });
    await leaves.next('message');
    okOf(await leaves.request({ type: 'unsubscribe', id: 'leave', room }));
    await until(() => messagesOf(stays, room).length >= sent.length, 10_000, 'all messages at the one that stays');
    await leaves.request({ type: 'ping' });

    const end = leaves.frames.findIndex((frame) => 'id' in frame && frame.id === 'leave');
    expect(leaves.frames.slice(end + 1).map(({ type }) => type)).toEqual(['pong']);
    const received = dataOf(leaves, room);
    expect(received).toEqual(sent.slice(0, received.length));
  });

  test('a publish right before an unsubscribe is taken, and both are answered', async () => {
    const room = randomRoom();
    const [client, member] = [await join(node, 'client', room), await join(node, 'member', room)];
    const answers = [
      client.request({ type: 'publish', room, data: 'goodbye' }),
      client.request({ type: 'unsubscribe', room }),
    ];
    await member.next(carrying(room, 'goodbye'));
    for (const answer of await Promise.all(answers)) okOf(answer);
  });

  test('after subscribe, unsubscribe, subscribe, publish at once the client is a member and gets its message once', async () => {
    const room = randomRoom();
    const client = await enter(node, 'user');
    for (const id of names('round', 50)) {
      client.send({ type: 'subscribe', id, room });
      client.send({ type: 'unsubscribe', id, room });
    }
    client.send({ type: 'publish', room, data: 'while away' });
    const joined = client.request({ type: 'subscribe', room });
    client.send({ type: 'publish', room, data: 'while here' });
    await client.next(carrying(room, 'while here'));
    okOf(await joined);
    expect(dataOf(client, room).filter((data) => data === 'while here')).toHaveLength(1);
    expect(client.frames.filter(({ type }) => type === 'ok')).toHaveLength(101);
  });

  test('subscribing again to a joined room is ok and changes nothing', async () => {
    const room = randomRoom();
    const client = await join(node, 'user', room);
    expect(await client.subscribe(room)).toMatchObject({ type: 'ok', room });
    await client.publish(room, 'once');
    await client.publish(room, 'end');
    await client.next(carrying(room, 'end'));
    expect(dataOf(client, room)).toEqual(['once', 'end']);
  });

  test('unsubscribing without being a member is ok', async () => {
    const client = await enter(node, 'user');
    expect(await client.request({ type: 'unsubscribe', id: 7, room: randomRoom() })).toEqual({ type: 'ok', id: 7 });
  });

  test('frames after the first auth wait for its result and then take effect in order', async () => {
    const room = randomRoom();
    const client = await connect(node.url);
    client.send({ type: 'auth', id: 'a', token: await tokenOf('user') });
    client.send({ type: 'subscribe', id: 'b', room });
    client.send({ type: 'publish', id: 'c', room, data: 'early' });
    await Promise.all([
      client.next(carrying(room, 'early')),
      client.next((frame) => 'id' in frame && frame.id === 'c'),
    ]);
    expect(client.frames.slice(0, 2)).toMatchObject([
      { type: 'welcome', id: 'a', user: 'user' },
      { type: 'ok', id: 'b', room },
    ]);
    expect(client.frames.filter(({ type }) => type === 'error')).toEqual([]);
  });

  test('frames after a refresh have the rights of the new token', async () => {
    const room = randomRoom();
    const client = await enter(node, 'user');
    const narrow = await mintToken({ sub: 'user', rooms: { [room]: ['subscribe'] } });
    const wide = await mintToken({ sub: 'user', rooms: everywhere });
    const answers = await Promise.all([
      client.request({ type: 'publish', room, data: 1 }),
      client.request({ type: 'auth', token: narrow }),
      client.request({ type: 'publish', room, data: 2 }),
      client.request({ type: 'auth', token: wide }),
      client.request({ type: 'publish', room, data: 3 }),
    ]);
    expect(answers.map((answer) => (answer.type === 'error' ? answer.code : answer.type))).toEqual([
      'ok',
      'ok',
      'forbidden',
      'ok',
      'ok',
    ]);
  });

  test('each frame with an id gets exactly one answer with that very id, number or string', async () => {
    const room = randomRoom();
    const client = await enter(node, 'user');
    const ids = [0, 1, 2 ** 53 - 1, '', '0', 'x'.repeat(64), 'ü'.repeat(64), '\u0000"\\', '💥'.repeat(64)];
    for (const id of ids) client.send({ type: 'ping', id });
    for (const id of ids) client.send({ type: 'subscribe', id, room });
    for (const id of ids) client.send({ type: 'history', id, room });
    client.send({ type: 'ping', id: 'last' });
    await client.next((frame) => 'id' in frame && frame.id === 'last');
    await until(() => client.frames.length >= 3 * ids.length + 2, 5_000, 'all answers');
    for (const [type, extra] of [
      ['pong', ['last']],
      ['ok', []],
      ['error', []],
    ] as const) {
      const answered = client.frames.flatMap((frame) => (frame.type === type && 'id' in frame ? [frame.id] : []));
      expect(answered).toEqual([...ids, ...extra]);
    }
  });

  test('a publish without an id gets no ok, but gets errors', async () => {
    const room = randomRoom();
    const member = await join(node, 'member', room);
    const client = await enter(node, 'user');
    client.send({ type: 'publish', room, data: 'quiet' });
    client.send({ type: 'publish', room: '@member', data: 'not allowed' });
    await member.next(carrying(room, 'quiet'));
    expect(await client.next('error')).toMatchObject({ code: 'forbidden' });
    await client.request({ type: 'ping' });
    expect(client.frames.map(({ type }) => type)).toEqual(['welcome', 'error', 'pong']);
  });
});
