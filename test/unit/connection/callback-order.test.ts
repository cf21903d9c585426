/** A question to the operator's backend, and what the server does to the same connection and room meanwhile. */
import { beforeEach, expect, test, vi } from 'vitest';
import type { Callback, Verdict } from '../../../gateway/auth/callback/callback.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { bytesOf, type FakeSocket, SocketlessNode, tokenOf } from '../socketless-node.ts';

let world: SocketlessNode;
let answers: ((verdict: Verdict) => void)[];

beforeEach(async () => {
  world = await start();
});

async function start(settings: Record<string, string> = {}): Promise<SocketlessNode> {
  answers = [];
  const ask = () => new Promise<Verdict>((resolve) => answers.push(resolve));
  const node = await new SocketlessNode({
    rules: [{ match: '*', subscribe: 'callback', publish: 'callback' }],
    callback: { ask, close: () => undefined } as unknown as Callback,
    settings,
  }).start();
  onCleanup(() => node.close());
  return node;
}

const allowed: Verdict = { until: Number.POSITIVE_INFINITY, info: undefined };

/** The answer is the first thing that the process sees after it stood still for 6 s. */
async function answerAfterFreeze(): Promise<void> {
  const realNow = performance.now.bind(performance);
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => realNow() + 6_000);
  answers[0]?.(allowed);
  // What follows from it takes no turn of the event loop: no timer has run.
  for (let microtasks = 0; microtasks < 50; microtasks++) await Promise.resolve();
  clock.mockRestore();
}

async function enter() {
  const entered = world.connect();
  entered.connection.receive(bytesOf({ type: 'auth', token: tokenOf({ user: 'ann', grants: [] }) }));
  await until(() => entered.socket.frames.filter(({ type }) => type === 'welcome').length === 2, 2_000, 'a welcome');
  return entered;
}

const answerTo = (socket: FakeSocket, id: number) =>
  until(() => socket.frames.find((frame) => 'id' in frame && frame.id === id), 2_000, `the answer ${id}`);

test('a member that the server made meanwhile stays one though the backend denies it, and its requests wait for the join', async () => {
  const { connection, socket } = await enter();
  connection.receive(bytesOf({ type: 'subscribe', id: 1, room: 'r' }));
  connection.receive(bytesOf({ type: 'presence', id: 2, room: 'r' }));
  const admitted = connection.memberships.admit('r');
  answers[0]?.('denied');
  expect(await admitted).toBe(true);
  expect(await answerTo(socket, 1)).toMatchObject({ type: 'ok', room: 'r' });
  await answerTo(socket, 2);
  const types = socket.frames.map(({ type }) => type);
  expect(types.indexOf('subscribed')).toBeLessThan(types.lastIndexOf('ok'));
  expect([types.includes('unsubscribed'), connection.isMember('r'), answers.length]).toEqual([false, true, 1]);
});

test('requests behind a question wait for one after the other, and none is left when the connection ends', async () => {
  const { connection, socket } = await enter();
  for (let id = 1; id <= 3; id++) connection.receive(bytesOf({ type: 'publish', id, room: 'r', data: id }));
  expect([answers.length, connection.inbox.publishing.count]).toEqual([1, 1]);
  answers[0]?.({ until: Number.POSITIVE_INFINITY, info: undefined });
  expect(await answerTo(socket, 1)).toMatchObject({ type: 'ok' });
  answers[1]?.('denied');
  expect(await answerTo(socket, 2)).toMatchObject({ type: 'error', code: 'forbidden' });
  expect(answers).toHaveLength(3);
  connection.close(4503);
  answers[2]?.({ until: Number.POSITIVE_INFINITY, info: undefined });
  await until(() => connection.inbox.publishing.count === 0, 2_000, 'the last one is done with');
  expect(socket.frames.some((frame) => 'id' in frame && frame.id === 3)).toBe(false);
});

test('what waited for an answer is not obeyed if the process stood still meanwhile, and the connection is closed', async () => {
  const { connection, socket } = await enter();
  const publish = vi.spyOn(world.hub, 'publish');
  connection.receive(bytesOf({ type: 'publish', id: 1, room: 'r', data: 1 }));
  await answerAfterFreeze();
  expect([publish.mock.calls.length, socket.closedWith]).toEqual([0, 4005]);
});

test('nor is what waited for the answer about the connection itself', async () => {
  world = await start({ AUTH_CONNECT: 'true', AUTH_URL: 'http://127.0.0.1:1/may' });
  const { connection, socket } = world.connect();
  connection.receive(bytesOf({ type: 'subscribe', id: 1, room: 'r' }));
  await until(() => answers.length === 1, 2_000, 'the backend is asked');
  await answerAfterFreeze();
  expect([answers.length, connection.isMember('r'), socket.closedWith]).toEqual([1, false, 4005]);
});
