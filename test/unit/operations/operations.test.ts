/**
 * gateway/operations, called by the server and by clients, on a node in memory: plain values in, values or one typed
 * error out.
 */

import { beforeEach, describe, expect, test } from 'vitest';
import { readGrants } from '../../../gateway/auth/grants.ts';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { authorise } from '../../../gateway/operations/authorise.ts';
import { broadcast } from '../../../gateway/operations/broadcast.ts';
import { type Client, server } from '../../../gateway/operations/caller.ts';
import { admit, disconnect, kick } from '../../../gateway/operations/disconnect.ts';
import { history } from '../../../gateway/operations/history.ts';
import { presence } from '../../../gateway/operations/presence.ts';
import { publish, publishFromServer } from '../../../gateway/operations/publish.ts';
import { Refusal } from '../../../gateway/operations/refusal.ts';
import type { Hub } from '../../../gateway/rooms/hub.ts';
import type { GatewayFrame } from '../../../shared/protocol.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { bytesOf, SocketlessNode, tokenOf } from '../socketless-node.ts';

const rules = [
  { match: 'closed', subscribe: 'server', publish: 'server', history: {}, presence: true },
  { match: 'open*', subscribe: 'anyone', publish: 'anyone' },
];

let world: SocketlessNode;
beforeEach(async () => {
  world = await new SocketlessNode({ rules }).start();
  onCleanup(() => world.close());
});

const from = { id: 'n-1', address: '192.0.2.1' };
const client = (grants: object, isMember = false): Client => ({
  ...from,
  identity: { user: 'ann', grants: readGrants(grants) },
  isMember: () => isMember,
});
const ask = { after: undefined, before: undefined, epoch: undefined, limit: 10 };
const maxBytes = 100_000;

test('the server needs no right, but the rule of the room must offer what it asks for', async () => {
  const message = { room: 'closed', data: '7', key: 'once', from: undefined };
  const first = await publishFromServer(world.node, message);
  expect(first).toMatchObject({ duplicate: false, position: { offset: 1 } });
  expect(await publishFromServer(world.node, message)).toMatchObject({ duplicate: true, position: { offset: 1 } });
  await publishFromServer(world.node, { room: '@ann', data: '8', key: undefined, from: undefined });
  const page = await history(world.node, server, { room: 'closed', ...ask }, maxBytes);
  expect(page).toMatchObject({ offset: 1, first: 1, more: false });
  expect(page.messages.map((frame) => JSON.parse(`${frame}`))).toEqual([
    { type: 'message', room: 'closed', offset: 1, data: 7, at: expect.any(Number), key: 'once' },
  ]);
  expect(await presence(world.node, server, { room: 'closed', limit: 10, after: undefined })).toMatchObject({
    count: 0,
  });
});

test.each([
  ['open', /"match": "open\*", has no history; add "history": {} to it/, /has no presence; add "presence": true to it/],
  ['unmatched', /No rule .* matches this room; add one with "history": {}/, /add one with "presence": true/],
])('the server learns which rule has to offer what it asks for: room %s', async (room, noHistory, noPresence) => {
  const question = { room, ...ask };
  await expect(history(world.node, server, question, maxBytes)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(noHistory),
  });
  await expect(presence(world.node, server, question)).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(noPresence),
  });
});

test('the server publishes in the name of anybody, and its keys are its own', async () => {
  const ann = client({ closed: ['publish'], '*': ['publish'] });
  const message = { room: 'open', data: '1', key: 'taken' };
  const nobody = { ...from, identity: { user: null, grants: [] }, isMember: () => false };
  for (const each of [ann, nobody]) {
    await publish(world.node, each, await authorise(world.node, each, 'publish', 'open'), message);
  }
  const first = await publishFromServer(world.node, { ...message, from: 'ann' });
  expect(first).toEqual({ duplicate: false, position: undefined, id: expect.any(String) });
  expect(await publishFromServer(world.node, { ...message, from: undefined })).toEqual({
    duplicate: true,
    position: undefined,
  });
});

test('a broadcast has a result for each room in their order, and one room that fails holds up no other', async () => {
  const rooms = Array.from({ length: 120 }, (_, index) => (index === 60 ? 'closed' : `many:${index}`));
  const results = await broadcast(world.node, rooms, { data: '1', key: undefined, from: 'ann' });
  expect(results.map(({ room }) => room)).toEqual(rooms);
  for (const [index, result] of results.entries()) {
    expect(result).toMatchObject(index === 60 ? { position: { offset: 1 } } : { id: expect.any(String) });
  }
});

test('a broadcast gives other work its turn, and does not wait for a backplane that hangs once for each slice', async () => {
  const rooms = Array.from({ length: 1_000 }, (_, index) => `many:${index}`);
  const message = { data: '1', key: undefined, from: undefined };
  let turns = 0;
  let counting = setImmediate(function count() {
    turns++;
    counting = setImmediate(count);
  });
  await broadcast(world.node, rooms, message);
  clearImmediate(counting);
  expect(turns).toBeGreaterThan(10);

  let asked = 0;
  const hub = {
    publish: () => {
      asked++;
      return Promise.reject(new BackplaneError('timeout', 'no answer'));
    },
  } as unknown as Hub;
  const results = await broadcast({ ...world.node, hub }, rooms, message);
  const codes = results.map((result) => ('refusal' in result ? result.refusal.code : 'ok'));
  expect(codes.slice(0, asked)).toEqual(Array(asked).fill('timeout'));
  expect(codes.slice(asked)).toEqual(Array(1_000 - asked).fill('unavailable'));
  expect(asked).toBeLessThan(100);
});

test.each<[string, Client]>([
  [
    'a client whose token grants all that a token can',
    client({ '*': ['subscribe', 'publish', 'history', 'presence'] }),
  ],
  ['a client that is not authenticated', { ...from, identity: undefined, isMember: () => false }],
])('%s gets a Refusal `forbidden` in a room of level `server`', async (_, caller) => {
  const question = { room: 'closed', ...ask };
  for (const asked of [
    publish(world.node, caller, await authorise(world.node, caller, 'publish', 'closed'), {
      ...{ room: 'closed', data: '1', key: undefined },
    }),
    history(world.node, caller, question, maxBytes),
    presence(world.node, caller, question),
  ]) {
    const refusal = await asked.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal).toMatchObject({ code: 'forbidden' });
  }
});

test('disconnect closes the connections of one user, or one connection, with 4503', async () => {
  const [first, second, other] = await threeOf('ann', 'ann', 'bob');
  const all = () => connectionsOf(first, second, other);
  expect(disconnect(all(), { connection: other.connection.id })).toBe(1);
  expect(other.socket.closedWith).toBe(4503);
  expect(disconnect(all(), { users: new Set(['ann']) })).toBe(2);
  expect([first.socket.closedWith, second.socket.closedWith]).toEqual([4503, 4503]);
  expect(disconnect(all(), { users: new Set(['nobody', '']) })).toBe(0);
});

describe('kick', () => {
  test('removes all connections of a user from a room, notifies each, and counts those that were members', async () => {
    const [member, idle, other] = await threeOf('ann', 'ann', 'bob');
    await subscribe(member, 'open');
    await subscribe(other, 'open');
    expect(kick(connectionsOf(member, idle, other), 'ann', 'open')).toBe(1);
    expect(member.socket.frames.at(-1)).toEqual({ type: 'unsubscribed', room: 'open', reason: 'kicked' });
    expect([member, other].map(({ connection }) => connection.isMember('open'))).toEqual([false, true]);
    expect(world.hub.memberCount).toBe(1);
    await subscribe(member, 'open');
    expect(member.connection.isMember('open')).toBe(true);
  });

  test('also removes a connection that is joining at that moment, after the answer to its subscribe', async () => {
    const member = await connected('ann');
    member.connection.receive(bytesOf({ type: 'subscribe', id: 1, room: 'open' }));
    expect(kick([member.connection], 'ann', 'open')).toBe(1);
    await until(() => framesOf(member, 'unsubscribed').length === 1, 2_000, 'it is removed');
    expect(member.socket.frames.slice(-2)).toEqual([
      { type: 'ok', id: 1, room: 'open' },
      { type: 'unsubscribed', room: 'open', reason: 'kicked' },
    ]);
    expect(world.hub.memberCount).toBe(0);
    expect([...member.socket.listensTo]).toEqual([]);
  });
});

describe('admit', () => {
  test('makes all connections of a user members, whatever the rule says, and tells each where the room is', async () => {
    const [one, two, other] = await threeOf('ann', 'ann', 'bob');
    await publishFromServer(world.node, { room: 'closed', data: '7', key: undefined, from: undefined });
    expect(await admit(connectionsOf(one, two, other), 'ann', 'closed')).toBe(2);
    for (const each of [one, two]) {
      expect(framesOf(each, 'subscribed')).toEqual([
        { type: 'subscribed', room: 'closed', epoch: expect.any(String), offset: 1 },
      ]);
    }
    await publishFromServer(world.node, { room: 'closed', data: '8', key: undefined, from: undefined });
    await until(() => framesOf(two, 'message').length === 1, 2_000, 'the message comes');
    expect(framesOf(two, 'message')).toMatchObject([{ offset: 2, data: 8 }]);
    expect(other.connection.isMember('closed')).toBe(false);
  });

  test('leaves a member as it is, without a frame; to a plain room there is no position', async () => {
    const member = await connected('ann');
    expect(await admit([member.connection], 'ann', 'open')).toBe(1);
    expect(await admit([member.connection], 'ann', 'open')).toBe(1);
    expect(framesOf(member, 'subscribed')).toEqual([{ type: 'subscribed', room: 'open' }]);
    expect(world.hub.memberCount).toBe(1);
  });

  test('gives a membership that a refresh without the right leaves alone, and that ends with an unsubscribe', async () => {
    const member = await connected('ann');
    await admit([member.connection], 'ann', 'closed');
    await say(member, { type: 'auth', id: 7, token: tokenOf({ user: 'ann', grants: [] }) });
    expect(member.connection.isMember('closed')).toBe(true);
    expect(await say(member, { type: 'subscribe', id: 8, room: 'closed' })).toMatchObject({ type: 'ok' });
    await say(member, { type: 'unsubscribe', id: 9, room: 'closed' });
    expect(await say(member, { type: 'subscribe', id: 10, room: 'closed' })).toMatchObject({ code: 'forbidden' });
  });

  test('of a connection that joins at that moment waits for the end of that, and keeps the room also without the right', async () => {
    const member = await connected('ann');
    member.connection.receive(bytesOf({ type: 'subscribe', id: 1, room: 'open' }));
    expect(await admit([member.connection], 'ann', 'open')).toBe(1);
    expect(framesOf(member, 'subscribed')).toEqual([]);
    expect(framesOf(member, 'ok').at(-1)).toEqual({ type: 'ok', id: 1, room: 'open' });
  });

  test('does not count a connection that ends meanwhile, or has as many rooms as it may', async () => {
    const [ending, full] = await threeOf('ann', 'ann', 'bob');
    for (let room = 0; room < world.node.config.maxRoomsPerConnection; room++) await subscribe(full, `open:${room}`);
    const admitted = admit(connectionsOf(ending, full), 'ann', 'open');
    ending.connection.close(4001);
    expect(await admitted).toBe(0);
    expect(world.hub.memberCount).toBe(world.node.config.maxRoomsPerConnection);
  });
});

describe('a blocked user', () => {
  test('is closed with 4503 at its first token, and at a refresh; nobody else is', async () => {
    const [ann, bob] = await threeOf('ann', 'bob', 'cid');
    world.blocks.add('ann');
    const late = world.connect();
    late.connection.receive(bytesOf({ type: 'auth', id: 0, token: tokenOf({ user: 'ann', grants: [] }) }));
    ann.connection.receive(bytesOf({ type: 'auth', id: 1, token: tokenOf({ user: 'ann', grants: [] }) }));
    await until(() => ann.socket.closedWith !== undefined && late.socket.closedWith !== undefined, 2_000, 'both end');
    expect([ann.socket.closedWith, late.socket.closedWith]).toEqual([4503, 4503]);
    expect(framesOf(late, 'welcome').map((frame) => 'user' in frame && frame.user)).toEqual([null]);
    expect(await say(bob, { type: 'auth', id: 2, token: tokenOf({ user: 'bob', grants: [] }) })).toMatchObject({
      type: 'ok',
    });
  });
});

type Connected = ReturnType<SocketlessNode['connect']>;

async function connected(user: string): Promise<Connected> {
  const made = world.connect();
  made.connection.receive(bytesOf({ type: 'auth', id: 0, token: tokenOf({ user, grants: [] }) }));
  await until(() => made.connection.identity?.user === user, 2_000, 'it is authenticated');
  return made;
}

async function threeOf(...users: [string, string, string]): Promise<[Connected, Connected, Connected]> {
  const [one, two, three] = users;
  return [await connected(one), await connected(two), await connected(three)];
}

/** Resolves with the answer. */
async function say({ connection, socket }: Connected, frame: { id: number; type: string; [field: string]: unknown }) {
  connection.receive(bytesOf(frame));
  const answer = () => socket.frames.find((each) => 'id' in each && each.id === frame.id && each.type !== 'message');
  return until(answer, 2_000, `an answer to ${frame.type}`);
}

let lastId = 100;
async function subscribe(made: Connected, room: string): Promise<void> {
  expect(await say(made, { type: 'subscribe', id: ++lastId, room })).toMatchObject({ type: 'ok' });
}

function framesOf({ socket }: Connected, type: GatewayFrame['type']): GatewayFrame[] {
  return socket.frames.filter((frame) => frame.type === type);
}

function connectionsOf(...all: Connected[]) {
  return all.map(({ connection }) => connection);
}
