/**
 * A feed in a simulated world: a room with history; a channel that delays, loses or repeats messages; reads that are
 * carried out and answered later, or fail; and members that are live, resume, stall and drain.
 *
 * Owns the truth: the room remembers every message, so each step of a member is checked when it comes. A member moves
 * on by the next message, or by a hole that is real. The test decides what happens when.
 */
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../../../gateway/backplane/backplane.ts';
import { type Hole, isHole, type PlacedMessage, type Step, samePosition } from '../../../gateway/rooms/continuation.ts';
import { Feed, type Follower } from '../../../gateway/rooms/feed.ts';
import type { Position } from '../../../shared/protocol.ts';
import type { Random } from '../random.ts';

interface Read {
  query: HistoryQuery;
  /** Set once the room has carried it out. */
  page?: HistoryPage;
  resolve(page: HistoryPage): void;
  reject(error: BackplaneError): void;
}

export class SimulatedFeed {
  readonly random: Random;
  readonly log: string[] = [];
  readonly feed: Feed;
  readonly members = new Set<SimulatedMember>();
  /** Published and not delivered yet. */
  channel: PlacedMessage[] = [];
  reads: Read[] = [];
  readsAsked = 0;
  retryWanted = false;
  /** The first error that the feed reported as a fault. */
  fault: Error | undefined;
  /** Probability that a member pauses after a step. */
  pauses = 0.02;
  refusals = 0;
  recoveries = 0;
  holes = 0;
  #epochs = 1;
  epoch = 'e1';
  top = 0;
  base = 0;
  /** Of the present epoch. */
  kept: PlacedMessage[] = [];

  constructor(random: Random) {
    this.random = random;
    this.feed = new Feed({
      read: (query) => this.#read(query),
      deliver: (frame) => this.#each((member) => member.take(positionIn(frame))),
      gap: (hole) => this.#each((member) => member.skip(hole)),
      healed: () => undefined,
      retryLater: () => {
        this.retryWanted = true;
      },
      fault: (error) => {
        this.fault ??= error as Error;
      },
    });
  }

  get first(): number {
    return this.kept[0]?.position.offset ?? this.top + 1;
  }

  get position(): Position {
    return { epoch: this.epoch, offset: this.top };
  }

  fail(what: string): never {
    throw new Error(`${what} after: ${this.log.slice(-60).join(', ')}`);
  }

  publish(): void {
    this.top++;
    const message = { position: this.position, frame: frameOf(this.position) };
    this.kept.push(message);
    this.channel.push(message);
  }

  trim(most: number): void {
    this.kept.splice(0, Math.max(0, this.kept.length - most));
  }

  /** Loses the newest `lost` messages, all by default. The new epoch begins after those that are left. */
  beginEpoch(lost = this.top): void {
    this.#epochs++;
    this.epoch = `e${this.#epochs}`;
    this.top = Math.max(0, this.top - lost);
    this.base = this.top;
    this.kept = this.kept
      .map(({ position: { offset } }) => ({ epoch: this.epoch, offset }))
      .filter(({ offset }) => offset <= this.top)
      .map((position) => ({ position, frame: frameOf(position) }));
  }

  /** The next message of the channel arrives. `again`: it stays in the channel, so it arrives once more. */
  deliver(again = false): void {
    const next = again ? this.channel[0] : this.channel.shift();
    if (next !== undefined) this.feed.message(next.position, next.frame, 0);
  }

  /** The messages in the channel are lost, and the backplane reports it. */
  interrupt(): void {
    this.channel = [];
    this.feed.heal();
  }

  /** The room carries out the oldest read. */
  carryOut(): void {
    const read = this.reads.find(({ page }) => page === undefined);
    if (read !== undefined) read.page = this.#page(read.query);
  }

  /** The first answer comes. */
  answer(): void {
    const read = this.reads[0];
    if (read?.page === undefined) return;
    this.reads.shift();
    read.resolve(read.page);
  }

  failRead(): void {
    this.reads.shift()?.reject(new BackplaneError('timeout', 'it failed'));
  }

  retry(): void {
    if (!this.retryWanted) return;
    this.retryWanted = false;
    this.feed.retry();
  }

  #read(query: HistoryQuery): Promise<HistoryPage> {
    this.readsAsked++;
    return new Promise((resolve, reject) => this.reads.push({ query, resolve, reject }));
  }

  #page({ after, limit, maxBytes }: HistoryQuery): HistoryPage {
    const low = after?.epoch === this.epoch ? after.offset : this.base;
    const found = this.kept.filter(({ position }) => position.offset > low).slice(0, limit);
    let bytes = 0;
    const messages = found.filter(({ frame }, index) => {
      bytes += frame.length;
      return index === 0 || bytes <= maxBytes;
    });
    return {
      epoch: this.epoch,
      top: this.top,
      base: this.base,
      first: this.first,
      messages: messages.map(({ position, frame }) => ({ offset: position.offset, frame })),
    };
  }

  #each(give: (member: SimulatedMember) => void): void {
    for (const member of [...this.members]) if (member.state === 'live') give(member);
  }
}

export class SimulatedMember implements Follower {
  readonly #world: SimulatedFeed;
  readonly #name: string;
  state: 'resuming' | 'live' | 'catching-up' | 'paused' | 'ended' = 'live';
  cursor: Position;
  taken = 0;
  /** The room had not reached its position yet when it came. */
  readonly #invented: boolean;

  /** Joins: with a position it resumes, without one it is live from where the room is. */
  constructor(world: SimulatedFeed, name: string, since: Position | undefined) {
    const here = world.feed.position;
    if (here === undefined) throw new Error('the feed is open before members join');
    this.#world = world;
    this.#name = name;
    this.cursor = since ?? here;
    this.#invented = this.cursor.epoch === world.epoch && this.cursor.offset > world.top;
    world.members.add(this);
    if (since === undefined || samePosition(since, here)) return;
    this.state = 'resuming';
    world.feed.follow(this);
  }

  get resuming(): boolean {
    return this.state === 'resuming';
  }

  receive(steps: readonly Step[], caughtUp: boolean): void {
    const world = this.#world;
    if (this.state === 'ended') world.fail(`${this.#name} has left and gets steps`);
    if (this.state === 'paused' || this.state === 'live') world.fail(`${this.#name} is ${this.state} and gets steps`);
    const wasResuming = this.state === 'resuming';
    this.state = 'catching-up';
    if (wasResuming && steps.some(isHole)) {
      this.#refused();
      return;
    }
    if (wasResuming) world.recoveries++;
    for (const step of steps) {
      if (isHole(step)) this.skip(step);
      else this.take(positionIn(step.frame), step.position);
      if (world.random.chance(world.pauses)) {
        this.state = 'paused';
        return;
      }
    }
    if (!caughtUp) world.feed.follow(this);
    else this.#goLive();
  }

  failed(): void {
    if (!this.resuming) this.#world.fail(`${this.#name} is ${this.state} and gets a failed read`);
    this.leave();
  }

  /** It reads too slowly: it pauses at its cursor. */
  stall(): void {
    if (this.state !== 'live') return;
    if (!samePosition(this.cursor, this.#world.feed.position ?? { epoch: '', offset: 0 })) {
      this.#world.fail(`${this.#name} is live at ${this.cursor.offset}, and the room is elsewhere`);
    }
    this.state = 'paused';
  }

  drained(): void {
    const { feed } = this.#world;
    if (this.state !== 'paused') return;
    this.state = 'catching-up';
    if (feed.position !== undefined && samePosition(this.cursor, feed.position)) this.state = 'live';
    else feed.follow(this);
  }

  leave(): void {
    this.state = 'ended';
    this.#world.feed.unfollow(this);
    this.#world.members.delete(this);
  }

  take(position: Position, said = position): void {
    const { epoch, offset } = this.cursor;
    if (position.epoch !== epoch || position.offset !== offset + 1 || !samePosition(position, said)) {
      this.#world.fail(`${this.#name} is at ${epoch}/${offset} and gets ${position.epoch}/${position.offset}`);
    }
    this.cursor = position;
    this.taken++;
  }

  skip({ reason, first = 0, last = 0, position }: Hole): void {
    const world = this.#world;
    const { epoch, offset } = this.cursor;
    world.holes++;
    if (reason === 'epoch') {
      if (position.epoch === epoch) world.fail(`${this.#name} gets a hole for the epoch it is in`);
      const isNew = ({ epoch, offset }: Position) => epoch === position.epoch && offset > world.base;
      const lost = world.kept.find((kept) => isNew(kept.position));
      if (lost !== undefined && position.offset >= lost.position.offset)
        world.fail(`${this.#name} gets a hole that skips kept messages`);
    } else {
      if (position.epoch !== epoch || first !== offset + 1 || last !== position.offset || last < first) {
        world.fail(`${this.#name} is at ${offset} and gets a hole from ${first} to ${last}`);
      }
      const there = epoch === world.epoch && last >= world.first;
      if (there) world.fail(`${this.#name} gets a hole from ${first} to ${last}, and ${world.first} is kept`);
    }
    this.cursor = position;
  }

  /** A refusal is right only if the position is invalid now. */
  #refused(): void {
    const world = this.#world;
    const { epoch, offset } = this.cursor;
    const good = epoch === world.epoch && offset <= world.top && offset + 1 >= world.first;
    if (good && !this.#invented)
      world.fail(`${this.#name} is refused ${offset}, and all from ${world.first} to ${world.top} is there`);
    world.refusals++;
    this.cursor = world.feed.position ?? this.cursor;
    this.#goLive();
  }

  #goLive(): void {
    const { feed } = this.#world;
    if (feed.position === undefined || !samePosition(this.cursor, feed.position)) {
      this.#world.fail(`${this.#name} goes live at ${this.cursor.offset}, and the room is at ${feed.position?.offset}`);
    }
    this.state = 'live';
  }
}

/** The frame holds its position, so a frame in a wrong place shows. */
function frameOf(position: Position): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(position));
}

function positionIn(frame: Uint8Array): Position {
  return JSON.parse(new TextDecoder().decode(frame)) as Position;
}
