/**
 * gateway/rooms/continuation.ts against a naive room that remembers everything. The room publishes, trims, expires and
 * begins new epochs at random. The page is read at a random moment, and the tail holds live messages since then, some
 * late, some twice, some lost. Every step must be true of the room.
 */
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import type { HistoryPage } from '../../../gateway/backplane/backplane.ts';
import {
  type Continuation,
  continueFrom,
  gapFields,
  isHole,
  type PlacedMessage,
  type Step,
  samePosition,
  upTo,
} from '../../../gateway/rooms/continuation.ts';
import type { Position } from '../../../shared/protocol.ts';
import { Random } from '../random.ts';

const frameOf = ({ epoch, offset }: Position) => new TextEncoder().encode(`${epoch} ${offset}`);

/** The frame of a message holds its position, so a frame in a wrong place shows. */
class NaiveRoom {
  readonly random: Random;
  epoch = 'e0';
  top = 0;
  base = 0;
  first = 1;
  /** In the order of the channel, all epochs. */
  readonly published: PlacedMessage[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  get position(): Position {
    return { epoch: this.epoch, offset: this.top };
  }

  act(): void {
    const { random } = this;
    const chance = random.next();
    if (chance < 0.75) {
      for (let left = random.integer(1, 6); left > 0; left--) this.#publish();
    } else if (chance < 0.9) this.first = random.integer(this.first, this.top + 1);
    else if (chance < 0.95) this.first = this.top + 1;
    else {
      this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
      // All messages or the newest ones are lost. The epoch begins after those that are left.
      this.top = random.chance(0.5) ? 0 : Math.max(0, this.top - random.integer(0, 3));
      this.base = this.top;
      this.first = Math.min(this.first, this.top + 1);
    }
  }

  page(after: Position, limit: number): HistoryPage {
    const low =
      after.epoch === this.epoch ? Math.max(after.offset + 1, this.first) : Math.max(this.base + 1, this.first);
    const offsets = Array.from({ length: Math.max(0, this.top - low + 1) }, (_, index) => low + index).slice(0, limit);
    const messages = offsets.map((offset) => ({ offset, frame: frameOf({ epoch: this.epoch, offset }) }));
    return { epoch: this.epoch, top: this.top, base: this.base, first: this.first, messages };
  }

  #publish(): void {
    this.top++;
    this.published.push({ position: this.position, frame: frameOf(this.position) });
  }
}

interface Case {
  seed: number;
  from: Position;
  page: HistoryPage;
  tail: PlacedMessage[];
  result: Continuation;
}

/** A read of a random room. It is requested, carried out and answered at three different moments. */
function randomCase(seed: number): Case {
  const room = new NaiveRoom(seed);
  const { random } = room;
  for (let acts = random.integer(0, 8); acts > 0; acts--) room.act();
  const offset = random.integer(0, room.top);
  const from: Position = random.chance(0.85) ? { epoch: room.epoch, offset } : { epoch: 'older', offset };
  const live = room.published.findIndex(({ position }) => position.epoch === from.epoch && position.offset > offset);
  for (let acts = random.integer(0, 6); acts > 0; acts--) room.act();
  const asked = room.published.length;
  for (let acts = random.integer(0, 3); acts > 0; acts--) room.act();
  const after = { epoch: from.epoch, offset: Math.max(0, from.offset - (random.chance(0.3) ? 3 : 0)) };
  const page = room.page(after, random.chance(0.3) ? random.integer(1, 5) : 1_000);
  for (let acts = random.integer(0, 4); acts > 0; acts--) room.act();
  // Some messages published before the request come late.
  const late = Math.max(live, asked - random.integer(0, 4), 0);
  const lossy = random.chance(0.2);
  const tail = room.published.slice(late).flatMap((message) => {
    if (lossy && random.chance(0.15)) return [];
    return random.chance(0.1) ? [message, message] : [message];
  });
  return { seed, from, page, tail, result: continueFrom(from, page, tail) };
}

const cases = Array.from({ length: 20_000 }, (_, seed) => randomCase(seed));
const told = ({ seed, from, page, tail, result }: Case) =>
  JSON.stringify({ seed, from, page, tail: tail.map(({ position }) => position), result }, (key, value) =>
    key === 'frame' ? undefined : value,
  );

/** Describes a case only if it fails: there are 20,000. */
function check(actual: unknown, expected: unknown, each: Case): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual, told(each)).toEqual(expected);
}

/** Takes the steps as a member does; returns the first mistake in them. */
function untrue({ from, page, result }: Pick<Case, 'from' | 'page' | 'result'>): string | undefined {
  let at = from;
  for (const step of result.steps) {
    const { epoch, offset } = step.position;
    if (!isHole(step)) {
      if (epoch !== at.epoch || offset !== at.offset + 1) return `message ${offset} of ${epoch} after ${at.offset}`;
      if (Buffer.compare(step.frame, frameOf(step.position)) !== 0) return `another message in the place of ${offset}`;
    } else if (step.reason === 'epoch') {
      if (at !== from || epoch === at.epoch || epoch !== page.epoch) return `an epoch that is none: ${epoch}`;
      const begins = Math.max(page.first - 1, page.base);
      if (offset !== begins) return `the epoch goes on from ${offset}, and begins behind ${begins}`;
    } else {
      const { first = Number.NaN, last = Number.NaN } = step;
      if (epoch !== at.epoch || first !== at.offset + 1 || last < first || last !== offset) return 'a crooked hole';
      if (page.messages.some((kept) => kept.offset >= first && kept.offset <= last)) return 'a hole over what is there';
      if (last >= page.first) return `a hole up to ${last}, and ${page.first} is kept`;
    }
    at = step.position;
  }
  return samePosition(at, result.position) ? undefined : `ends at ${at.offset}, says ${result.position.offset}`;
}

test('every message comes once and in order, and every hole is exact (20,000 random reads)', () => {
  for (const each of cases) {
    const wrong = untrue(each);
    if (wrong !== undefined) expect.fail(`${wrong}: ${told(each)}`);
  }
  // The random cases covered everything that they are meant to.
  const count = (holds: (each: Case) => boolean) => cases.filter(holds).length;
  const hasHole = (reason: string) => (each: Case) =>
    each.result.steps.some((step) => isHole(step) && step.reason === reason);
  expect(count(hasHole('trimmed'))).toBeGreaterThan(1_000);
  expect(count(hasHole('epoch'))).toBeGreaterThan(1_000);
  expect(count(({ result }) => !result.complete)).toBeGreaterThan(1_000);
  expect(count(({ result, page }) => result.complete && result.position.offset > page.top)).toBeGreaterThan(1_000);
});

test('it is complete exactly if it ends at the newest known message without a hole or a new epoch in the tail', () => {
  for (const each of cases) {
    const { from, page, tail, result } = each;
    const cut = (page.messages.at(-1)?.offset ?? page.top) < page.top;
    // The tail counts up to its first hole or new epoch; what lies beyond needs another read.
    let reached = Math.max(page.top, from.epoch === page.epoch ? from.offset : 0);
    let doubt = false;
    for (const { position } of tail) {
      if (position.epoch !== page.epoch || position.offset > reached + 1) doubt = true;
      else if (!doubt) reached = Math.max(reached, position.offset);
    }
    check(result.complete, !cut && !doubt, each);
    if (result.complete) check(result.position, { epoch: page.epoch, offset: reached }, each);
  }
});

test('page by page it reaches the position of the room, with the same steps as one read of everything', () => {
  for (let seed = 0; seed < 2_000; seed++) {
    const room = new NaiveRoom(seed);
    for (let acts = 10; acts > 0; acts--) room.act();
    const from = { epoch: room.random.chance(0.8) ? room.epoch : 'older', offset: room.random.integer(0, room.top) };
    const whole = continueFrom(from, room.page(from, 1_000), []);
    const steps: Step[] = [];
    let at: Position = from;
    for (let reads = 0; reads <= room.top + 1; reads++) {
      const part = continueFrom(at, room.page(at, room.random.integer(1, 4)), []);
      steps.push(...part.steps);
      at = part.position;
      if (part.complete) break;
    }
    expect(steps, `seed ${seed}`).toEqual(whole.steps);
    expect(at).toEqual(room.position);
  }
});

/** One entry for each offset: delivered, or in a hole. */
const perOffset = (steps: readonly Step[]) =>
  steps.flatMap((step) => {
    const { epoch, offset } = step.position;
    if (!isHole(step)) return [{ epoch, offset, is: 'message' }];
    if (step.first === undefined) return [{ epoch, offset, is: 'epoch' }];
    const first = step.first;
    return Array.from({ length: offset - first + 1 }, (_, index) => ({ epoch, offset: first + index, is: 'hole' }));
  });

test('upTo keeps all steps up to a position, and drops every offset beyond it', () => {
  let cutHoles = 0;
  for (const each of cases) {
    const { steps } = each.result;
    const random = new Random(each.seed);
    const { epoch, offset } = random.pick([
      each.from,
      each.result.position,
      { epoch: each.page.epoch, offset: each.page.top },
    ]);
    const limit = { epoch, offset: Math.max(0, offset - random.integer(0, 3)) };
    if (limit.epoch !== each.page.epoch) continue;
    const within = upTo(steps, limit);
    const begins = steps[0];
    if (begins !== undefined && isHole(begins) && begins.reason === 'epoch' && begins.position.offset > limit.offset) {
      check(within, [{ ...begins, position: limit }], each);
      continue;
    }
    check(
      perOffset(within),
      perOffset(steps).filter((one) => one.offset <= limit.offset),
      each,
    );
    const last = within.at(-1);
    if (last !== undefined && isHole(last) && !steps.includes(last)) {
      cutHoles++;
      expect(last).toMatchObject({ last: limit.offset, position: limit });
    }
  }
  expect(cutHoles).toBeGreaterThan(20);
});

test('a gap frame has the count of missing messages where it is known, and the position after them', () => {
  const position = { epoch: 'e', offset: 9 };
  expect(gapFields({ reason: 'trimmed', first: 4, last: 9, position })).toEqual({
    reason: 'trimmed',
    first: 4,
    last: 9,
    count: 6,
    epoch: 'e',
    offset: 9,
  });
  expect(gapFields({ reason: 'epoch', position })).toEqual({ reason: 'epoch', epoch: 'e', offset: 9 });
});
