/**
 * gateway/rooms/presence.ts on the memory store: which members get which `join` and `leave` frames, and how the store
 * stays correct in the long run. Members are fakes without connections; the clock is simulated.
 */
import { expect, test, vi } from 'vitest';
import type { Identity } from '../../../gateway/auth/grants.ts';
import { MemoryPresence } from '../../../gateway/backplane/memory/presence.ts';
import type { Dialect } from '../../../gateway/protocol/dialect.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { Access, readRules } from '../../../gateway/rooms/access.ts';
import { Backpressure } from '../../../gateway/rooms/backpressure.ts';
import { Fanout, presenceTopic } from '../../../gateway/rooms/fanout.ts';
import { awayMs, Presence, type PresenceConnection } from '../../../gateway/rooms/presence.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import type { JoinLeaveFrame } from '../../../shared/protocol.ts';
import { useFakeClock } from '../fake-clock.ts';

const read = readRules({
  rooms: [{ match: 'a', presence: true, joinLeave: true }, { match: 'count', presence: true }, { match: 'plain' }],
});
const access = new Access('rules' in read ? read.rules : []);
const events = tellEvents();

useFakeClock();

/** The native dialect with one more field, for listeners that are not WebSockets. */
const other: Dialect = {
  ...roomcast,
  subprotocol: 'other',
  encode: (reply) => JSON.stringify({ ...JSON.parse(String(roomcast.encode(reply))), odd: true }),
  joinOfOthers: (frame) => (index) =>
    JSON.stringify({ ...JSON.parse(String(roomcast.joinOfOthers(frame)(index))), odd: true }),
};

/** A node. `listening`: the connections in the fan-out of the room's topic. `heard`: the frames each of them got. */
async function startNode() {
  const store = new MemoryPresence({ announces: (room) => access.rule(room).joinLeave });
  const listening = new Set<string>();
  const heard = new Map<string, string[]>();
  const give = (id: string, frame: string) => heard.set(id, [...(heard.get(id) ?? []), frame]);
  const backpressure = new Backpressure(0, 0, 0, new Set());
  const fanout = new Fanout((topic, frame) => {
    expect(topic).toBe(presenceTopic('a'));
    for (const id of listening) give(id, String(frame));
  }, backpressure);
  const faults = new Faults(createLog('silent'));
  const presence = new Presence({ store, access, backpressure, fanout, events, faults });
  await store.start(presence);
  const member = (id: string, user: string | null = id, dialect = roomcast): PresenceConnection => ({
    id,
    identity: { user, grants: [] } satisfies Identity,
    send: (frame) => void give(id, String(frame)),
    sendUnchecked: (frame) => void give(id, String(frame)),
    reply: () => expect.fail('presence only sends frames'),
    closing: false,
    dialect,
    topics:
      dialect === other
        ? undefined
        : {
            subscribe: () => void listening.add(id),
            unsubscribe: () => void listening.delete(id),
            isSubscribed: () => listening.has(id),
          },
  });
  const enter = (room: string, id: string, user: string | null = id, dialect = roomcast) => {
    const entering = member(id, user, dialect);
    if (room === 'a') fanout.listen(presenceTopic('a'), entering);
    presence.enter(room, entering);
  };
  const told = (id: string) =>
    (heard.get(id) ?? []).map((text) => {
      const { type, members, odd } = JSON.parse(text) as JoinLeaveFrame & { odd?: true };
      return `${odd ? 'odd ' : ''}${type} ${members.map((member) => ('user' in member ? member.user : member.connection)).join(' ')}`;
    });
  const present = async (room: string) => {
    const page = presence.page(room, { after: undefined, limit: 100 });
    await vi.advanceTimersByTimeAsync(300);
    return (await page).members.map(({ connection }) => connection);
  };
  const returning = (id: string, user: string | null) => member(id, user, { ...roomcast, brief: true });
  return { store, presence, listening, enter, returning, told, present };
}

const settle = () => vi.advanceTimersByTimeAsync(300);

test('users who join in one frame get each other but never themselves, in every tab and dialect', async () => {
  const { enter, listening, told } = await startNode();
  enter('a', 'old');
  enter('a', 'odd', 'old', other);
  await settle();
  for (const [id, user] of [
    ['1', 'ann'],
    ['2', 'bob'],
    ['3', null],
  ] as const)
    enter('a', id, user);
  for (const [id, user] of [
    ['4', 'ann'],
    ['5', 'cid'],
  ] as const)
    enter('a', id, user, other);
  await settle();
  expect(told('old')).toEqual(['join ann bob 3 cid']);
  expect(told('odd')).toEqual(['odd join ann bob 3 cid']);
  expect(['1', '2', '3', '4', '5'].map(told)).toEqual([
    ['join bob 3 cid'],
    ['join ann 3 cid'],
    ['join ann bob cid'],
    ['odd join bob 3 cid'],
    ['odd join ann bob 3'],
  ]);
  expect(listening.size).toBe(4);
});

test('a detached member gets nothing, and stays out of the fan-out', async () => {
  const { enter, listening, told, presence } = await startNode();
  enter('a', 'ann');
  enter('a', 'bob');
  listening.delete('bob');
  await settle();
  presence.leave('a', 'ann');
  await settle();
  expect(told('bob')).toEqual([]);
  expect([...listening]).toEqual(['ann']);
  expect(presence.changesSeen('a')).toBe(2);
});

test('a room without joinLeave sends no join frames, and a plain room is not in the store', async () => {
  const { enter, present, told } = await startNode();
  enter('count', 'ann');
  enter('plain', 'ann');
  expect(await present('count')).toEqual(['ann']);
  expect(await present('plain')).toEqual([]);
  expect(told('ann')).toEqual([]);
});

test('a failed write that takes effect much later is corrected within two minutes', async () => {
  const { enter, present, store } = await startNode();
  enter('count', 'ann');
  enter('a', 'bob');
  const ghost = { connection: 'ghost', user: 'ghost', info: undefined };
  await store.change('count', [ghost], []);
  await store.change('a', [ghost], [{ connection: 'bob', user: 'bob', info: undefined }]);
  await vi.advanceTimersByTimeAsync(122_000);
  expect(await present('count')).toEqual(['ann']);
  expect(await present('a')).toEqual(['bob']);
});

test('when the users of a room were counted again, this node enters its own members again at once', async () => {
  const { enter, present, presence, store } = await startNode();
  for (const room of ['a', 'count']) {
    enter(room, 'ann');
    await vi.advanceTimersByTimeAsync(1_000);
    await store.change(room, [], [{ connection: 'ann', user: 'ann', info: undefined }]);
    presence.recounted(room);
    await vi.advanceTimersByTimeAsync(100);
    expect(await present(room)).toEqual(['ann']);
  }
  presence.recounted('nobody');
});

test('a room that became empty and is entered again gets no write of its predecessor', async () => {
  const { enter, present, presence } = await startNode();
  enter('count', 'ann');
  enter('a', 'bob');
  await vi.advanceTimersByTimeAsync(1_100);
  presence.leave('a', 'bob');
  await vi.advanceTimersByTimeAsync(300);
  enter('a', 'cid');
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await present('a')).toEqual(['cid']);
});

test('pages of more than 100,000 members in flight are unavailable, and later ones are not', async () => {
  const { presence } = await startNode();
  const ask = () =>
    presence.page('count', { after: undefined, limit: 1000 }).then(
      () => 'answered',
      (error: { code: string }) => error.code,
    );
  const answers = await Promise.all(Array.from({ length: 101 }, ask));
  expect(answers.filter((answer) => answer === 'unavailable')).toHaveLength(1);
  expect(answers.at(-1)).toBe('unavailable');
  expect(await ask()).toBe('answered');
});

test('in a drain a connection that ended stays present for a second, and `close` waits for its removal', async () => {
  const { enter, present, presence, store } = await startNode();
  enter('count', 'ann');
  enter('a', 'ann');
  enter('a', 'bob');
  await settle();
  presence.disconnected('count', 'ann');
  expect(await present('count')).toEqual([]);
  presence.drain();
  for (const id of ['ann', 'bob']) presence.disconnected('a', id);
  await vi.advanceTimersByTimeAsync(600);
  expect(await present('a')).toEqual(['ann', 'bob']);
  const written = vi.spyOn(store, 'change');
  const closed = presence.close();
  await vi.advanceTimersByTimeAsync(600);
  await closed;
  const left = ['ann', 'bob'].map((connection) => expect.objectContaining({ connection }));
  expect(written).toHaveBeenCalledExactlyOnceWith('a', [], left);
});

test('a user of brief connections stays between two of them, leaves when none came for 10 s, and is nobody without a name', async () => {
  const { enter, present, presence, returning, told } = await startNode();
  enter('a', 'watcher');
  await settle();
  for (const id of ['one', 'two', 'three']) {
    const connection = returning(id, 'ann');
    presence.enter('a', connection);
    await settle();
    expect(await present('a')).toEqual([id, 'watcher'].sort());
    presence.away('a', connection);
    await vi.advanceTimersByTimeAsync(awayMs - 1_000);
  }
  expect(told('watcher')).toEqual(['join ann']);
  expect(await present('a')).toEqual(['three', 'watcher']);
  await vi.advanceTimersByTimeAsync(1_500);
  expect(told('watcher')).toEqual(['join ann', 'leave ann']);
  const nobody = returning('four', null);
  presence.enter('a', nobody);
  presence.away('a', nobody);
  await settle();
  expect(await present('a')).toEqual(['watcher']);
  expect(told('watcher')).toEqual(['join ann', 'leave ann']);
  await presence.close();
});

test('`close` removes users who are between two brief connections', async () => {
  const { presence, returning, store } = await startNode();
  const connection = returning('one', 'ann');
  presence.enter('a', connection);
  presence.away('a', connection);
  await settle();
  const written = vi.spyOn(store, 'change');
  const closed = presence.close();
  await vi.advanceTimersByTimeAsync(600);
  await closed;
  expect(written).toHaveBeenCalledExactlyOnceWith('a', [], [expect.objectContaining({ connection: 'one' })]);
});

test('`close` writes all changes, and nothing is written afterwards', async () => {
  const { enter, presence, store } = await startNode();
  enter('a', 'ann');
  await settle();
  presence.leave('a', 'ann');
  const written = vi.spyOn(store, 'change');
  const closed = presence.close();
  await settle();
  await closed;
  expect(written).toHaveBeenCalledTimes(1);
  enter('a', 'bob');
  await vi.advanceTimersByTimeAsync(120_000);
  expect(written).toHaveBeenCalledTimes(1);
});
