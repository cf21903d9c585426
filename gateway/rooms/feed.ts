/**
 * The feed of a room with history on this node: where the room is, and how it gets there without a hole.
 *
 * The one owner of the room's position here, which is that of the last message handed to the live members. A message that
 * does not follow on it, a subscription that was lost, or a check that finds more in history makes the feed heal: live
 * messages wait, what is missing is read and handed on in order. Members that are behind (they resume, or read slowly)
 * follow: they are given history from their own place until they have come to the room's. There is one read at a time, and
 * everybody waiting near by shares it. It knows no connections and no rights. Next: gateway/rooms/continuation.ts.
 */
import { type Deferred, deferred } from '../../shared/deferred.ts';
import type { Position } from '../../shared/protocol.ts';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../backplane/backplane.ts';
import { continueFrom, type Hole, isHole, type PlacedMessage, type Step, samePosition, upTo } from './continuation.ts';
import type { ReadPurpose } from './reads.ts';

/** A member that is behind. */
export interface Follower {
  /** Behind the last step it took. */
  readonly cursor: Position;
  /** It comes back with a position of its own: a hole means refusal, and trouble is told. */
  readonly resuming: boolean;
  /** Steps from its cursor on. `arrived`: they end where the room is, and it may go live, now. */
  receive(steps: readonly Step[], arrived: boolean): void;
  /** Its read failed. Only called while it is resuming; others wait until there is an answer. */
  failed(error: unknown): void;
}

/** What a feed needs of its room. */
export interface FeedOwner {
  /** Rejects with a BackplaneError. */
  read(query: HistoryQuery, purpose: ReadPurpose): Promise<HistoryPage>;
  /** Hands a message to the live members. `at` is undefined for one from history. */
  deliver(frame: Uint8Array, at: number | undefined): void;
  /** Tells the live members of a hole. */
  tell(hole: Hole): void;
  /** Messages that had not come have been delivered from history, all of them. */
  healed(): void;
  /** Call `retry` in a moment. */
  troubled(): void;
  fault(error: unknown): void;
}

/** One read. Enough to catch up quickly, not so much that Redis or this node is held up. */
const pageMessages = 500;
const pageBytes = 262_144;
/** A follower that is so many messages further back than the one whose turn it is shares its read. */
const sharedDistance = 250;
/** Live messages that are kept during a read; beyond, they are read too. */
const maxTailMessages = 1_000;
const maxTailBytes = 1_048_576;

export class Feed {
  readonly #owner: FeedOwner;
  readonly #followers = new Set<Follower>();
  #position: Position | undefined;
  #opening: Deferred | undefined;
  #healing = false;
  #reading = false;
  /** Something was missed since the read under way was asked for, which may be behind its answer. */
  #missedMore = false;
  /** Since it began to heal, messages were delivered from history. */
  #filled = false;
  /** The last read failed; nothing is read before the next call from outside. */
  #troubled = false;
  /** Live messages since the read under way was asked for. */
  #tail: PlacedMessage[] = [];
  #tailBytes = 0;
  #tailCut = false;
  /** Where the room was when it was last looked after. */
  #seen: Position | undefined;
  #suspect: Position | undefined;

  constructor(owner: FeedOwner) {
    this.#owner = owner;
  }

  /** Undefined before it is open. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** To be called when the room is subscribed. Resolves with the position; rejects with what the read was rejected with. */
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
      this.#owner.deliver(frame, at);
      this.#position = position;
    } else this.heal();
  }

  /** Messages may be missing: reads and delivers them. Until then live ones wait. */
  heal(): void {
    this.#healing = true;
    this.#missedMore = true;
    this.#next();
  }

  /** Gives the member history from its cursor on. */
  follow(follower: Follower): void {
    this.#followers.add(follower);
    this.#next();
  }

  unfollow(follower: Follower): void {
    this.#followers.delete(follower);
  }

  /** Goes on after trouble. */
  retry(): void {
    this.#next();
  }

  /**
   * To be called every few seconds: a message that was lost without a trace, with none behind it to show the hole, is
   * found by the second look in a row at a room where nothing else happens. Returns true if it reads.
   */
  probe(): boolean {
    const here = this.#position;
    if (here === undefined || this.#healing || this.#reading) return false;
    if (this.#seen !== here) {
      this.#seen = here;
      return false;
    }
    this.#owner
      .read({ after: here, limit: 0, maxBytes: 0, lastSeen: here }, 'probe')
      .then(({ epoch, top }) => {
        if (this.#position !== here || this.#healing) return;
        if (epoch === here.epoch && top === here.offset) this.#suspect = undefined;
        else if (this.#suspect === here) this.heal();
        else this.#suspect = here;
      })
      .catch((error: unknown) => {
        // Trouble with the backplane shows elsewhere, and the room is looked after again.
        if (!(error instanceof BackplaneError)) this.#owner.fault(error);
      });
    return true;
  }

  #keepInTail(message: PlacedMessage): void {
    this.#tailBytes += message.frame.length;
    if (this.#tail.length >= maxTailMessages || this.#tailBytes > maxTailBytes) this.#tailCut = true;
    if (!this.#tailCut) this.#tail.push(message);
  }

  /** The next read, if one is wanted and none is under way. */
  #next(): void {
    this.#troubled = false;
    if (this.#reading) return;
    const healing = this.#healing;
    const query = healing ? this.#healingQuery() : this.#followersQuery();
    if (query === undefined) return;
    this.#reading = true;
    this.#missedMore = false;
    this.#tail = [];
    this.#tailBytes = 0;
    this.#tailCut = false;
    // Of those who come later, the page may be too old to say that their position is no good.
    const asking = new Set(this.#followers);
    this.#owner
      .read(query, this.#purpose())
      .then(
        (page) => {
          // What is called here may ask for the next read, which would take the tail away.
          if (healing) this.#heal(page);
          else this.#serve(query, page, asking);
        },
        (error: unknown) => this.#fail(error),
      )
      .catch((error: unknown) => {
        this.#owner.fault(error);
        this.#troubled = true;
        this.#owner.troubled();
      })
      .finally(() => {
        this.#reading = false;
        if (!this.#troubled) this.#next();
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
    // Whoever resumes from another epoch is refused anyway, once it is sure which one is the present.
    if (leader.resuming && after.epoch !== lastSeen?.epoch) return { after, limit: 0, maxBytes: 0, lastSeen };
    const least = after.offset - sharedDistance;
    for (const { cursor } of this.#followers) {
      if (cursor.epoch === after.epoch && cursor.offset < after.offset && cursor.offset >= least) after = cursor;
    }
    return { after, limit: pageMessages, maxBytes: pageBytes, lastSeen };
  }

  #heal(page: HistoryPage): void {
    const from = this.#position ?? { epoch: page.epoch, offset: page.top };
    const { steps, position, complete } = continueFrom(from, page, this.#tail);
    // Nobody is live before it is open.
    if (this.#position !== undefined) this.#deliver(steps);
    this.#position = position;
    if (!complete || this.#tailCut || this.#missedMore) return;
    this.#healing = false;
    if (this.#filled) this.#owner.healed();
    this.#filled = false;
    this.#opening?.resolve();
    this.#opening = undefined;
  }

  #deliver(steps: readonly Step[]): void {
    for (const step of steps) {
      if (isHole(step)) this.#owner.tell(step);
      else {
        this.#owner.deliver(step.frame, undefined);
        this.#filled = true;
      }
      // Whoever is put aside by the next step was given this one.
      this.#position = step.position;
    }
  }

  #serve(query: HistoryQuery, page: HistoryPage, asking: ReadonlySet<Follower>): void {
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
        // It comes from a node that was quicker than this one.
        this.heal();
      } else if (!known && follower.resuming) {
        if (!asking.has(follower)) continue;
        this.#followers.delete(follower);
        follower.receive([{ reason: 'epoch', position: here }], true);
      } else if (query.limit > 0 && covers(query, page, cursor)) {
        this.#give(follower, page, here);
      }
    }
  }

  #give(follower: Follower, page: HistoryPage, here: Position): void {
    const { cursor } = follower;
    const steps = upTo(continueFrom(cursor, page, this.#tail).steps, here);
    const end = steps.at(-1)?.position ?? cursor;
    const arrived = samePosition(end, here);
    // It is beyond this page: its turn comes.
    if (steps.length === 0 && !arrived) return;
    this.#followers.delete(follower);
    follower.receive(steps, arrived);
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
    this.#troubled = true;
    // A room that could not be opened is opened by the next one who joins it.
    if (this.#position !== undefined && (this.#healing || this.#followers.size > 0)) this.#owner.troubled();
  }
}

/** Says whether a page that was asked for one follower begins early enough for another one. */
function covers({ after }: HistoryQuery, page: HistoryPage, cursor: Position): boolean {
  if (after?.epoch !== page.epoch) return cursor.epoch !== page.epoch || cursor.offset >= page.base;
  return cursor.epoch === page.epoch && cursor.offset >= after.offset;
}
