/**
 * The judge of `npm run verify` is judged first: it finds nothing in runs in which nothing was broken, and it finds every
 * kind of damage that is done to their logs.
 */
import { describe, expect, test } from 'vitest';
import { check } from '../../verify/checker.ts';
import type { Entry, EntryOf } from '../../verify/log.ts';
import type { ViolationKind } from '../../verify/publications.ts';
import { Random } from '../random.ts';
import { validLog } from './verify-history.ts';

const logs = Array.from({ length: 80 }, (_, index) => ({ seed: index + 1, log: validLog(index + 1) }));
const plainRooms = new Set(['p:0', 'p:1']);

interface Damaged {
  log: Entry[];
  /** One of these must be found. */
  kinds: ViolationKind[];
}

/** Undefined where the log has no place for this damage. */
type Damage = (log: Entry[], random: Random) => Damaged | undefined;

const isFrame = (entry: Entry) => /^(subscribe|resume|unsubscribe|deliver|gap)$/.test(entry.event);

/** The nearest line of the same stream. */
const following = (log: Entry[], at: number) => beside(log, at, 1);
const preceding = (log: Entry[], at: number) => beside(log, at, -1);

function beside(log: Entry[], at: number, step: 1 | -1): { entry: Entry; at: number } | undefined {
  const { conn, room } = log[at] as EntryOf<'deliver'>;
  for (let index = at + step; index >= 0 && index < log.length; index += step) {
    const entry = log[index] as EntryOf<'deliver'>;
    if (isFrame(entry) && entry.conn === conn && entry.room === room) return { entry, at: index };
  }
  return undefined;
}

function places<Event extends Entry['event']>(
  log: Entry[],
  event: Event,
  fits: (entry: EntryOf<Event>, at: number) => boolean,
): number[] {
  return log.flatMap((entry, at) => (entry.event === event && fits(entry as EntryOf<Event>, at) ? [at] : []));
}

function damageOne<Event extends Entry['event']>(
  event: Event,
  fits: (entry: EntryOf<Event>, at: number, log: Entry[]) => boolean,
  change: (entry: EntryOf<Event>, log: Entry[], at: number) => Entry[],
  kinds: ViolationKind[],
): Damage {
  return (log, random) => {
    const found = places(log, event, (entry, at) => fits(entry, at, log));
    if (found.length === 0) return undefined;
    const at = random.pick(found);
    const changed = change(log[at] as EntryOf<Event>, log, at);
    return { log: log.toSpliced(at, 1, ...changed), kinds };
  };
}

const isPlain = (entry: { room: string }) => plainRooms.has(entry.room);
const isOrdered = (entry: { room: string }) => !isPlain(entry);
/** One of the last twelve messages of the run, which all clients see in one stretch. */
const isLast = (entry: { t: number }, log: Entry[]) =>
  entry.t > (log.filter((line) => line.event === 'publish').at(-12)?.t ?? 0);
/** With a message before and behind it in its stream, so that others saw the same three. */
const inTheMiddle = (entry: EntryOf<'deliver'>, at: number, log: Entry[]) =>
  isLast(entry, log) && following(log, at)?.entry.event === 'deliver' && preceding(log, at)?.entry.event === 'deliver';
const nextIsMessage = (_: unknown, at: number, log: Entry[]) => following(log, at)?.entry.event === 'deliver';
const isTail = (_: unknown, at: number, log: Entry[]) =>
  following(log, at) === undefined &&
  log.slice(at).some((e) => e.event === 'end' && e.conn === (log[at] as EntryOf<'deliver'>).conn);

const damages: Record<string, Damage> = {
  'a message with history is dropped': damageOne(
    'deliver',
    (entry, at, log) => isOrdered(entry) && nextIsMessage(entry, at, log),
    () => [],
    ['GAP', 'LOST_GAP'],
  ),
  'a plain message is dropped': damageOne(
    'deliver',
    (entry, at, log) => isPlain(entry) && inTheMiddle(entry, at, log),
    () => [],
    ['LOST_GAP'],
  ),
  'the last message with history is dropped': damageOne(
    'deliver',
    (entry, at, log) => isOrdered(entry) && isTail(entry, at, log),
    () => [],
    ['LOST_TAIL'],
  ),
  'the last plain message is dropped': damageOne(
    'deliver',
    (entry, at, log) => isPlain(entry) && isTail(entry, at, log),
    () => [],
    ['LOST_TAIL'],
  ),
  'a message is given twice': damageOne(
    'deliver',
    () => true,
    (entry) => [entry, entry],
    ['DUP'],
  ),
  'two messages with history are swapped': swapped(isOrdered, ['REORDER']),
  'two plain messages are swapped': swapped(isPlain, ['REORDER']),
  'a message has the id of another': (log, random) => {
    const ids = log.flatMap((entry) => (entry.event === 'publish' && entry.room === 'h:0' ? [entry.id] : []));
    return damageOne(
      'deliver',
      (entry) => entry.room === 'h:0' && entry.id !== ids[0],
      (entry) => [{ ...entry, id: ids[0] ?? '' }],
      ['DIVERGE', 'DOUBLE'],
    )(log, random);
  },
  'a message was never published': damageOne(
    'deliver',
    () => true,
    (entry) => [{ ...entry, id: 'nobody' }],
    ['PHANTOM'],
  ),
  'a payload is corrupt': damageOne(
    'deliver',
    () => true,
    (entry) => [{ ...entry, id: `corrupt ${entry.id}` }],
    ['PHANTOM'],
  ),
  'a message comes in another room': damageOne(
    'deliver',
    () => true,
    (entry) => [{ ...entry, room: entry.room === 'h:0' ? 'h:1' : 'h:0' }],
    ['LEAK'],
  ),
  'a message comes to somebody who left': damageOne(
    'unsubscribe',
    (entry, at, log) =>
      log.slice(0, at).some((e) => e.event === 'deliver' && e.conn === entry.conn && e.room === entry.room),
    (entry, log, at) => {
      const message = log
        .slice(0, at)
        .findLast((e) => e.event === 'deliver' && e.conn === entry.conn && e.room === entry.room);
      return [entry, message as Entry];
    },
    ['LEAK'],
  ),
  'a retry is stored twice': stored(isOrdered),
  'a retry is published twice in a plain room': stored(isPlain),
  'a new epoch is not told': damageOne(
    'gap',
    (entry, at, log) => entry.reason === 'epoch' && nextIsMessage(entry, at, log),
    () => [],
    ['EPOCH', 'DIVERGE', 'GAP', 'LOST_GAP', 'DUP', 'REORDER', 'DOUBLE'],
  ),
  'a resume claims to be whole, from elsewhere': damageOne(
    'resume',
    (entry) => !entry.recovered && (entry.offset !== entry.from.offset || entry.epoch !== entry.from.epoch),
    (entry) => [{ ...entry, recovered: true }],
    ['BAD_RESUME'],
  ),
  'a resume claims to be whole, and has a hole': damageOne(
    'resume',
    (entry, at, log) => !entry.recovered && entry.epoch === entry.from.epoch && nextIsMessage(entry, at, log),
    (entry) => [{ ...entry, recovered: true, offset: entry.from.offset }],
    ['GAP', 'LOST_GAP'],
  ),
  'a resume is refused without need': damageOne(
    'resume',
    (entry, _, log) =>
      entry.recovered === true &&
      log.some(
        (line) =>
          line.event === 'history' &&
          line.room === entry.room &&
          line.epoch === entry.epoch &&
          line.first <= entry.from.offset + 1,
      ),
    (entry) => [{ ...entry, recovered: false }],
    ['BAD_RESUME'],
  ),
  'a plain room claims to be resumed': damageOne('subscribe', isPlain, (entry) => [{ ...entry, recovered: true }], [
    'BAD_RESUME',
  ]),
  'a gap names less than is missing': damageOne(
    'gap',
    (entry, at, log) => (entry.last ?? 0) > (entry.first ?? 0) && nextIsMessage(entry, at, log),
    (entry) => [{ ...entry, last: (entry.last ?? 0) - 1 }],
    ['GAP', 'LOST_GAP'],
  ),
  'a gap is told for what is still held': damageOne(
    'deliver',
    (entry, _, log) => isOrdered(entry) && isLast(entry, log),
    ({ id: _, wire: __, ...entry }) => {
      const missed = { first: entry.offset ?? 0, last: entry.offset ?? 0 };
      return [{ ...entry, ...missed, event: 'gap', reason: 'trimmed' }];
    },
    ['GAP'],
  ),
  'a gap is not told in a plain room': (log, random) =>
    damageOne(
      'gap',
      (entry, at) =>
        isPlain(entry) && (entry.count ?? 0) > 0 && nextIsMessage(entry, at, log) && wasSeen(log, entry, at),
      () => [],
      ['GAP', 'LOST_GAP', 'REORDER'],
    )(log, random),
  'a gap of no message stands for one': damageOne(
    'deliver',
    (entry, at, log) => {
      const before = preceding(log, at)?.entry;
      return isOrdered(entry) && before?.event === 'gap' && before.count === 0 && nextIsMessage(entry, at, log);
    },
    () => [],
    ['GAP', 'LOST_GAP'],
  ),
  'an epoch begins without a reason': (log) => {
    const reasons = log.filter(({ event }) => event === 'wipe' || event === 'takeover' || event === 'lapse');
    if (reasons.length === 0) return undefined;
    return { log: log.filter((entry) => !reasons.includes(entry)), kinds: ['EPOCH'] };
  },
  'a message that was kept is gone after another Redis took over': (log) => {
    const isLoss = (entry: Entry) =>
      entry.event === 'wipe' || entry.event === 'lapse' || (entry.event === 'takeover' && entry.lossy === true);
    const deletedAt = log.findLast(isLoss)?.t ?? 0;
    const tried = (id: string) => log.find((entry) => entry.event === 'publish' && entry.id === id)?.t ?? 0;
    const former = (id: string, epoch: string) =>
      log.some((entry) => entry.event === 'ack' && entry.id === id && entry.epoch !== epoch);
    for (const history of log) {
      if (history.event !== 'history') continue;
      const isLeft = ({ id }: { id: string }) => former(id, history.epoch) && tried(id) > deletedAt;
      const items = history.items.map((item) => (isLeft(item) ? { ...item, id: 'another' } : item));
      if (!history.items.some(isLeft)) continue;
      return { log: log.map((entry) => (entry === history ? { ...history, items } : entry)), kinds: ['HISTORY'] };
    }
    return undefined;
  },
  'somebody is listed who is not there': damageOne(
    'presence',
    () => true,
    (entry) => [{ ...entry, members: [...entry.members, 'ghost'], count: entry.count + 1, users: entry.users + 1 }],
    ['PRESENCE'],
  ),
  'somebody who is there is not listed': damageOne(
    'presence',
    () => true,
    (entry) => [{ ...entry, members: entry.members.slice(1), count: entry.count - 1, users: entry.users - 1 }],
    ['PRESENCE'],
  ),
  'users are counted wrong': damageOne(
    'presence',
    () => true,
    (entry) => [{ ...entry, users: entry.users + 1 }],
    ['PRESENCE'],
  ),
  'nobody is asked who is there': damageOne(
    'presence',
    () => true,
    () => [],
    ['PRESENCE'],
  ),
  'the cluster does not recover': damageOne(
    'end',
    () => true,
    (entry) => [entry, { t: entry.t, event: 'stuck', what: 'no recovery' }],
    ['STUCK'],
  ),
  'a client library misbehaves': damageOne(
    'end',
    () => true,
    (entry) => [entry, { t: entry.t, event: 'misbehaviour', client: entry.client, what: 'it has two connections' }],
    ['CLIENT'],
  ),
  'a refused message is there': (log) => {
    const acked = log.findLast((entry) => entry.event === 'ack');
    if (acked?.event !== 'ack') return undefined;
    return {
      log: log.map((entry) => (entry === acked ? { ...acked, event: 'nack', code: 'unavailable' } : entry)),
      kinds: ['UNDEAD'],
    };
  },
  'the history lost a message': damageOne(
    'history',
    (entry) => entry.items.length > 2,
    (entry) => [{ ...entry, items: entry.items.toSpliced(1, 1) }],
    ['HISTORY'],
  ),
  'the history lost its end': damageOne(
    'history',
    (entry) => entry.offset > 2,
    (entry) => [{ ...entry, offset: entry.offset - 1, items: entry.items.slice(0, -1) }],
    ['HISTORY'],
  ),
  'messages of a publisher change places': fifo,
  'a gap ends a membership, and nothing is missing': damageOne(
    'unsubscribe',
    (entry, at, log) => {
      const next = following(log, at)?.entry;
      return isOrdered(entry) && next?.event === 'resume' && next.recovered === true;
    },
    (entry) => [{ ...entry, told: true }],
    ['GAP'],
  ),
  'a message that stands behind trimmed ones is acknowledged without its place, and is not there': damageOne(
    'unknown',
    (entry, _, log) => {
      const isThere = (line: Entry) => (line.event === 'deliver' || line.event === 'ack') && line.id === entry.id;
      const history = log.find((line) => line.event === 'history' && line.room === entry.room);
      if (history?.event !== 'history' || history.first === 1 || log.some(isThere)) return false;
      return isOlder(log, history.items[0]?.id, entry.id);
    },
    ({ code: _, ...entry }) => [{ ...entry, event: 'ack', untold: true }],
    ['HISTORY'],
  ),
};

/** Before this gap of a plain room its client had a message behind which another client saw the next ones. */
function wasSeen(log: Entry[], gap: EntryOf<'gap'>, at: number): boolean {
  const before = preceding(log, at)?.entry;
  if (before?.event !== 'deliver') return false;
  return log.some(
    (entry, index) =>
      entry.event === 'deliver' &&
      entry.room === gap.room &&
      entry.conn !== gap.conn &&
      entry.wire === before.wire &&
      following(log, index)?.entry.event === 'deliver',
  );
}

/** True if the one was acknowledged, and kept since, before the other was sent for the first time. */
function isOlder(log: Entry[], one: string | undefined, other: string): boolean {
  const at = (event: 'ack' | 'publish', name?: string) =>
    log.find((entry) => entry.event === event && entry.id === name)?.t ?? Number.NaN;
  const lost = (entry: Entry) => entry.event === 'wipe' || entry.event === 'lapse' || entry.event === 'takeover';
  return at('ack', one) < at('publish', other) && at('publish', other) > (log.findLast(lost)?.t ?? 0);
}

function swapped(fits: (entry: EntryOf<'deliver'>) => boolean, kinds: ViolationKind[]): Damage {
  return (log, random) => {
    const found = places(log, 'deliver', (entry, at) => fits(entry) && inTheMiddle(entry, at, log));
    if (found.length === 0) return undefined;
    const at = random.pick(found);
    const next = following(log, at)?.at ?? at;
    const [one, other] = [log[at] as Entry, log[next] as Entry];
    return { log: log.map((entry, index) => (index === at ? other : index === next ? one : entry)), kinds };
  };
}

/** The last message of a room comes once more at the end, to everybody. */
function stored(fits: (entry: EntryOf<'publish'>) => boolean): Damage {
  return (log) => {
    const last = log.findLast((entry) => entry.event === 'publish' && fits(entry));
    if (last?.event !== 'publish') return undefined;
    const again: Entry[] = log.flatMap((entry): Entry[] => {
      if (entry.event === 'deliver' && entry.id === last.id) {
        return [
          entry,
          entry.offset === undefined ? { ...entry, wire: 'once more' } : { ...entry, offset: entry.offset + 1 },
        ];
      }
      if (entry.event !== 'history' || entry.room !== last.room) return [entry];
      const offset = entry.offset + 1;
      return [{ ...entry, offset, items: [...entry.items, { id: last.id, offset }] }];
    });
    return { log: again, kinds: ['DOUBLE'] };
  };
}

/** Two messages of one connection change their names, wherever they are seen. */
function fifo(log: Entry[]): Damaged | undefined {
  const sent = log.filter((entry) => entry.event === 'publish');
  const once = sent.filter(({ id }) => sent.filter((entry) => entry.id === id).length === 1);
  const acked = once.filter(({ id }) => log.some((entry) => entry.event === 'ack' && entry.id === id));
  for (const one of acked.toReversed()) {
    const other = acked.find(
      ({ id, conn, room, t }) =>
        id !== one.id && conn === one.conn && room === one.room && t < one.t && sameEpoch(log, id, one.id),
    );
    if (other === undefined || isPlain(one)) continue;
    const name = (id: string) => (id === one.id ? other.id : id === other.id ? one.id : id);
    const renamed = log.map((entry): Entry => {
      if (entry.event === 'deliver') return { ...entry, id: name(entry.id) };
      if (entry.event === 'history')
        return { ...entry, items: entry.items.map((item) => ({ ...item, id: name(item.id) })) };
      if (entry.event !== 'ack' || name(entry.id) === entry.id) return entry;
      const partner = log.find((line) => line.event === 'ack' && line.id === name(entry.id)) as EntryOf<'ack'>;
      return { ...entry, epoch: partner.epoch ?? '', offset: partner.offset ?? 0 };
    });
    return { log: renamed, kinds: ['FIFO'] };
  }
  return undefined;
}

function sameEpoch(log: Entry[], one: string, other: string): boolean {
  const epochs = log.flatMap((entry) =>
    entry.event === 'ack' && (entry.id === one || entry.id === other) ? [entry.epoch] : [],
  );
  return epochs[0] === epochs[1];
}

/** As if every second client spoke a dialect that tells neither the ids of messages nor the positions of publications. */
function untold(log: readonly Entry[]): Entry[] {
  const names = [...new Set(log.flatMap((entry) => (entry.event === 'open' ? [entry.client] : [])))];
  const isTold = ({ client }: { client: string }) => names.indexOf(client) % 2 === 0;
  return log.map((entry): Entry => {
    if ((entry.event !== 'deliver' && entry.event !== 'ack') || isTold(entry)) return entry;
    const { client, conn, t, room, id } = entry;
    if (entry.event === 'ack') return { event: 'ack', client, conn, t, room, id, untold: true };
    return { event: 'deliver', client, conn, t, room, id, ...(isPlain(entry) ? {} : { offset: entry.offset ?? 0 }) };
  });
}

test('nothing is found where nothing was broken', () => {
  for (const { seed, log } of logs) {
    expect(check(log), `seed ${seed}`).toEqual([]);
    expect(check(untold(log)), `seed ${seed}, with clients that are told less`).toEqual([]);
  }
});

describe('what a former master took', () => {
  const of = (client: string) => ({ room: 'p:0', client, conn: client === 'stays' ? 1 : 2 });
  /** One client stays with the former master, and publishes there; one has moved. */
  const log = (toldAt: number): Entry[] => [
    { t: 0, event: 'run', seed: 1, minutes: 1, rooms: [{ name: 'p:0', history: false }], schedule: [] },
    { t: 1, event: 'subscribe', ...of('stays') },
    { t: 2, event: 'subscribe', ...of('moved') },
    { t: 11, event: 'publish', id: 'former', ...of('stays') },
    { t: 12, event: 'deliver', id: 'former', wire: 'w1', ...of('stays') },
    { t: 13, event: 'ack', id: 'former', ...of('stays') },
    { t: 14, event: 'publish', id: 'new', ...of('moved') },
    { t: 15, event: 'deliver', id: 'new', wire: 'w2', ...of('moved') },
    { t: 16, event: 'ack', id: 'new', ...of('moved') },
    { t: 20, event: 'gap', reason: 'backplane', ...of('stays') },
    { t: 21, event: 'takeover', from: 10 },
    { t: toldAt, event: 'gap', reason: 'backplane', ...of('moved') },
    { t: 90_000, event: 'end', client: 'stays', conn: 1, rooms: ['p:0'] },
    { t: 90_000, event: 'end', client: 'moved', conn: 2, rooms: ['p:0'] },
  ];

  test('may be told behind its place', () => {
    expect(check(log(22))).toEqual([]);
  });

  test.each([
    ['not at all', log(22).filter(({ t }) => t !== 22), 'LOST_GAP'],
    ['much too late', log(30_000), 'LOST_GAP'],
    ['though nothing took over', log(22).filter(({ event }) => event !== 'takeover'), 'LOST_GAP'],
  ])('is missed where it is told %s', (_, damaged, kind) => {
    expect(check(damaged).map((violation) => violation.kind)).toContain(kind);
  });
});

/** In how many logs a damage could be done, and the seeds of those in which it was not found. */
function missed(name: string, among: typeof logs, as = (log: Entry[]) => log): { done: number; seeds: number[] } {
  let done = 0;
  const seeds: number[] = [];
  for (const { seed, log } of among) {
    const damaged = damages[name]?.(log, new Random(seed));
    if (damaged === undefined) continue;
    done++;
    const found = new Set(check(as(damaged.log)).map(({ kind }) => kind));
    if (!damaged.kinds.some((kind) => found.has(kind))) seeds.push(seed);
  }
  return { done, seeds };
}

describe('every damage is found', () => {
  test.each(Object.keys(damages))('%s', (name) => {
    const { done, seeds } = missed(name, logs);
    expect(seeds, 'seeds in which it was not found').toEqual([]);
    expect(done).toBeGreaterThan(5);
  });

  // Where only a client that is told less has seen a message, nothing may be left to compare it with.
  test.each(Object.keys(damages))('%s, in nine logs of ten where some clients are told less', (name) => {
    const { done, seeds } = missed(name, logs.slice(0, logs.length / 2), untold);
    expect(seeds.length).toBeLessThanOrEqual(done / 10);
  });
});
