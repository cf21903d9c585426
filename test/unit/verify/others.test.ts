/**
 * With a Redis Cluster the judge of `npm run verify` also finds what rooms notice that a fault does not concern, and it excuses a
 * failover only where it was.
 */
import { expect, test } from 'vitest';
import { check } from '../../verify/checker.ts';
import type { Entry } from '../../verify/log.ts';

const plan: Entry = {
  ...{ t: 0, event: 'run', seed: 1, minutes: 0, schedule: [] },
  rooms: ['h:away', 'h:there'].map((name) => ({ name, history: true })),
};
const ann = { client: 'ann', conn: 1 };
const fault: Entry = { t: 1, event: 'fault', kind: 'primary killed', node: 0, room: '' };
const concerns: Entry = { t: 2, event: 'concerns', rooms: ['h:away'] };
const healed: Entry = { t: 90, event: 'healed', kind: 'primary killed', node: 0, room: '' };
const held = (room: string, offset = 0, epoch = 'e'): Entry => ({
  ...{ t: 99, event: 'history', room, epoch, first: 1, offset },
  items: Array.from({ length: offset }, (_, index) => ({ id: `${room} ${index + 1}`, offset: index + 1 })),
});

function refused(room: string, t: number, code = 'unavailable'): Entry[] {
  const id = `${room} ${t}`;
  return [
    { ...ann, t, event: 'publish', room, id },
    { ...ann, t: t + 1, event: 'nack', room, id, code },
  ];
}

const kinds = (...log: Entry[]) => check([plan, ...log]).map(({ kind }) => kind);
const end = [held('h:away'), held('h:there')];

test('a publish that is refused where the shard is away is no violation; elsewhere it is, also after the fault', () => {
  expect(kinds(fault, concerns, ...refused('h:away', 5), healed, ...end)).toEqual([]);
  expect(kinds(fault, concerns, ...refused('h:there', 5), healed, ...end)).toEqual(['NOTICED']);
  expect(kinds(fault, concerns, healed, ...refused('h:there', 91), ...end)).toEqual(['NOTICED']);
  expect(kinds(fault, concerns, ...refused('h:there', 5, 'rate_limited'), healed, ...end)).toEqual([]);
  // The fault before concerned it; the one before that is over.
  const next: Entry = { t: 91, event: 'concerns', rooms: [] };
  expect(kinds(fault, concerns, healed, next, ...refused('h:away', 92), ...end)).toEqual([]);
  expect(kinds(fault, concerns, healed, next, next, ...refused('h:away', 92), ...end)).toEqual(['NOTICED']);
  // One Redis has all rooms.
  expect(kinds(fault, ...refused('h:there', 5), healed, ...end)).toEqual([]);
});

test('a gap elsewhere is a violation, unless no message is missing or the reader was slow', () => {
  const joined: Entry = { ...ann, t: 0.5, event: 'subscribe', room: 'h:there', epoch: 'e', offset: 0 };
  const gap = (reason: string, count?: number): Entry => {
    return { ...ann, t: 5, event: 'gap', room: 'h:there', reason, ...(count === undefined ? {} : { count }) };
  };
  expect(kinds(joined, fault, concerns, gap('backplane'), healed, ...end)).toContain('NOTICED');
  expect(kinds(joined, fault, concerns, gap('backplane', 0), healed, ...end)).toEqual([]);
  expect(kinds(joined, fault, concerns, gap('slow'), healed, ...end)).not.toContain('NOTICED');
});

test('what a lossy takeover may have lost is excused in its rooms, and in no other', () => {
  const takeover = (rooms: string[]): Entry => ({ t: 20, event: 'takeover', from: 10, rooms, lossy: true });
  const acknowledged: Entry[] = [
    { ...ann, t: 5, event: 'publish', room: 'h:away', id: 'h:away 1' },
    { ...ann, t: 6, event: 'ack', room: 'h:away', id: 'h:away 1', epoch: 'e', offset: 1 },
  ];
  const emptied = [held('h:away', 0, 'e2'), held('h:there')];
  expect(kinds(...acknowledged, takeover(['h:away']), ...emptied)).toEqual([]);
  expect(kinds(...acknowledged, takeover(['h:there']), ...emptied)).toEqual(['HISTORY']);
  // Sent after it, in the old epoch: nothing may be missing.
  const late = acknowledged.map((entry) => ({ ...entry, t: entry.t + 20 }));
  expect(kinds(takeover(['h:away']), ...late, ...emptied)).toEqual(['HISTORY']);
});

test('a message that comes twice in a plain room is excused only by a master that stood still', () => {
  const rooms = [{ name: 'p:0', history: false }];
  const twice = (how: { late?: true }): Entry[] => [
    { ...plan, rooms } as Entry,
    { ...ann, t: 1, event: 'subscribe', room: 'p:0' },
    { ...ann, t: 5, event: 'publish', room: 'p:0', id: 'm' },
    { ...ann, t: 7, event: 'unknown', room: 'p:0', id: 'm', code: 'timeout' },
    { ...ann, t: 12, event: 'publish', room: 'p:0', id: 'm' },
    { ...ann, t: 13, event: 'deliver', room: 'p:0', id: 'm', wire: '1' },
    { ...ann, t: 14, event: 'ack', room: 'p:0', id: 'm' },
    { ...ann, t: 15, event: 'deliver', room: 'p:0', id: 'm', wire: '2' },
    { t: 20, event: 'takeover', from: 4, rooms: ['p:0'], ...how },
  ];
  expect(check(twice({ late: true })).map(({ kind }) => kind)).toEqual([]);
  expect(check(twice({})).map(({ kind }) => kind)).toEqual(['DOUBLE']);
});

test('a retry is a new message where a replica took over that was behind, but not what was acknowledged before', () => {
  const rooms = [{ name: 'h:away', history: true }];
  const again = (ackedAt: number, how: { behind?: true }): Entry[] => [
    { ...plan, rooms } as Entry,
    { ...ann, t: 1, event: 'subscribe', room: 'h:away', epoch: 'e', offset: 0 },
    { ...ann, t: 2, event: 'publish', room: 'h:away', id: 'h:away 1' },
    { ...ann, t: 3, event: 'deliver', room: 'h:away', id: 'h:away 1', offset: 1 },
    ...(ackedAt < 10
      ? [{ ...ann, t: ackedAt, event: 'ack' as const, room: 'h:away', id: 'h:away 1', epoch: 'e', offset: 1 }]
      : []),
    { ...ann, t: 15, event: 'publish', room: 'h:away', id: 'h:away 1' },
    { t: 20, event: 'takeover', from: 10, rooms: ['h:away'], ...how },
    { ...ann, t: 21, event: 'ack', room: 'h:away', id: 'h:away 1', epoch: 'e2', offset: 2 },
    { ...held('h:away', 1, 'e2'), offset: 2, first: 2, items: [{ id: 'h:away 1', offset: 2 }] } as Entry,
  ];
  const found = (log: Entry[]) => check(log).map(({ kind }) => kind);
  expect(found(again(21, { behind: true }))).not.toContain('DOUBLE');
  expect(found(again(21, {}))).toContain('DOUBLE');
  expect(found(again(5, { behind: true }))).toContain('DOUBLE');
});
