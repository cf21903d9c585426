/**
 * gateway/rooms/feed.ts in a simulated world (simulated-feed.ts). For any order of messages, reads,
 * failures, new epochs and slow members: no member has an unreported hole or gets a message twice; once the faults end,
 * every member reaches the room's position; and reads are few.
 */
import { expect, test } from 'vitest';
import { Random } from '../random.ts';
import { SimulatedFeed, SimulatedMember } from './simulated-feed.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

type Action = [weight: number, name: string, act: () => unknown];

async function opened(random: Random): Promise<SimulatedFeed> {
  const world = new SimulatedFeed(random);
  const open = world.feed.open();
  await settle(world);
  await open;
  return world;
}

/** Completes all reads and delivers all messages, without faults. */
async function settle(world: SimulatedFeed): Promise<void> {
  for (let idleTurns = 0; idleTurns < 3; ) {
    if (world.reads.length + world.channel.length > 0 || world.retryWanted) idleTurns = 0;
    else idleTurns++;
    while (world.channel.length > 0) world.deliver();
    world.carryOut();
    world.answer();
    world.retry();
    await turn();
    if (world.fault !== undefined) throw world.fault;
  }
}

function randomSince({ random, position, feed }: SimulatedFeed) {
  const { epoch, offset } = random.pick([position, feed.position ?? position]);
  if (random.chance(0.1)) return { epoch: 'foreign', offset };
  return { epoch, offset: Math.max(0, offset + random.integer(-12, 1)) };
}

/** `reported`: all faults except messages that get lost without a report of the backplane. */
type Faults = 'none' | 'reported' | 'all';

function actions(world: SimulatedFeed, faults: Faults): Action[] {
  const { random, feed, members } = world;
  const calm = faults === 'none';
  const member = () => random.pick([...members, undefined]);
  const join = (since: ReturnType<typeof randomSince> | undefined) =>
    members.size < 12 && new SimulatedMember(world, `m${world.log.length}`, since);
  return [
    [30, 'publish', () => world.publish()],
    [3, 'trim', () => world.trim(random.integer(0, 8))],
    [26, 'deliver', () => world.deliver()],
    [14, 'carry out', () => world.carryOut()],
    [14, 'answer', () => world.answer()],
    [5, 'join', () => join(undefined)],
    [10, 'resume', () => join(randomSince(world))],
    [3, 'leave', () => member()?.leave()],
    [6, 'stall', () => member()?.stall()],
    [8, 'drain', () => member()?.drained()],
    [4, 'probe', () => feed.probe()],
    [8, 'retry', () => world.retry()],
    [calm ? 0 : 1, 'new epoch', () => world.beginEpoch(random.chance(0.5) ? undefined : random.integer(0, 3))],
    [faults === 'all' ? 3 : 0, 'lose', () => world.channel.shift()],
    [calm ? 0 : 3, 'repeat', () => world.deliver(true)],
    [calm ? 0 : 1, 'interrupt', () => world.interrupt()],
    [calm ? 0 : 3, 'fail a read', () => world.failRead()],
  ];
}

async function step(world: SimulatedFeed, faults: Faults): Promise<void> {
  const possible = actions(world, faults);
  let at = world.random.next() * possible.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, name, act] of possible) {
    at -= weight;
    if (at >= 0) continue;
    world.log.push(name);
    act();
    break;
  }
  if (world.random.chance(0.8)) for (let tick = 0; tick < 8; tick++) await null;
}

/** Probes often enough to find a message that was lost unreported, then lets all members catch up. */
async function untilAllAreThere(world: SimulatedFeed): Promise<void> {
  await settle(world);
  for (let probe = 0; probe < 4; probe++) {
    world.feed.probe();
    await settle(world);
  }
  for (let round = 0; [...world.members].some(({ state }) => state !== 'live'); round++) {
    if (round > 300) world.fail(`a member never catches up: ${[...world.members].map(({ state }) => state)}`);
    for (const member of world.members) member.drained();
    await settle(world);
  }
}

test.each<[string, Faults]>([
  ['faults of every kind', 'all'],
  ['faults that the backplane reports', 'reported'],
  ['slow members and late messages only', 'none'],
])('no unreported hole and no duplicate, with %s (400 runs)', async (_, faults) => {
  const reached = { taken: 0, holes: 0, refusals: 0, recoveries: 0 };
  for (let seed = 0; seed < 400; seed++) {
    const world = await opened(new Random(seed));
    for (let steps = 0; steps < 250; steps++) await step(world, faults);
    // At most one read for each action.
    expect(world.readsAsked, `seed ${seed}: ${world.log.length} steps`).toBeLessThan(world.log.length);
    await settle(world);
    // Only an unreported loss needs a probe; a new epoch without a message is unreported too.
    const unreported = faults === 'all' || world.top === world.base;
    if (!unreported) expect(world.feed.position, `seed ${seed}`).toEqual(world.position);
    await untilAllAreThere(world);
    expect(world.feed.position, `seed ${seed}`).toEqual(world.position);
    for (const { cursor } of world.members) expect(cursor, `seed ${seed}`).toEqual(world.position);
    for (const { taken } of world.members) reached.taken += taken;
    reached.holes += world.holes;
    reached.refusals += world.refusals;
    reached.recoveries += world.recoveries;
  }
  expect(reached.taken).toBeGreaterThan(5_000);
  expect(reached.recoveries).toBeGreaterThan(1_000);
  expect(reached.refusals).toBeGreaterThan(300);
  if (faults !== 'none') expect(reached.holes).toBeGreaterThan(300);
});

test('1,000 members that resume near each other share a handful of reads', async () => {
  const world = await opened(new Random(1));
  world.pauses = 0;
  for (let offset = 1; offset <= 1_000; offset++) world.publish();
  await settle(world);
  const before = world.readsAsked;
  const members = Array.from({ length: 1_000 }, (_, index) => {
    return new SimulatedMember(world, `m${index}`, { epoch: world.epoch, offset: world.random.integer(800, 999) });
  });
  await untilAllAreThere(world);
  expect(members.every(({ state, cursor }) => state === 'live' && cursor.offset === 1_000)).toBe(true);
  expect(world.recoveries).toBe(1_000);
  expect(world.readsAsked - before).toBeLessThan(10);
});

test('members that resume all over a long history share reads too, and miss no message published meanwhile', async () => {
  const world = await opened(new Random(2));
  world.pauses = 0;
  for (let offset = 1; offset <= 3_000; offset++) world.publish();
  await settle(world);
  const before = world.readsAsked;
  for (let index = 0; index < 1_000; index++) {
    new SimulatedMember(world, `m${index}`, { epoch: world.epoch, offset: world.random.integer(0, 2_999) });
    if (index % 100 === 0) world.publish();
  }
  await untilAllAreThere(world);
  expect(world.recoveries).toBe(1_000);
  expect(world.readsAsked - before).toBeLessThan(30);
});

test('a member that resumes during a read is not refused because of a page older than its position', async () => {
  const world = await opened(new Random(3));
  for (let offset = 1; offset <= 3; offset++) world.publish();
  await settle(world);
  const early = new SimulatedMember(world, 'early', { epoch: world.epoch, offset: 1 });
  world.carryOut();
  world.publish();
  // It saw the newest message on a node that is ahead of this one.
  const late = new SimulatedMember(world, 'late', world.position);
  world.answer();
  await turn();
  await untilAllAreThere(world);
  expect([early.cursor, late.cursor]).toEqual([world.position, world.position]);
  expect([world.recoveries, world.refusals]).toEqual([2, 0]);
});

test('a member that catches up in an old epoch causes no endless reads while the new epoch is trimmed past its cursor', async () => {
  const world = await opened(new Random(4));
  world.publish();
  await settle(world);
  const slow = new SimulatedMember(world, 'slow', undefined);
  slow.stall();
  world.beginEpoch();
  world.feed.heal();
  await settle(world);
  for (let offset = 1; offset <= 5; offset++) world.publish();
  world.trim(2);
  world.channel = [];
  const before = world.readsAsked;
  slow.drained();
  for (let round = 0; round < 100; round++) {
    world.carryOut();
    world.answer();
    await turn();
  }
  expect(world.readsAsked - before).toBeLessThan(5);
  await untilAllAreThere(world);
  expect(slow.cursor).toEqual(world.position);
});

test('after a failed read no other read begins before `retry`; members that resume fail, and slow ones wait', async () => {
  const world = await opened(new Random(5));
  for (let offset = 1; offset <= 5; offset++) world.publish();
  await settle(world);
  const [resuming, slow] = [
    new SimulatedMember(world, 'resuming', { epoch: world.epoch, offset: 2 }),
    new SimulatedMember(world, 'slow', undefined),
  ];
  slow.stall();
  world.publish();
  world.deliver();
  slow.drained();
  for (let round = 0; round < 50; round++) {
    world.failRead();
    await turn();
  }
  expect(resuming.state).toBe('ended');
  expect(slow.state).toBe('catching-up');
  expect(world.retryWanted).toBe(true);
  expect(world.readsAsked).toBe(2);
  await untilAllAreThere(world);
  expect(slow.cursor).toEqual(world.position);
});

test('live messages beyond the bound of the tail are read from history, at once', async () => {
  const world = await opened(new Random(6));
  const member = new SimulatedMember(world, 'm', undefined);
  world.feed.heal();
  world.carryOut();
  for (let offset = 1; offset <= 1_500; offset++) world.publish();
  await settle(world);
  expect(world.feed.position).toEqual(world.position);
  expect(member.cursor).toEqual(world.position);
});

test('the first message of a new epoch reveals it, even at an offset below the position of the room', async () => {
  const world = await opened(new Random(7));
  for (let offset = 1; offset <= 5; offset++) world.publish();
  await settle(world);
  const member = new SimulatedMember(world, 'm', undefined);
  world.beginEpoch();
  world.publish();
  await settle(world);
  expect(member.cursor).toEqual(world.position);
  expect(world.holes).toBe(1);
});

test('messages missed after Redis has carried out a read, before its answer, are read too', async () => {
  const world = await opened(new Random(8));
  const member = new SimulatedMember(world, 'm', undefined);
  world.publish();
  world.interrupt();
  world.carryOut();
  world.publish();
  world.interrupt();
  await settle(world);
  expect(member.cursor).toEqual(world.position);
});
