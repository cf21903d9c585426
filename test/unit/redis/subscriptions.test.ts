/**
 * gateway/redis/subscriptions.ts with commands that a test answers, in its own time or never: batches and their order, what a
 * lost connection does to those who wait, and the notice of an interruption. Random interleavings:
 * test/unit/redis/subscriptions-random.test.ts.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { Subscriptions } from '../../../gateway/redis/subscriptions.ts';

interface Command {
  verb: 'subscribe' | 'unsubscribe';
  rooms: string[];
  answer(): void;
  fail(error: Error): void;
}

/** Commands are written once per turn of the event loop. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

let commands: Command[];
let restored: string[];
let failures: Error[];
let subscriptions: Subscriptions;

const roomsOf = (channels: string[]) => channels.map((channel) => channel.slice('rc:{'.length, -1));
const subscribe = (channels: string[]) =>
  new Promise<void>((resolve, reject) => {
    commands.push({ verb: 'subscribe', rooms: roomsOf(channels), answer: resolve, fail: reject });
  });
const unsubscribe = (channels: string[], done: () => void) => {
  commands.push({ verb: 'unsubscribe', rooms: roomsOf(channels), answer: done, fail: done });
};

beforeEach(() => {
  commands = [];
  restored = [];
  failures = [];
  subscriptions = new Subscriptions(
    (room) => `rc:{${room}}`,
    { subscribe, unsubscribe },
    (error) => failures.push(error),
  );
  subscriptions.onRestored = (room) => restored.push(room);
  subscriptions.restore();
});

const summary = () => commands.map(({ verb, rooms }) => `${verb} ${rooms.join(' ')}`);
const receive = (room: string) => subscriptions.receive(`rc:{${room}}`);

/** The commands that were written since the last time. */
async function written(): Promise<Command[]> {
  await turn();
  return commands.splice(0);
}

async function answerAll(): Promise<void> {
  for (const { answer } of await written()) answer();
  await turn();
}

async function live(...rooms: string[]): Promise<void> {
  const confirmed = rooms.map((room) => subscriptions.add(room));
  await answerAll();
  await Promise.all(confirmed);
}

const unavailable = expect.objectContaining({ code: 'unavailable' });
const outcome = (promise: Promise<void>) =>
  promise.then(
    () => 'confirmed',
    (error: unknown) => error,
  );

describe('commands', () => {
  test('of one turn go out together, in the order asked, at most 1,000 channels in each', async () => {
    const rooms = Array.from({ length: 2_500 }, (_, index) => `r${index}`);
    for (const room of rooms) void subscriptions.add(room);
    expect(commands).toEqual([]);
    const batches = await written();
    expect(batches.map(({ verb, rooms: { length } }) => `${verb} ${length}`)).toEqual([
      'subscribe 1000',
      'subscribe 1000',
      'subscribe 500',
    ]);
    expect(batches.flatMap(({ rooms: batch }) => batch)).toEqual(rooms);
  });

  test('to subscribe, leave and subscribe again keep their order', async () => {
    const first = outcome(subscriptions.add('a'));
    subscriptions.remove('a');
    const second = subscriptions.add('a');
    await turn();
    expect(summary()).toEqual(['subscribe a', 'unsubscribe a', 'subscribe a']);
    expect(await first).toEqual(unavailable);
    commands[0]?.answer();
    commands[1]?.answer();
    await turn();
    expect(await Promise.race([outcome(second), turn().then(() => 'waits')])).toBe('waits');
    commands[2]?.answer();
    await second;
  });

  test('for different rooms share batches only where no other verb stands between', async () => {
    await live('x', 'y');
    void subscriptions.add('a');
    void subscriptions.add('b');
    subscriptions.remove('x');
    subscriptions.remove('y');
    void subscriptions.add('c');
    await turn();
    expect(summary()).toEqual(['subscribe a b', 'unsubscribe x y', 'subscribe c']);
  });

  test('are written once for a room that many ask for, and all are confirmed by it', async () => {
    const asked = [subscriptions.add('a'), subscriptions.add('a')];
    await turn();
    asked.push(subscriptions.add('a'));
    expect(summary()).toEqual(['subscribe a']);
    await answerAll();
    await Promise.all(asked);
    await subscriptions.add('a');
    expect(await written()).toEqual([]);
  });

  test('that wait when the connection goes are not written', async () => {
    const asked = outcome(subscriptions.add('a'));
    subscriptions.lost();
    expect(await asked).toEqual(unavailable);
    expect(await written()).toEqual([]);
  });

  test('to leave a room that is not subscribed are not written', async () => {
    subscriptions.remove('never');
    await live('a');
    subscriptions.lost();
    subscriptions.remove('a');
    subscriptions.restore();
    expect(await written()).toEqual([]);
  });

  test('to leave that fail harm nothing', async () => {
    await live('a');
    subscriptions.remove('a');
    for (const { fail } of await written()) fail(new Error('no answer'));
    await turn();
    expect(failures).toEqual([]);
    expect(receive('a')).toBeUndefined();
  });
});

describe('while the connection is away', () => {
  test('a new room is refused as unavailable, and subscribed all the same when it is back', async () => {
    subscriptions.lost();
    await expect(subscriptions.add('a')).rejects.toBeInstanceOf(BackplaneError);
    await expect(subscriptions.add('a')).rejects.toEqual(unavailable);
    expect(await written()).toEqual([]);
    subscriptions.restore();
    await answerAll();
    await subscriptions.add('a');
    expect(receive('a')).toBe('a');
    expect(restored).toEqual([]);
  });

  test('a new room that was given up again is not subscribed', async () => {
    subscriptions.lost();
    await outcome(subscriptions.add('a'));
    subscriptions.remove('a');
    subscriptions.restore();
    expect(await written()).toEqual([]);
  });

  test('who waits for an answer is told at once, and the late answer says nothing any more', async () => {
    const first = outcome(subscriptions.add('a'));
    const [lateCommand] = await written();
    subscriptions.lost();
    expect(await first).toEqual(unavailable);
    subscriptions.restore();
    const second = subscriptions.add('a');
    const [command] = await written();
    lateCommand?.answer();
    expect(await Promise.race([outcome(second), turn().then(() => 'waits')])).toBe('waits');
    command?.answer();
    await second;
  });

  test('a late failure says nothing any more either', async () => {
    void outcome(subscriptions.add('a'));
    const [lateCommand] = await written();
    subscriptions.lost();
    subscriptions.restore();
    const second = subscriptions.add('a');
    const [command] = await written();
    lateCommand?.fail(new Error('connection is closed'));
    await turn();
    command?.answer();
    await second;
  });
});

describe('a room that was interrupted', () => {
  test('is told so exactly once, when it is subscribed again', async () => {
    await live('a', 'b');
    subscriptions.lost();
    subscriptions.restore();
    expect(restored).toEqual([]);
    await answerAll();
    expect(restored).toEqual(['a', 'b']);
    expect([receive('a'), receive('b')]).toEqual(['a', 'b']);
    expect(restored).toEqual(['a', 'b']);
  });

  test('is told so before its next message, also when that overtakes the answer', async () => {
    await live('a', 'b');
    subscriptions.lost();
    subscriptions.restore();
    const [command] = await written();
    expect(receive('b')).toBe('b');
    expect(restored).toEqual(['b']);
    command?.answer();
    await turn();
    expect(restored).toEqual(['b', 'a']);
  });

  test('is told so once after several interruptions in which no message came', async () => {
    await live('a');
    for (let round = 0; round < 3; round++) {
      subscriptions.lost();
      subscriptions.restore();
      await turn();
    }
    commands.at(-1)?.answer();
    await turn();
    expect(restored).toEqual(['a']);
  });

  test('is told so for each interruption with a message before it', async () => {
    await live('a');
    for (let round = 1; round <= 3; round++) {
      subscriptions.lost();
      subscriptions.restore();
      await answerAll();
      expect(receive('a')).toBe('a');
      expect(restored).toHaveLength(round);
    }
  });

  test('is told so anew when its connection is lost after a message came but before the answer', async () => {
    await live('a');
    subscriptions.lost();
    subscriptions.restore();
    const [command] = await written();
    expect(receive('a')).toBe('a');
    subscriptions.lost();
    command?.fail(new Error('connection is closed'));
    subscriptions.restore();
    await answerAll();
    expect(restored).toEqual(['a', 'a']);
  });

  test('is told so anew when a message comes late, after its SUBSCRIBE had already failed', async () => {
    await live('a');
    subscriptions.lost();
    subscriptions.restore();
    const [command] = await written();
    command?.fail(new Error('command timed out'));
    await turn();
    // Redis did take it, and a message arrives before the connection is made anew.
    const delivered = receive('a') !== undefined;
    const toldBefore = restored.length;
    subscriptions.lost();
    subscriptions.restore();
    await answerAll();
    expect(toldBefore).toBe(delivered ? 1 : 0);
    expect(restored).toHaveLength(toldBefore + 1);
  });

  test('is not told anything once it was left, also not when it is entered anew', async () => {
    await live('a');
    subscriptions.lost();
    subscriptions.remove('a');
    subscriptions.restore();
    await live('a');
    expect(receive('a')).toBe('a');
    expect(restored).toEqual([]);
  });

  test('asked for while it is being restored is confirmed with that', async () => {
    await live('a');
    subscriptions.lost();
    subscriptions.restore();
    const asked = subscriptions.add('a');
    await turn();
    expect(summary()).toEqual(['subscribe a']);
    await answerAll();
    await asked;
    expect(restored).toEqual(['a']);
  });
});

describe('a SUBSCRIBE that fails', () => {
  test('tells those who wait, and asks for a new connection once', async () => {
    const asked = [outcome(subscriptions.add('a')), outcome(subscriptions.add('b'))];
    const [command] = await written();
    const failure = new Error('command timed out');
    command?.fail(failure);
    expect(await Promise.all(asked)).toEqual([unavailable, unavailable]);
    expect(failures).toEqual([failure]);
  });

  test('is told as what it is if it was refused, and as unavailable if nobody knows', async () => {
    for (const [failure, told] of [
      [new BackplaneError('unavailable', 'its slot is at another server'), 'its slot is at another server'],
      [new BackplaneError('timeout', 'no answer'), 'Redis is away'],
    ] as const) {
      const asked = subscriptions.add('a');
      for (const { fail } of await written()) fail(failure);
      await expect(asked).rejects.toMatchObject({ code: 'unavailable', message: told });
    }
  });

  test('leaves its rooms to be subscribed with the new connection, or when asked for', async () => {
    void outcome(subscriptions.add('a'));
    void outcome(subscriptions.add('b'));
    for (const { fail } of await written()) fail(new Error('command timed out'));
    await turn();
    const asked = subscriptions.add('a');
    await turn();
    expect(summary()).toEqual(['subscribe a']);
    await answerAll();
    await asked;
    subscriptions.lost();
    subscriptions.restore();
    await turn();
    expect(summary()).toEqual(['subscribe a b']);
  });
});

test('messages that another server passes on tell a gap: one for all of a turn, and one with that of an interruption', async () => {
  const passOn = (room: string) => subscriptions.passedOn(`rc:{${room}}`);
  for (const room of ['a', 'b']) subscriptions.add(room).catch(() => undefined);
  await answerAll();
  expect([passOn('a'), passOn('a'), receive('a'), passOn('a'), passOn('nobody’s')]).toEqual([
    'a',
    'a',
    'a',
    'a',
    undefined,
  ]);
  expect(restored).toEqual(['a']);
  await turn();
  passOn('a');
  expect(restored).toEqual(['a', 'a']);
  subscriptions.lost();
  subscriptions.restore();
  passOn('b');
  passOn('b');
  expect(restored).toEqual(['a', 'a', 'b']);
  await answerAll();
  expect(restored).toEqual(['a', 'a', 'b', 'a']);
});

test('a message of a room that was left is nobody’s, and one of a room entered anew is', async () => {
  await live('a');
  subscriptions.remove('a');
  expect(receive('a')).toBeUndefined();
  expect(receive('never')).toBeUndefined();
  void subscriptions.add('a');
  expect(receive('a')).toBe('a');
});

test('after the end everything is forgotten, and everyone who waits is told', async () => {
  await live('a');
  const asked = outcome(subscriptions.add('b'));
  subscriptions.close();
  expect(await asked).toEqual(unavailable);
  expect(receive('a')).toBeUndefined();
  await expect(subscriptions.add('c')).rejects.toEqual(unavailable);
  expect(await written()).toEqual([]);
});

describe('in parts', () => {
  const rooms = Array.from({ length: 5_000 }, (_, index) => `r${index}`);

  beforeEach(async () => {
    subscriptions = new Subscriptions(
      (room) => `rc:{${room}}`,
      { inParts: true, subscribe, unsubscribe },
      (error) => failures.push(error),
    );
    subscriptions.onRestored = (room) => restored.push(room);
    subscriptions.restore();
    for (const room of rooms) subscriptions.add(room).catch(() => undefined);
    await answerAll();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    subscriptions.lost();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test('rooms come back in their order, a 250th every 10 ms; those that are asked for, at once', async () => {
    subscriptions.restore();
    await answerAll();
    expect(restored).toEqual(rooms.slice(0, 20));
    subscriptions.add('r4000');
    subscriptions.remove('r30');
    await answerAll();
    expect(restored.slice(20)).toEqual(['r4000']);
    vi.advanceTimersByTime(10);
    await answerAll();
    expect(restored.slice(21)).toEqual(rooms.slice(20, 40).filter((room) => room !== 'r30'));
    for (let part = 2; part < 250; part++) {
      vi.advanceTimersByTime(10);
      await turn();
    }
    await answerAll();
    expect(new Set(restored)).toEqual(new Set(rooms.filter((room) => room !== 'r30')));
    expect(restored.length).toBe(rooms.length - 1);
    // Others in this process may have timers, too. One that is left here would be cleared.
    const all = vi.getTimerCount();
    subscriptions.lost();
    expect(vi.getTimerCount()).toBe(all);
  });

  test('of a few, ten come back at a time; a connection that is lost meanwhile begins anew', async () => {
    for (const room of rooms.slice(15)) subscriptions.remove(room);
    subscriptions.restore();
    await answerAll();
    expect(restored).toEqual(rooms.slice(0, 10));
    const all = vi.getTimerCount();
    subscriptions.lost();
    expect(vi.getTimerCount()).toBe(all - 1);
    subscriptions.restore();
    vi.advanceTimersByTime(10);
    await answerAll();
    expect(restored.slice(10)).toEqual(rooms.slice(0, 15));
  });
});

describe('a channel that Redis takes away', () => {
  test('is lost, and is told when it is subscribed again', async () => {
    await live('a');
    expect(subscriptions.revoked('rc:{a}')).toBe('a');
    expect(subscriptions.isLost('a')).toBe(true);
    const confirmed = subscriptions.add('a');
    await answerAll();
    await confirmed;
    expect(restored).toEqual(['a']);
  });

  test('is not lost if this node has left it, and has come back meanwhile', async () => {
    await live('a');
    subscriptions.remove('a');
    const confirmed = subscriptions.add('a');
    const [leaving, coming] = await written();
    // Messages from before it left, then the answer to leaving, which is such a notice.
    receive('a');
    expect(subscriptions.revoked('rc:{a}')).toBeUndefined();
    leaving?.answer();
    coming?.answer();
    await confirmed;
    expect([subscriptions.isLost('a'), restored]).toEqual([false, []]);
  });

  test('is lost if this node left it and came back, and the answers and the notice come in one read', async () => {
    await live('a');
    subscriptions.remove('a');
    const confirmed = subscriptions.add('a');
    const [leaving, coming] = await written();
    // No promise goes on in between.
    leaving?.answer();
    coming?.answer();
    expect(subscriptions.revoked('rc:{a}')).toBe('a');
    await expect(confirmed).rejects.toEqual(unavailable);
    expect(subscriptions.isLost('a')).toBe(true);
  });

  test('is lost also in the turn in which its subscription was answered', async () => {
    const confirmed = subscriptions.add('a');
    const [coming] = await written();
    coming?.answer();
    expect(subscriptions.revoked('rc:{a}')).toBe('a');
    await expect(confirmed).rejects.toBeInstanceOf(BackplaneError);
    await turn();
    expect(subscriptions.isLost('a')).toBe(true);
  });

  test('taken over from another server, it tells of its gap only if it was live there', async () => {
    const taken = [subscriptions.take('a', true), subscriptions.take('b', false)];
    await answerAll();
    await Promise.all(taken);
    expect(restored).toEqual(['a']);
  });
});
