/**
 * gateway/operations, called by the server and by clients, on a node in memory: plain values in, values or one typed
 * error out.
 */
import { beforeEach, expect, test } from 'vitest';
import { readGrants } from '../../gateway/auth/grants.ts';
import { type Caller, server } from '../../gateway/operations/caller.ts';
import { disconnect, revoke } from '../../gateway/operations/disconnect.ts';
import { history } from '../../gateway/operations/history.ts';
import { presence } from '../../gateway/operations/presence.ts';
import { publish } from '../../gateway/operations/publish.ts';
import { Refusal } from '../../gateway/operations/refusal.ts';
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';
import { bytesOf, SocketlessNode, tokenOf } from './socketless-node.ts';

const rules = [
  { match: 'closed', subscribe: 'server', publish: 'server', history: {}, presence: true },
  { match: 'open', subscribe: 'anyone', publish: 'anyone' },
];

let world: SocketlessNode;
beforeEach(async () => {
  world = await new SocketlessNode({ rules }).start();
  onCleanup(() => world.close());
});

const client = (grants: object, isMember = false): Caller => ({
  identity: { user: 'ann', grants: readGrants(grants) },
  isMember: () => isMember,
});
const ask = { after: undefined, before: undefined, epoch: undefined, limit: 10 };
const maxBytes = 100_000;

test('the server needs no right, but the rule of the room must offer what it asks for', async () => {
  const message = { room: 'closed', data: '7', key: 'once' };
  const first = await publish(world.node, server, message);
  expect(first).toMatchObject({ duplicate: false, position: { offset: 1 } });
  expect(await publish(world.node, server, message)).toEqual({ ...first, duplicate: true });
  await publish(world.node, server, { room: '@ann', data: '8', key: undefined });
  const page = await history(world.node, server, { room: 'closed', ...ask }, maxBytes);
  expect(page).toMatchObject({ offset: 1, first: 1, more: false });
  expect(page.messages.map((frame) => JSON.parse(`${frame}`))).toEqual([
    { type: 'message', room: 'closed', offset: 1, data: 7, at: expect.any(Number), key: 'once' },
  ]);
  expect(await presence(world.node, server, { room: 'closed', limit: 10, after: undefined })).toMatchObject({
    count: 0,
  });
  await expect(history(world.node, server, { room: 'open', ...ask }, maxBytes)).rejects.toMatchObject({
    code: 'forbidden',
  });
});

test.each<[string, Caller]>([
  [
    'a client whose token grants all that a token can',
    client({ '*': ['subscribe', 'publish', 'history', 'presence'] }),
  ],
  ['a client that is not authenticated', { identity: undefined, isMember: () => false }],
])('%s gets a Refusal `forbidden` in a room of level `server`', async (_, caller) => {
  const question = { room: 'closed', ...ask };
  for (const asked of [
    publish(world.node, caller, { room: 'closed', data: '1', key: undefined }),
    history(world.node, caller, question, maxBytes),
    presence(world.node, caller, question),
  ]) {
    const refusal = await asked.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal).toMatchObject({ code: 'forbidden' });
  }
});

test('disconnect closes the connections of one user, or one connection, with 4503', async () => {
  const [first, second, other] = await Promise.all(['ann', 'ann', 'bob'].map(connected));
  const all = () => [first, second, other].flatMap((each) => (each === undefined ? [] : [each.connection]));
  expect(disconnect(all(), { connection: other?.connection.id ?? '' })).toBe(1);
  expect(other?.socket.closedWith).toBe(4503);
  expect(disconnect(all(), { user: 'ann' })).toBe(2);
  expect([first?.socket.closedWith, second?.socket.closedWith]).toEqual([4503, 4503]);
  expect(disconnect(all(), { user: 'nobody' })).toBe(0);
});

test('revoke removes all connections of a user from a room, notifies each, and counts those that were members', async () => {
  const [member, idle, other] = await Promise.all(['ann', 'ann', 'bob'].map(connected));
  for (const each of [member, other]) {
    each?.connection.receive(bytesOf({ type: 'subscribe', id: 1, room: 'open' }));
    await until(() => each?.connection.isMember('open'), 2_000, 'it is a member');
    await until(() => each?.socket.frames.some(({ type }) => type === 'ok'), 2_000, 'it is live');
  }
  const all = [member, idle, other].flatMap((each) => (each === undefined ? [] : [each.connection]));
  expect(revoke(all, 'ann', 'open')).toBe(1);
  expect(member?.socket.frames.at(-1)).toEqual({ type: 'unsubscribed', room: 'open', reason: 'revoked' });
  expect([member, other].map((each) => each?.connection.isMember('open'))).toEqual([false, true]);
  expect(world.hub.memberCount).toBe(1);
});

async function connected(user: string) {
  const made = world.connect();
  made.connection.receive(bytesOf({ type: 'auth', id: 0, token: tokenOf({ user, grants: [] }) }));
  await until(() => made.connection.identity?.user === user, 2_000, 'it is authenticated');
  return made;
}
