/** Publishes and questions: acknowledged, tried again with the same key, or refused with a reason. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { useFakeClock } from '../fake-clock.ts';
import { FakeGateway } from './fake-gateway.ts';

useFakeClock();
beforeEach(() => void vi.spyOn(Math, 'random').mockReturnValue(0));
afterEach(() => void vi.mocked(Math.random).mockRestore());

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function opened(options = {}) {
  const gateway = new FakeGateway(options);
  await passes(0);
  gateway.last.welcome();
  return { gateway, room: gateway.client.room('room'), socket: gateway.last };
}

const published = (gateway: FakeGateway) => gateway.sockets.flatMap((socket) => socket.sentOf('publish'));

describe('publish', () => {
  test('resolves with the position once it is acknowledged', async () => {
    const { room, socket } = await opened();
    const publishing = room.publish({ text: 'hello' }, { key: 'k' });
    expect(socket.sentOf('publish')).toMatchObject([{ room: 'room', data: { text: 'hello' }, key: 'k' }]);
    socket.answer('publish', { epoch: 'e', offset: 3, duplicate: true });
    expect(await publishing).toEqual({ epoch: 'e', offset: 3, duplicate: true });
  });

  test('sends what the data was when it was called', async () => {
    const gateway = new FakeGateway();
    const data = { text: 'before' };
    const publishing = gateway.client.room('room').publish(data);
    data.text = 'after';
    await passes(0);
    gateway.last.welcome().answer('publish');
    await publishing;
    expect(published(gateway)).toMatchObject([{ data: { text: 'before' } }]);
  });

  test('is sent again with the same key, and in the same order, over every loss of the connection', async () => {
    const { gateway, room, socket } = await opened();
    const publishing = [room.publish(1), room.publish(2)];
    socket.end(1006);
    await passes(0);
    gateway.last.welcome().end(1006);
    await passes(0);
    const last = gateway.last.welcome();
    const sent = published(gateway);
    expect(sent.map(({ data }) => data)).toEqual([1, 2, 1, 2, 1, 2]);
    expect(new Set(sent.map(({ key }) => key)).size).toBe(2);
    expect(String(sent[0]?.key)).toMatch(/^\d{1,20}-\d{1,20}$/);
    for (const { id } of last.sentOf('publish')) last.tell({ type: 'ok', id });
    await Promise.all(publishing);
  });

  test.each(['unavailable', 'timeout', 'internal', 'rate_limited'])(
    'is tried again after %s, not before the time that the gateway names',
    async (code) => {
      const { gateway, room, socket } = await opened();
      const publishing = room.publish('x');
      socket.refuse('publish', code, { retryAfterMs: 2_000 });
      await passes(1_999);
      expect(published(gateway)).toHaveLength(1);
      await passes(1);
      expect(published(gateway)).toHaveLength(2);
      socket.answer('publish');
      await publishing;
      expect(new Set(published(gateway).map(({ key }) => key)).size).toBe(1);
    },
  );

  test.each(['forbidden', 'bad_request', 'too_large', 'unauthorized', 'limit_exceeded'])(
    'rejects after %s',
    async (code) => {
      const { room, socket } = await opened();
      const publishing = room.publish('x');
      socket.refuse('publish', code);
      await expect(publishing).rejects.toMatchObject({ name: 'RoomcastError', code, message: code });
    },
  );

  test('rejects within the dedupe time: `timeout` if it may have been taken, `unavailable` if it was certainly not', async () => {
    const { gateway, room, socket } = await opened();
    const sent = room.publish('x');
    socket.end(1006);
    const unsent = room.publish('y');
    const outcomes = Promise.allSettled([sent, unsent]);
    await passes(100_000);
    expect(await outcomes).toMatchObject([{ reason: { code: 'timeout' } }, { reason: { code: 'unavailable' } }]);
    const count = published(gateway).length;
    gateway.last.welcome();
    expect(published(gateway)).toHaveLength(count);
  });

  test('without an answer until the end, and refused behind an attempt that may have been taken: both are `timeout`', async () => {
    const { gateway, room, socket } = await opened();
    const refused = room.publish('refused');
    socket.end(1006);
    await passes(0);
    gateway.last.welcome().refuse('publish', 'forbidden');
    await expect(refused).rejects.toMatchObject({ code: 'timeout' });
    const unanswered = expect(room.publish('unanswered')).rejects.toMatchObject({ code: 'timeout' });
    await passes(100_000);
    await unanswered;
  });

  test('that may have been taken says so, whatever is answered later', async () => {
    const { room, socket } = await opened();
    const outcome = expect(room.publish('x')).rejects.toMatchObject({ code: 'timeout' });
    socket.refuse('publish', 'timeout');
    await passes(1);
    for (let tries = 0; tries < 5; tries++) {
      socket.refuse('publish', 'unavailable', { retryAfterMs: 20_000 });
      await passes(20_000);
    }
    await outcome;
  });

  test('that a node has not answered when it stops goes to the next one', async () => {
    const { gateway, room, socket } = await opened();
    const joining = room.subscribe();
    socket.answer('subscribe');
    await joining;
    const publishing = room.publish('x');
    socket.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    const next = gateway.last.welcome();
    next.answer('subscribe');
    expect(next.sentOf('publish')).toEqual([]);
    // The overlap of a plain room.
    await passes(1_000);
    expect(socket.closedWith).toBe(1000);
    expect(next.sentOf('publish')).toMatchObject([{ data: 'x', key: socket.sentOf('publish')[0]?.key }]);
    next.answer('publish');
    await publishing;
  });

  test('is not sent again when the gateway may have forgotten its key, unless it was certainly not taken', async () => {
    const { gateway, room, socket } = await opened();
    const [unknown, refused] = [room.publish('unknown'), room.publish('refused')];
    socket.answer('publish', { type: 'error', code: 'unavailable', retryAfterMs: 9_000 });
    const outcome = expect(unknown).rejects.toMatchObject({ code: 'timeout' });
    await passes(8_001);
    socket.end(1006);
    await passes(0);
    gateway.last.welcome({ dedupeMs: 10_000 });
    await outcome;
    await passes(1_000);
    expect(gateway.last.sentOf('publish').map(({ data }) => data)).toEqual(['refused']);
    gateway.last.answer('publish');
    await refused;
  });

  test('rejects what is larger than the gateway takes, and does not send it', async () => {
    const { room, socket } = await opened();
    await expect(room.publish('é'.repeat(32_768))).rejects.toMatchObject({ code: 'too_large' });
    expect(socket.sentOf('publish')).toEqual([]);
    await expect(room.publish(undefined)).rejects.toThrow(TypeError);
  });

  test('the queue is bounded, in number and in characters, and at most 64 are unanswered', async () => {
    const gateway = new FakeGateway({ maxRequests: 100 });
    const room = gateway.client.room('room');
    const publishing = Array.from({ length: 100 }, (_, index) => room.publish(index));
    await expect(room.publish('one more')).rejects.toMatchObject({ code: 'limit_exceeded' });
    await passes(0);
    const socket = gateway.last.welcome();
    expect(socket.sentOf('publish')).toHaveLength(64);
    for (let answered = 0; answered < 100; answered++) {
      socket.tell({ type: 'ok', id: socket.sentOf('publish')[answered]?.id });
    }
    await Promise.all(publishing);
    expect(socket.sentOf('publish').map(({ data }) => data)).toEqual(publishing.map((_, index) => index));
    // What is over makes room: these are refused one by one, and none for the queue.
    for (let megabytes = 0; megabytes < 10; megabytes++) {
      await expect(room.publish('x'.repeat(1_000_000))).rejects.toMatchObject({ code: 'too_large' });
    }
    const large = new FakeGateway();
    const megabytes = Array.from({ length: 9 }, () => large.client.room('room').publish('x'.repeat(1_000_000)));
    await expect(megabytes[8]).rejects.toMatchObject({ code: 'limit_exceeded' });
    const rest = Promise.allSettled(megabytes);
    await large.client.close();
    await rest;
  });

  test('with echo: false this client is not told of its own message; everybody else’s come', async () => {
    const { room, socket } = await opened();
    const told: unknown[] = [];
    room.on('message', ({ data }) => told.push(data));
    const joining = room.subscribe();
    socket.answer('subscribe', { epoch: 'e', offset: 0 });
    await joining;
    const publishing = room.publish('mine', { key: 'k', echo: false });
    const message = (offset: number, data: string, from?: string) =>
      socket.tell({ type: 'message', room: 'room', offset, data, from, key: 'k', at: 1 });
    message(1, 'of another user with the same key', 'bob');
    message(2, 'mine', 'alice');
    message(3, 'again, later', 'alice');
    socket.answer('publish', { epoch: 'e', offset: 2 });
    await publishing;
    expect(told).toEqual(['of another user with the same key', 'again, later']);
    expect(room.position).toEqual({ epoch: 'e', offset: 3 });
  });
});

test('of the messages that are to be hidden the last 1,000 are remembered', async () => {
  const { room, socket } = await opened();
  const told: unknown[] = [];
  room.on('message', ({ data }) => told.push(data));
  const joining = room.subscribe();
  socket.answer('subscribe');
  await joining;
  for (let number = 0; number < 1_001; number++) {
    const publishing = room.publish(number, { key: `k${number}`, echo: false });
    socket.answer('publish');
    await publishing;
  }
  for (const number of [0, 1]) {
    socket.tell({
      type: 'message',
      room: 'room',
      id: `i${number}`,
      data: number,
      from: 'alice',
      key: `k${number}`,
      at: 1,
    });
  }
  expect(told).toEqual([0]);
});

test('close leaves no timer of a request that waits to be sent again', async () => {
  const { gateway, room, socket } = await opened();
  const publishing = room.publish('x');
  socket.refuse('publish', 'rate_limited', { retryAfterMs: 20_000 });
  const closing = gateway.client.close();
  await expect(publishing).rejects.toMatchObject({ code: 'closed' });
  socket.end(1000);
  await closing;
  expect(vi.getTimerCount()).toBe(0);
});

describe('history and presence', () => {
  test('resolve with what the gateway answers', async () => {
    const { room, socket } = await opened();
    const [history, presence] = [room.history({ limit: 2, after: 4 }), room.presence({ limit: 1 })];
    expect(socket.sentOf('history')).toMatchObject([{ room: 'room', limit: 2, after: 4 }]);
    socket.answer('history', { epoch: 'e', offset: 5, first: 1, messages: [] });
    socket.answer('presence', { count: 2, users: 1, members: [], more: true });
    expect(await history).toEqual({ epoch: 'e', offset: 5, first: 1, messages: [] });
    expect(await presence).toEqual({ count: 2, users: 1, members: [], more: true });
  });

  test('wait until the room is joined on this connection, because members may ask', async () => {
    const { gateway, room, socket } = await opened();
    const joining = room.subscribe();
    const presence = room.presence();
    expect(socket.sentOf('presence')).toEqual([]);
    socket.end(1006);
    await passes(0);
    gateway.last.welcome().answer('subscribe');
    await joining;
    gateway.last.answer('presence', { count: 1, users: 1, members: [] });
    expect(await presence).toMatchObject({ count: 1 });
  });

  test('reject after 30 s', async () => {
    const { room } = await opened();
    const outcome = Promise.allSettled([room.history()]);
    await passes(30_000);
    expect(await outcome).toMatchObject([{ reason: { code: 'timeout' } }]);
  });
});
