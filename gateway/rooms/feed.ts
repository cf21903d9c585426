/**
 * The feed of a room with history on this node: its position, and delivery without a hole.
 *
 * The one owner of the room's position, that of the last message delivered to the live members. The feed heals when a
 * message does not follow this position, when the subscription was lost, or when a probe finds a difference: live
 * messages wait, and the feed reads the missing ones and delivers all in order. Members that resume or catch up are
 * followers: they get history from their own cursor until they reach the room's position. A room has one read at a
 * time; followers with cursors close together share it. It knows no connections and no rights. Next:
 * gateway/rooms/continuation.ts.
 */
import { type Deferred, deferred } from '../../shared/deferred.ts';
import type { Position } from '../../shared/protocol.ts';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../backplane/backplane.ts';
import { continueFrom, type Hole, isHole, type PlacedMessage, type Step, samePosition, upTo } from './continuation.ts';
import type { ReadPurpose } from './reads.ts';

/** A member that resumes or catches up. */
export interface Follower {
  /** The position of the last step it took. */
  readonly cursor: Position;
  /** It resumes from a position of the client: a hole refuses the resume, and a failed read fails it. */
  readonly resuming: boolean;
  /** The steps after its cursor. `caughtUp`: they end at the room's position, so it has to go live in this call. */
  receive(steps: readonly Step[], caughtUp: boolean): void;
  /** Its read failed. Only called while it resumes; one that catches up waits for the retry. */
  failed(error: unknown): void;
}

/** What a feed needs of its room. */
export interface FeedOwner {
  /** Rejects with a BackplaneError. */
  read(query: HistoryQuery, purpose: ReadPurpose): Promise<HistoryPage>;
  /** Delivers a message to the live members. `at` is undefined for a message from history. */
  deliver(frame: Uint8Array, at: number | undefined, position: Position): void;
  /** Sends the live members a `gap` for the hole. */
  gap(hole: Hole): void;
  /** Healing is complete, and it delivered messages from history. */
  healed(): void;
  /** A read failed: call `retry` within a second. */
  retryLater(): void;
  fault(error: unknown): void;
}

/** One page of history: large enough to catch up quickly, small enough not to block Redis or this node. */
const pageMessages = 500;
const pageBytes = 262_144;
/** A read begins at the lowest cursor at most this many messages before that of the first follower. */
const sharedDistance = 250;
/** Live messages kept during a read. Beyond either bound they are read from history instead. */
const maxTailMessages = 1_000;
const maxTailBytes = 1_048_576;

export class Feed {
  readonly #owner: FeedOwner;
  readonly #followers = new Set<Follower>();
  #position: Position | undefined;
  #opening: Deferred | undefined;
  #healing = false;
  #reading = false;
  /** `heal` was called after the current read began, so the page may lack what was missed. */
  #healAgain = false;
  /** This healing has delivered messages from history. */
  #deliveredFromHistory = false;
  /** The last read failed: no read begins before the next call from outside. */
  #waitsForRetry = false;
  /** Live messages since the current read began. */
  #tail: PlacedMessage[] = [];
  #tailBytes = 0;
  #tailOverflowed = false;
  /** The position at the last probe. */
  #lastProbedAt: Position | undefined;
  /** The position at which the last probe differed from Redis. */
  #differedAt: Position | undefined;

  constructor(owner: FeedOwner) {
    this.#owner = owner;
  }

  /** Undefined until `open` has resolved. */
  get position(): Position | undefined {
    return this.#position;
  }

  /**
   * To be called when the room is subscribed. Resolves when the position is known; rejects with the error of the read.
   */
  open(): Promise<void> {
    if (this.#position !== undefined) return Promise.resolve();
    if (this.#opening === undefined) {
      this.#opening = deferred();
      this.heal();
    }
    return this.#opening.promise;
  }

  /** A live message of the room. */
  message(position: Position, frame: Uint8Array, at: number): void {
    if (this.#reading) this.#keepInTail({ position, frame });
    const here = this.#position;
    if (here === undefined || this.#healing) return;
    if (position.epoch === here.epoch && position.offset <= here.offset) return;
    if (position.epoch === here.epoch && position.offset === here.offset + 1) {
      this.#owner.deliver(frame, at, position);
      this.#position = position;
    } else this.heal();
  }

  /** Messages may be missing: reads and delivers them. Live messages wait until that is done. */
  heal(): void {
    this.#healing = true;
    this.#healAgain = true;
    this.#next();
  }

  /** Reads history after the follower's cursor and calls its `receive` once. */
  follow(follower: Follower): void {
    this.#followers.add(follower);
    this.#next();
  }

  unfollow(follower: Follower): void {
    this.#followers.delete(follower);
  }

  /** Reads again after a failed read. */
  retry(): void {
    this.#next();
  }

  /**
   * Compares an idle room with Redis; to be called every few seconds. It finds a lost message that no later message
   * reveals. Two consecutive probes of an idle room must differ from Redis before it heals: after one, the message may
   * still be on its way. Returns true if it reads.
   */
  probe(): boolean {
    const here = this.#position;
    if (here === undefined || this.#healing || this.#reading) return false;
    if (this.#lastProbedAt !== here) {
      this.#lastProbedAt = here;
      return false;
    }
    this.#owner
      .read({ after: here, limit: 0, maxBytes: 0, lastSeen: here }, 'probe')
      .then(({ epoch, top }) => {
        if (this.#position !== here || this.#healing) return;
        if (epoch === here.epoch && top === here.offset) this.#differedAt = undefined;
        else if (this.#differedAt === here) this.heal();
        else this.#differedAt = here;
      })
      .catch((error: unknown) => {
        // A backplane error is reported elsewhere, and the next round probes again.
        if (!(error instanceof BackplaneError)) this.#owner.fault(error);
      });
    return true;
  }

  #keepInTail(message: PlacedMessage): void {
    this.#tailBytes += message.frame.length;
    if (this.#tail.length >= maxTailMessages || this.#tailBytes > maxTailBytes) this.#tailOverflowed = true;
    if (!this.#tailOverflowed) this.#tail.push(message);
  }

  /** Begins the next read if one is needed and none is under way. */
  #next(): void {
    this.#waitsForRetry = false;
    if (this.#reading) return;
    const healing = this.#healing;
    const query = healing ? this.#healingQuery() : this.#followersQuery();
    if (query === undefined) return;
    this.#reading = true;
    this.#healAgain = false;
    this.#tail = [];
    this.#tailBytes = 0;
    this.#tailOverflowed = false;
    // For a follower that comes later the page may be too old to prove its position invalid.
    const following = new Set(this.#followers);
    this.#owner
      .read(query, this.#purpose())
      .then(
        (page) => {
          // Calls in here may ask for the next read. It begins in `finally`, because it clears the tail.
          if (healing) this.#healFrom(page);
          else this.#serveFollowers(query, page, following);
        },
        (error: unknown) => this.#fail(error),
      )
      .catch((error: unknown) => {
        this.#owner.fault(error);
        this.#waitsForRetry = true;
        this.#owner.retryLater();
      })
      .finally(() => {
        this.#reading = false;
        if (!this.#waitsForRetry) this.#next();
      });
  }

  #purpose(): ReadPurpose {
    if (this.#healing) return this.#opening === undefined ? 'room' : 'join';
    for (const { resuming } of this.#followers) if (resuming) return 'join';
    return 'room';
  }

  #healingQuery(): HistoryQuery {
    const here = this.#position;
    if (here === undefined) return { limit: 0, maxBytes: 0 };
    return { after: here, limit: pageMessages, maxBytes: pageBytes, lastSeen: here };
  }

  #followersQuery(): HistoryQuery | undefined {
    const [leader] = this.#followers;
    if (leader === undefined) return undefined;
    const lastSeen = this.#position;
    let after = leader.cursor;
    // A resume from another epoch is refused. The read only confirms the current epoch, so it asks for no messages.
    if (leader.resuming && after.epoch !== lastSeen?.epoch) return { after, limit: 0, maxBytes: 0, lastSeen };
    const least = after.offset - sharedDistance;
    for (const { cursor } of this.#followers) {
      if (cursor.epoch === after.epoch && cursor.offset < after.offset && cursor.offset >= least) after = cursor;
    }
    return { after, limit: pageMessages, maxBytes: pageBytes, lastSeen };
  }

  #healFrom(page: HistoryPage): void {
    const from = this.#position ?? { epoch: page.epoch, offset: page.top };
    const { steps, position, complete } = continueFrom(from, page, this.#tail);
    // No member is live before the feed is open.
    if (this.#position !== undefined) this.#deliver(steps);
    this.#position = position;
    if (!complete || this.#tailOverflowed || this.#healAgain) return;
    this.#healing = false;
    if (this.#deliveredFromHistory) this.#owner.healed();
    this.#deliveredFromHistory = false;
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  #deliver(steps: readonly Step[]): void {
    for (const step of steps) {
      if (isHole(step)) this.#owner.gap(step);
      else {
        this.#owner.deliver(step.frame, undefined, step.position);
        this.#deliveredFromHistory = true;
      }
      // Set per step: a member that stalls at the next step has received this one.
      this.#position = step.position;
    }
  }

  #serveFollowers(query: HistoryQuery, page: HistoryPage, following: ReadonlySet<Follower>): void {
    const here = this.#position;
    if (here === undefined) return;
    if (page.epoch !== here.epoch) {
      this.heal();
      return;
    }
    for (const follower of [...this.#followers]) {
      const { cursor } = follower;
      const known = cursor.epoch === here.epoch && cursor.offset <= page.top;
      if (known && cursor.offset > here.offset) {
        // The client was on a node that is ahead of this one.
        this.heal();
      } else if (!known && follower.resuming) {
        if (!following.has(follower)) continue;
        this.#followers.delete(follower);
        follower.receive([{ reason: 'epoch', position: here }], true);
      } else if (query.limit > 0 && covers(query, page, cursor)) {
        this.#serve(follower, page, here);
      }
    }
  }

  #serve(follower: Follower, page: HistoryPage, here: Position): void {
    const { cursor } = follower;
    const steps = upTo(continueFrom(cursor, page, this.#tail).steps, here);
    const end = steps.at(-1)?.position ?? cursor;
    const caughtUp = samePosition(end, here);
    // Its cursor is past this page: it waits for a later read.
    if (steps.length === 0 && !caughtUp) return;
    this.#followers.delete(follower);
    follower.receive(steps, caughtUp);
  }

  #fail(error: unknown): void {
    if (!(error instanceof BackplaneError)) this.#owner.fault(error);
    this.#opening?.reject(error);
    this.#opening = undefined;
    for (const follower of [...this.#followers]) {
      if (!follower.resuming) continue;
      this.#followers.delete(follower);
      follower.failed(error);
    }
    this.#waitsForRetry = true;
    // A feed that failed to open needs no retry: the next member that joins opens it.
    if (this.#position !== undefined && (this.#healing || this.#followers.size > 0)) this.#owner.retryLater();
  }
}

/** True if the page, read for one follower, begins early enough for another one at `cursor`. */
function covers({ after }: HistoryQuery, page: HistoryPage, cursor: Position): boolean {
  if (after?.epoch !== page.epoch) return cursor.epoch !== page.epoch || cursor.offset >= page.base;
  return cursor.epoch === page.epoch && cursor.offset >= after.offset;
}
