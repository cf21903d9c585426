/** What a room tells: each message once and in order, and every place where some are missing. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Gap, Message, Room } from '../../../shared/client/client.ts';
import { useFakeClock } from '../fake-clock.ts';
import { FakeGateway, type FakeSocket } from './fake-gateway.ts';

useFakeClock();
let random: { mockRestore(): void };
beforeEach(() => {
  random = vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => random.mockRestore());

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A client that is welcomed, and what its room tells, in order. */
async function joined(ok: object, since?: { epoch: string; offset: number }) {
  const gateway = new FakeGateway();
  await passes(0);
  gateway.last.welcome();
  const room = gateway.client.room('room', { since });
  const told = listen(room);
  const joining = room.subscribe();
  gateway.last.answer('subscribe', ok);
  await joining;
  return { gateway, room, told, first: gateway.last };
}

function listen(room: Room): unknown[] {
  const told: unknown[] = [];
  room.on('message', ({ data }: Message) => told.push(data));
  room.on('gap', (gap: Gap) => told.push(gap));
  return told;
}

/** The connection is lost, and the next one is welcomed. */
async function reconnected(gateway: FakeGateway): Promise<FakeSocket> {
  gateway.last.end(1006);
  await passes(0);
  return gateway.last.welcome();
}

/** The node asks to move, and the next connection is welcomed. */
async function moving(gateway: FakeGateway): Promise<FakeSocket> {
  gateway.last.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
  await passes(0);
  return gateway.last.welcome();
}

const kept = (offset: number, more: object = {}) => ({
  type: 'message',
  room: 'room',
  offset,
  data: offset,
  at: 1,
  ...more,
});
const plain = (id: string, more: object = {}) => ({ type: 'message', room: 'room', id, data: id, at: 1, ...more });
const since = (socket: FakeSocket) => socket.sentOf('subscribe').map((frame) => [frame.room, frame.since]);

test('after a reconnect every room is resumed from its position, and what was told before is dropped', async () => {
  const { gateway, room, told, first } = await joined({ epoch: 'e', offset: 4 });
  first.tell(kept(5));
  expect(room.position).toEqual({ epoch: 'e', offset: 5 });
  const next = await reconnected(gateway);
  expect(room.state).toBe('joining');
  expect(since(next)).toEqual([['room', { epoch: 'e', offset: 5 }]]);
  next.answer('subscribe', { epoch: 'e', offset: 5, recovered: true });
  next.tell(kept(5));
  next.tell(kept(6));
  expect(told).toEqual([5, 6]);
  expect(room.state).toBe('joined');
});

test('a message from before the new connection is marked as recovered, a later one is not', async () => {
  const { gateway, room } = await joined({ epoch: 'e', offset: 0 });
  const marks: boolean[] = [];
  room.on('message', ({ recovered }) => marks.push(recovered));
  const next = await reconnected(gateway);
  next.answer('subscribe', { epoch: 'e', offset: 0, recovered: true });
  next.tell(kept(1, { at: 999_000 }));
  next.tell(kept(2, { at: 1_000_001 }));
  expect(marks).toEqual([true, false]);
});

test('a saved position, given back, resumes after a reload of the page', async () => {
  const { told, first } = await joined({ epoch: 'e', offset: 7, recovered: true }, { epoch: 'e', offset: 7 });
  expect(since(first)).toEqual([['room', { epoch: 'e', offset: 7 }]]);
  first.tell(kept(8));
  expect(told).toEqual([8]);
});

describe('a place where messages are missing is one gap with a reason', () => {
  test('a resume that is refused', async () => {
    const { gateway, told, room } = await joined({ epoch: 'e', offset: 4 });
    const next = await reconnected(gateway);
    next.answer('subscribe', { epoch: 'e', offset: 90, recovered: false });
    next.tell(kept(91));
    expect(told).toEqual([{ reason: 'unrecovered' }, 91]);
    expect(room.position).toEqual({ epoch: 'e', offset: 91 });
  });

  test('a resume that is refused, although nothing was missed, is none', async () => {
    const { gateway, told } = await joined({ epoch: 'e', offset: 4 });
    const next = await reconnected(gateway);
    next.answer('subscribe', { epoch: 'e', offset: 4, recovered: false });
    expect(told).toEqual([]);
  });

  test('an epoch that is another one', async () => {
    const { gateway, told } = await joined({ epoch: 'e', offset: 4 });
    const next = await reconnected(gateway);
    next.answer('subscribe', { epoch: 'f', offset: 4, recovered: false });
    next.tell(kept(5));
    expect(told).toEqual([{ reason: 'unrecovered' }, 5]);
  });

  test('a plain room whose connection was lost', async () => {
    const { gateway, told } = await joined({});
    const next = await reconnected(gateway);
    next.answer('subscribe');
    next.tell(plain('a'));
    expect(told).toEqual([{ reason: 'reconnect' }, 'a']);
  });

  test('what the gateway says, in its place; and a new epoch begins at its position', async () => {
    const { told, first, room } = await joined({ epoch: 'e', offset: 4 });
    first.tell(kept(5));
    first.tell({ type: 'gap', room: 'room', reason: 'trimmed', first: 6, last: 8, count: 3, epoch: 'e', offset: 8 });
    first.tell(kept(9));
    first.tell({ type: 'gap', room: 'room', reason: 'epoch', epoch: 'f', offset: 0 });
    first.tell(kept(1));
    first.tell({ type: 'gap', room: 'room', reason: 'slow', count: 0 });
    expect(told).toEqual([
      ...[5, { reason: 'trimmed', first: 6, last: 8, count: 3 }, 9],
      ...[{ reason: 'epoch' }, 1, { reason: 'slow', count: 0 }],
    ]);
    expect(room.position).toEqual({ epoch: 'f', offset: 1 });
  });

  test('a gap that lies before the position is known already', async () => {
    const { told, first } = await joined({ epoch: 'e', offset: 4 });
    first.tell({ type: 'gap', room: 'room', reason: 'trimmed', first: 1, last: 4, count: 4, epoch: 'e', offset: 4 });
    first.tell(kept(5));
    expect(told).toEqual([5]);
  });

  test('a room that is another kind now: it joins again by itself', async () => {
    const { told, first, room } = await joined({ epoch: 'e', offset: 4 });
    first.tell({ type: 'unsubscribed', room: 'room', reason: 'changed' });
    expect(room.state).toBe('joining');
    first.answer('subscribe', { recovered: false });
    first.tell(plain('a'));
    expect(told).toEqual([{ reason: 'unrecovered' }, 'a']);
    expect(room.position).toBeUndefined();
  });
});

test('200 rooms are resumed with at most 32 subscribes unanswered; a refusal that passes stops all for its time', async () => {
  const gateway = new FakeGateway();
  await passes(0);
  const names = Array.from({ length: 200 }, (_, index) => `room${index}`);
  const joining = names.map((name) => gateway.client.room(name).subscribe());
  const socket = gateway.last.welcome();
  const asked = () => socket.sentOf('subscribe');
  expect(asked()).toHaveLength(32);
  socket.refuse('subscribe', 'rate_limited', { retryAfterMs: 3_000 });
  socket.answer('subscribe', {}, 'room0');
  await passes(2_999);
  expect(asked()).toHaveLength(32);
  await passes(1);
  expect(asked()).toHaveLength(34);
  let answered = 32;
  socket.answer('subscribe', {}, 'room31');
  for (const name of names.slice(1, 31)) socket.answer('subscribe', {}, name);
  for (; answered < asked().length; answered++) socket.answer('subscribe', {}, String(asked()[answered]?.room));
  await Promise.all(joining);
  expect(new Set(asked().map(({ room }) => room)).size).toBe(200);
});

describe('make before break', () => {
  test('a room with history: the old connection is closed behind the ok of the new one, and nothing is doubled', async () => {
    const { gateway, told, first } = await joined({ epoch: 'e', offset: 0 });
    first.tell(kept(1));
    const next = await moving(gateway);
    expect(gateway.client.state).toBe('open');
    first.tell(kept(2));
    expect(since(next)).toEqual([['room', { epoch: 'e', offset: 1 }]]);
    expect(first.closedWith).toBeUndefined();
    next.answer('subscribe', { epoch: 'e', offset: 1, recovered: true });
    expect(first.closedWith).toBe(1000);
    for (const offset of [2, 3]) next.tell(kept(offset));
    expect(told).toEqual([1, 2, 3]);
  });

  test('a plain room: both are heard until both have told the same message', async () => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    first.tell(plain('a'));
    next.answer('subscribe');
    next.tell(plain('b'));
    expect(first.closedWith).toBeUndefined();
    first.tell(plain('b'));
    expect(first.closedWith).toBe(1000);
    next.tell(plain('c'));
    expect(told).toEqual(['a', 'b', 'c']);
  });

  test('a plain room: its order is kept where the new node is ahead of the old one', async () => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    next.answer('subscribe');
    for (const id of ['b', 'c']) next.tell(plain(id));
    for (const id of ['a', 'b']) first.tell(plain(id));
    next.tell(plain('d'));
    expect(told).toEqual(['a', 'b', 'c', 'd']);
    expect(first.closedWith).toBe(1000);
  });

  test.each<[string, (old: FakeSocket) => unknown]>([
    ['ends', (old) => old.end(1006)],
    ['stays behind for a second', () => passes(1_000)],
  ])('a plain room: an old connection that %s may have had more to tell, so a gap says so', async (_, happens) => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    next.answer('subscribe');
    next.tell(plain('b'));
    await happens(first);
    next.tell(plain('c'));
    expect(told).toEqual([{ reason: 'reconnect' }, 'b', 'c']);
  });

  test('a plain room: an old connection that ends before a second is over says so too, where nothing was told', async () => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    next.answer('subscribe');
    await passes(900);
    first.end(4001);
    next.tell(plain('a'));
    expect(told).toEqual([{ reason: 'reconnect' }, 'a']);
  });

  test('a plain room without messages: a second after the last ok', async () => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    next.answer('subscribe');
    first.tell(plain('a'));
    await passes(999);
    expect(first.closedWith).toBeUndefined();
    await passes(1);
    expect(first.closedWith).toBe(1000);
    expect(told).toEqual(['a']);
  });

  test('a plain room: a message from before the move does not show how far the old connection is', async () => {
    const { gateway, told, first } = await joined({});
    first.tell(plain('a'));
    const behind = await reconnected(gateway);
    behind.answer('subscribe');
    const next = await moving(gateway);
    next.answer('subscribe');
    behind.tell(plain('a'));
    expect(behind.closedWith).toBeUndefined();
    behind.tell(plain('b'));
    next.tell(plain('c'));
    behind.tell(plain('c'));
    expect(behind.closedWith).toBe(1000);
    expect(told).toEqual(['a', { reason: 'reconnect' }, 'b', 'c']);
  });

  test('an answer of the old connection that comes behind that of the new one does not lead back', async () => {
    const { gateway, first } = await joined({ epoch: 'e', offset: 0 });
    const other = gateway.client.room('other');
    const told = listen(other);
    const joining = other.subscribe();
    const next = await moving(gateway);
    next.answer('subscribe', { epoch: 'e', offset: 0 }, 'other');
    first.answer('subscribe', { epoch: 'e', offset: 0 }, 'other');
    first.end(4001);
    await joining;
    expect(other.state).toBe('joined');
    next.tell({ ...kept(1), room: 'other' });
    expect(told).toEqual([1]);
  });

  test('a membership by the backend that the old connection tells last does not lead back', async () => {
    const { gateway, told, first } = await joined({ epoch: 'e', offset: 0 });
    const next = await moving(gateway);
    const subscribed = { type: 'subscribed', room: 'room', epoch: 'e', offset: 0 };
    next.tell(subscribed);
    first.tell(subscribed);
    first.end(4001);
    next.tell(kept(1));
    expect(told).toEqual([1]);
  });

  test('a membership that only the old connection tells is asked for on the new one', async () => {
    const { gateway, first } = await joined({ epoch: 'e', offset: 0 });
    const next = await moving(gateway);
    first.tell({ type: 'subscribed', room: 'chosen', epoch: 'e', offset: 0 });
    next.answer('subscribe', { epoch: 'e', offset: 0, recovered: true }, 'chosen');
    first.end(4001);
    expect(gateway.client.room('chosen').state).toBe('joined');
  });

  test('a node that asks twice is left once', async () => {
    const { gateway, first } = await joined({});
    await moving(gateway);
    first.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    expect(gateway.sockets).toHaveLength(2);
  });

  test('a membership that ends on the old node counts no more there', async () => {
    const { gateway, told, first } = await joined({});
    const next = await moving(gateway);
    next.answer('subscribe');
    first.tell({ type: 'unsubscribed', room: 'room', reason: 'kicked' });
    first.tell(plain('a'));
    next.tell(plain('b'));
    // Both had not met, so the old one may have had more to tell.
    expect(told).toEqual([{ reason: 'reconnect' }, 'b']);
  });

  test('an end for good of one connection is the end of both', async () => {
    const { gateway, first } = await joined({});
    const next = await moving(gateway);
    first.end(4503);
    expect([gateway.client.state, next.closedWith]).toEqual(['closed', 1000]);
  });

  test('a new connection that fails leaves the old one in place, and is tried again', async () => {
    const { gateway, told, first } = await joined({ epoch: 'e', offset: 0 });
    first.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    gateway.last.end(1006);
    first.tell(kept(1));
    expect(gateway.client.state).toBe('open');
    await passes(0);
    expect(gateway.sockets).toHaveLength(3);
    gateway.last.welcome().answer('subscribe', { epoch: 'e', offset: 1, recovered: true });
    expect(first.closedWith).toBe(1000);
    expect(told).toEqual([1]);
  });

  test('an old connection that ends too early: a gap in a plain room, a resume in one with history', async () => {
    const { gateway, told, first } = await joined({});
    first.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    first.end(4001);
    gateway.last.welcome().answer('subscribe');
    expect(told).toEqual([{ reason: 'reconnect' }]);
    expect(gateway.sockets).toHaveLength(2);
  });

  test('4506 on the old one is this client replacing itself, where a user may have one connection', async () => {
    const { gateway, first } = await joined({});
    first.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    first.end(4506);
    expect(gateway.client.state).toBe('connecting');
    gateway.last.welcome();
    expect(gateway.client.state).toBe('open');
  });

  test('a client that is back from a loss since a moment moves as soon as its node asks', async () => {
    const { gateway } = await joined({});
    const back = await reconnected(gateway);
    back.answer('subscribe');
    random = vi.spyOn(Math, 'random').mockReturnValue(0.999);
    back.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    expect(gateway.sockets).toHaveLength(3);
  });

  test('nodes that stop one after the other slow the client down instead of making it spin', async () => {
    random = vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const { gateway } = await joined({ epoch: 'e', offset: 0 });
    for (let moves = 0; moves < 10; moves++) {
      gateway.last.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
      await passes(0);
      if (gateway.client.state === 'open') gateway.last.welcome();
    }
    expect(gateway.sockets.length).toBeLessThan(6);
  });

  test('a client that came back after many attempts still moves in a second, before its connection is closed', async () => {
    const { gateway } = await joined({ epoch: 'e', offset: 0 });
    for (let attempts = 0; attempts < 8; attempts++) await reconnected(gateway);
    random.mockRestore();
    random = vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const { length } = gateway.sockets;
    gateway.last.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(1_000);
    expect(gateway.sockets).toHaveLength(length + 1);
  });
});

test('a room that the gateway refuses rejects, and one that is taken away says why', async () => {
  const { gateway, room, first } = await joined({});
  const other = gateway.client.room('other').subscribe();
  first.refuse('subscribe', 'forbidden');
  await expect(other).rejects.toMatchObject({ code: 'forbidden' });
  const states: unknown[] = [];
  room.on('state', ({ state, error }) => states.push([state, error?.code]));
  first.tell({ type: 'unsubscribed', room: 'room', reason: 'kicked' });
  expect(states).toEqual([['idle', 'forbidden']]);
  const next = await reconnected(gateway);
  expect(next.sentOf('subscribe')).toEqual([]);
});

describe('a room that the backend has made this client a member of', () => {
  const subscribed = (offset: number) => ({ type: 'subscribed', room: 'news', epoch: 'n', offset });

  async function member() {
    const { gateway, first } = await joined({ epoch: 'e', offset: 0 });
    const rooms: Room[] = [];
    gateway.client.on('subscribed', (room) => rooms.push(room));
    first.tell(subscribed(3));
    const [room] = rooms as [Room];
    const [told, states] = [listen(room), [] as unknown[]];
    room.on('state', ({ state, error }) => states.push([state, error?.code]));
    first.tell({ type: 'message', room: 'news', offset: 4, data: 'four', at: 1 });
    return { gateway, rooms, room, told, states };
  }

  test('is told once, and resumed after a reconnect, where this user may subscribe', async () => {
    const { gateway, rooms, told, states } = await member();
    const next = await reconnected(gateway);
    expect(since(next)).toContainEqual(['news', { epoch: 'n', offset: 4 }]);
    next.answer('subscribe', { epoch: 'n', offset: 4, recovered: true }, 'news');
    next.tell({ type: 'message', room: 'news', offset: 5, data: 'five', at: 1 });
    expect(told).toEqual(['four', 'five']);
    expect(states).toEqual([
      ['joining', undefined],
      ['joined', undefined],
    ]);
    expect(rooms).toHaveLength(1);
  });

  test('is lost where this user may not, with a reason, until the backend does it again', async () => {
    const { gateway, rooms, room, told, states } = await member();
    const next = await reconnected(gateway);
    next.answer('subscribe', { type: 'error', code: 'forbidden', message: 'no' }, 'news');
    expect(states.at(-1)).toEqual(['idle', 'forbidden']);
    next.tell(subscribed(9));
    expect(rooms).toEqual([room, room]);
    expect(told).toEqual(['four', { reason: 'unrecovered' }]);
  });

  test('does not hold up a move to another node, and is left by unsubscribe', async () => {
    const { gateway, room } = await member();
    const [first] = gateway.sockets;
    const next = await moving(gateway);
    next.answer('subscribe', { type: 'error', code: 'forbidden', message: 'no' }, 'news');
    next.answer('subscribe', { epoch: 'e', offset: 0, recovered: true }, 'room');
    expect(first?.closedWith).toBe(1000);
    next.tell(subscribed(4));
    void room.unsubscribe();
    expect(since(await reconnected(gateway)).map(([name]) => name)).toEqual(['room']);
  });
});

test('a plain room that was taken away and is entered again says that it has a gap; one that was left does not', async () => {
  const { room, told, first } = await joined({});
  first.tell({ type: 'unsubscribed', room: 'room', reason: 'kicked' });
  const again = room.subscribe();
  first.answer('subscribe');
  await again;
  expect(told).toEqual([{ reason: 'reconnect' }]);
  void room.unsubscribe();
  first.answer('unsubscribe');
  const third = room.subscribe();
  first.answer('subscribe');
  await third;
  expect(told).toHaveLength(1);
});

test('unsubscribe: no frame of the room counts from then on, and it is not joined again', async () => {
  const { gateway, room, told, first } = await joined({});
  const leaving = room.unsubscribe();
  first.tell(plain('late'));
  first.answer('unsubscribe');
  await leaving;
  expect(told).toEqual([]);
  expect(since(await reconnected(gateway))).toEqual([]);
  expect(gateway.client.room('room')).not.toBe(room);
});

test('a room that is left while it is being joined stays left, and one that is entered again waits for its own ok', async () => {
  const { gateway, first } = await joined({});
  const other = gateway.client.room('other');
  const told = listen(other);
  const gone = expect(other.subscribe()).rejects.toMatchObject({ code: 'closed' });
  void other.unsubscribe();
  await gone;
  const again = other.subscribe();
  const [one, two] = first.sentOf('subscribe').slice(1);
  first.tell({ type: 'ok', id: one?.id, room: 'other', epoch: 'e', offset: 1 });
  expect(other.state).toBe('joining');
  // It is of the first membership: what lies between the two is not known.
  first.tell({ type: 'message', room: 'other', offset: 2, data: 'early', at: 1 });
  first.answer('unsubscribe');
  first.tell({ type: 'ok', id: two?.id, room: 'other', epoch: 'e', offset: 4 });
  await again;
  first.tell({ type: 'message', room: 'other', offset: 5, data: 'five', at: 1 });
  expect(told).toEqual(['five']);
});

test('an old Room that is left once more, or whose leaving is asked again, leaves the new one of its name alone', async () => {
  const { gateway, room, first } = await joined({});
  void room.unsubscribe();
  first.refuse('unsubscribe', 'rate_limited', { retryAfterMs: 2_000 });
  const next = gateway.client.room('room');
  const told = listen(next);
  void next.subscribe();
  first.answer('subscribe');
  await room.unsubscribe();
  await passes(2_000);
  expect(first.sentOf('unsubscribe')).toHaveLength(1);
  first.tell(plain('a'));
  expect(told).toEqual(['a']);
});

test('a room that cannot be is left after one answer: asking again would end the client', async () => {
  const { room, first } = await joined({});
  const leaving = room.unsubscribe();
  first.refuse('unsubscribe', 'bad_request');
  await leaving;
  await passes(60_000);
  expect(first.sentOf('unsubscribe')).toHaveLength(1);
});

test('a listener that is added while an event is told hears the next one first', async () => {
  const { room, first } = await joined({});
  const heard: unknown[] = [];
  const next = () => {
    const stop = room.on('message', ({ data }) => {
      heard.push(data);
      stop();
      next();
    });
  };
  next();
  first.tell(plain('a'));
  first.tell(plain('b'));
  expect(heard).toEqual(['a', 'b']);
});

test('unsubscribe is asked again where the gateway refuses it for now', async () => {
  const { room, first } = await joined({});
  const leaving = room.unsubscribe();
  first.refuse('unsubscribe', 'rate_limited', { retryAfterMs: 2_000 });
  await passes(2_000);
  expect(first.sentOf('unsubscribe')).toHaveLength(2);
  first.answer('unsubscribe');
  await leaving;
});

test('of a plain room the last 1,000 messages are remembered', async () => {
  const { told, first } = await joined({});
  for (let number = 0; number <= 1_000; number++) first.tell(plain(`${number}`));
  for (const id of ['0', '2']) first.tell(plain(id));
  expect(told).toHaveLength(1_002);
  expect(told.at(-1)).toBe('0');
});

test('a node that is behind tells nothing twice, also after a loss', async () => {
  const { gateway, told, first } = await joined({});
  first.tell(plain('a'));
  const next = await reconnected(gateway);
  next.answer('subscribe');
  next.tell(plain('a'));
  next.tell(plain('b'));
  expect(told).toEqual(['a', { reason: 'reconnect' }, 'b']);
});

test('join and leave come from one connection at a time', async () => {
  const { gateway, room, first } = await joined({});
  const users: unknown[] = [];
  room.on('join', (members) => users.push(...members));
  const next = await moving(gateway);
  next.answer('subscribe');
  for (const socket of [first, next]) socket.tell({ type: 'join', room: 'room', members: [{ user: 'bob' }] });
  expect(users).toEqual([{ user: 'bob' }]);
});

test('a listener that throws disturbs neither the other listeners nor the client', async () => {
  const thrown: unknown[] = [];
  const queue = vi.spyOn(globalThis, 'queueMicrotask').mockImplementation((callback) => {
    try {
      callback();
    } catch (error) {
      thrown.push(error);
    }
  });
  const { room, first, told } = await joined({});
  room.on('message', () => {
    throw new Error('of the application');
  });
  room.on('message', ({ data }) => told.push(`again ${data}`));
  first.tell(plain('a'));
  queue.mockRestore();
  expect(told).toEqual(['a', 'again a']);
  expect(thrown).toMatchObject([{ message: 'of the application' }]);
});

describe('for await', () => {
  test('subscribes by itself, and gets every message from the first one on', async () => {
    const gateway = new FakeGateway();
    await passes(0);
    const reader = gateway.client.room('room')[Symbol.asyncIterator]();
    gateway.last.welcome().answer('subscribe');
    for (const id of ['a', 'b']) gateway.last.tell(plain(id));
    expect(await reader.next()).toMatchObject({ value: { data: 'a' } });
    expect(await reader.next()).toMatchObject({ value: { data: 'b' } });
    const waiting = reader.next();
    gateway.last.tell(plain('c'));
    expect(await waiting).toMatchObject({ value: { data: 'c' } });
    await reader.return?.();
    expect(await reader.next()).toMatchObject({ done: true });
  });

  test('a loop that falls behind the bound ends with an error, behind what it has; listeners go on', async () => {
    const gateway = new FakeGateway({ maxBehind: 2 });
    await passes(0);
    const room = gateway.client.room('room');
    const told = listen(room);
    const reader = room[Symbol.asyncIterator]();
    gateway.last.welcome().answer('subscribe');
    for (const id of ['a', 'b', 'c', 'd']) gateway.last.tell(plain(id));
    expect(await reader.next()).toMatchObject({ value: { data: 'a' } });
    expect(await reader.next()).toMatchObject({ value: { data: 'b' } });
    await expect(reader.next()).rejects.toMatchObject({ code: 'limit_exceeded' });
    expect(await reader.next()).toMatchObject({ done: true });
    expect(told).toEqual(['a', 'b', 'c', 'd']);
  });

  test('ends with the membership: by an error if it was taken away, without one after unsubscribe', async () => {
    const { gateway, room, first } = await joined({});
    const [one, other] = [room[Symbol.asyncIterator](), gateway.client.room('refused')[Symbol.asyncIterator]()];
    const [ended, refused] = [one.next(), other.next()];
    first.refuse('subscribe', 'forbidden');
    await expect(refused).rejects.toMatchObject({ code: 'forbidden' });
    void room.unsubscribe();
    expect(await ended).toMatchObject({ done: true });
  });
});
