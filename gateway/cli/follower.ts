/**
 * Follows a room as docs/protocol.md asks a client to: from a position on, over ends of the connection, to another node when
 * this one stops.
 *
 * Owns when it connects again, and that each message is told once and in order, or that something may be missing there. What
 * is printed, and how, is gateway/cli/tail.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isFinal, rateLimitedMs } from '../../shared/client/connection/backoff.ts';
import { closeCode } from '../../shared/codes.ts';
import type { ErrorFrame, GatewayFrame, OkFrame, Position } from '../../shared/protocol.ts';
import { Failure } from './failure.ts';
import { type End, Link, type Target } from './link.ts';
import { refusalText } from './publish.ts';

/** Frames of the room, as they came. */
export type RoomFrame = Extract<GatewayFrame, { room: string; type: 'message' | 'gap' | 'join' | 'leave' }>;

export interface Listener {
  frame(frame: RoomFrame, text: string): void;
  /** It is in the room. `since`: from where it asked to go on. `missing`: messages before this place may be. */
  joined(ok: OkFrame, how: { node: string | undefined; since: Position | undefined; missing: boolean }): void;
  /** It is no longer connected, or about to leave its node; it goes on by itself. */
  interrupted(why: string): void;
}

/** It may work later. */
class Refused extends Failure {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** A subscription on one connection. */
interface Member {
  link: Link;
  since: Position | undefined;
  /** What was published before it joined may be missing. */
  wasAway: boolean;
  /** The one that it replaces while both are connected. */
  old: Member | undefined;
  /** Nothing of it counts any more. */
  isRetired: boolean;
  answered(frame: OkFrame | ErrorFrame): void;
  /** It is over: 'asked' when the node stops, else a Failure that says why. */
  leave(why: Failure | 'asked'): void;
  left: Promise<Failure | 'asked'>;
}

const firstBackoffMs = 500;
const longestBackoffMs = 15_000;
const answerMs = 10_000;
/** How long both connections of a move are heard in a plain room, and how many of its messages are remembered meanwhile. */
const overlapMs = 1_000;
const maxRemembered = 10_000;
const retryable = new Set(['unavailable', 'timeout', 'internal', 'rate_limited', 'limit_exceeded']);

export class Follower {
  readonly #target: Target;
  readonly #room: string;
  readonly #listener: Listener;
  readonly #members = new Set<Member>();
  #isClosed = false;
  /** In a room with history. */
  #position: Position | undefined;
  /** Ids of the messages of a plain room, while it moves. */
  #seen: Set<string> | undefined;

  constructor(target: Target, room: string, listener: Listener) {
    this.#target = target;
    this.#room = room;
    this.#listener = listener;
  }

  /** Resolves after `close`; rejects with a Failure when the room cannot be followed, or not any more. */
  async follow(since: Position | undefined): Promise<void> {
    let member = await this.#enter(since, since !== undefined);
    for (;;) {
      const why = await member.left;
      if (this.#isClosed) return;
      member = why === 'asked' ? await this.#move(member) : await this.#comeBack(why);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#leaveAll();
  }

  async #leaveAll(): Promise<void> {
    for (const member of this.#members) member.isRetired = true;
    await Promise.all([...this.#members].map(({ link }) => link.close()));
  }

  /** Connects and subscribes. */
  async #enter(since: Position | undefined, wasAway: boolean, old?: Member): Promise<Member> {
    const { promise: left, resolve: leave } = settleLater<Failure | 'asked'>();
    const { promise: answer, resolve: answered } = settleLater<OkFrame | ErrorFrame>();
    let member: Member | undefined;
    const link = await Link.open(this.#target, (frame, text) => {
      if (member !== undefined && !member.isRetired) this.#take(member, frame, text);
    }).catch((error: Error) => {
      throw new Refused(error.message);
    });
    member = { link, since, wasAway, old, isRetired: false, answered, leave, left };
    this.#members.add(member);
    link.ended.then((end) => {
      this.#members.delete(member as Member);
      leave(endedBy(end));
    });
    this.#subscribe(member);
    const outcome = await Promise.race([answer, link.ended, delay(answerMs, undefined, { ref: false })]);
    if (outcome !== undefined && 'type' in outcome && outcome.type === 'ok') return member;
    member.isRetired = true;
    await link.close();
    if (outcome === undefined) throw new Refused(`no answer within ${answerMs / 1000} s`);
    if ('text' in outcome) throw endedBy(outcome);
    throw refusedBy(outcome);
  }

  #subscribe({ link, since }: Member): void {
    link.send(JSON.stringify({ type: 'subscribe', id: 1, room: this.#room, since }));
  }

  #take(member: Member, frame: GatewayFrame, text: string): void {
    if (frame.type === 'ok' || frame.type === 'error') {
      if (frame.type === 'ok') this.#joined(member, frame);
      else member.leave(refusedBy(frame));
      member.answered(frame);
    } else if (frame.type === 'reconnect') {
      setTimeout(() => member.leave('asked'), frame.afterMs);
    } else if (frame.type === 'unsubscribed') {
      this.#unsubscribed(member, frame.reason);
    } else if (frame.type === 'message' || frame.type === 'gap') {
      if (frame.type === 'message' && this.#isKnown(frame.offset, frame.id)) return;
      const epoch = frame.type === 'gap' ? frame.epoch : this.#position?.epoch;
      if (epoch !== undefined && frame.offset !== undefined) this.#position = { epoch, offset: frame.offset };
      this.#listener.frame(frame, text);
    } else if (frame.type === 'join' || frame.type === 'leave') this.#listener.frame(frame, text);
  }

  #joined({ link, old, since, wasAway }: Member, ok: OkFrame): void {
    const { epoch, offset, recovered } = ok;
    const heard = this.#position?.epoch === epoch ? this.#position?.offset : undefined;
    // The old connection may have ended before this one was in the room.
    const hasHole = wasAway || (old !== undefined && !this.#members.has(old));
    const missing = recovered === undefined ? hasHole : !recovered && (heard === undefined || heard !== offset);
    // While it moved, the old connection told more than the new one goes on from: that is known already.
    if (!recovered || heard === undefined) {
      this.#position = epoch === undefined || offset === undefined ? undefined : { epoch, offset };
    }
    if (old !== undefined) this.#retire(old, epoch === undefined ? overlapMs : 0);
    this.#listener.joined(ok, { node: link.node, since, missing });
  }

  /** The room is another kind now (`changed`), or this user has lost the right to it. */
  #unsubscribed(member: Member, reason: string): void {
    if (reason !== 'changed') {
      member.leave(new Failure(`the gateway ended the membership (${reason}): the right to this room is gone.`));
      return;
    }
    Object.assign(member, { since: this.#position, wasAway: true, old: undefined });
    this.#subscribe(member);
  }

  /** True for a message that was told before. */
  #isKnown(offset: number | undefined, id: string | undefined): boolean {
    if (offset !== undefined) return this.#position !== undefined && offset <= this.#position.offset;
    if (this.#seen === undefined || id === undefined) return false;
    if (this.#seen.has(id)) return true;
    if (this.#seen.size < maxRemembered) this.#seen.add(id);
    return false;
  }

  #retire(member: Member, afterMs: number): void {
    const end = () => {
      member.isRetired = true;
      this.#seen = undefined;
      void member.link.close();
    };
    if (afterMs === 0) end();
    else setTimeout(end, afterMs);
  }

  /** The node stops: opens the next connection before this one is left. */
  async #move(old: Member): Promise<Member> {
    this.#listener.interrupted('the node stops: moving to another one');
    this.#seen = new Set();
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#enter(this.#position, false, old);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        const end = await Promise.race([old.link.ended, delay(backoffMs(attempt, error.retryAfterMs))]);
        if (end !== undefined) return this.#comeBack(endedBy(end));
      }
    }
  }

  /** The connection has ended: connects again, with backoff and jitter, for as long as it takes. */
  async #comeBack(cause: Failure): Promise<Member> {
    await this.#leaveAll();
    if (!(cause instanceof Refused)) throw cause;
    let [why, least] = [cause.message, cause.retryAfterMs];
    this.#seen = undefined;
    for (let attempt = 0; ; attempt++) {
      const waitMs = backoffMs(attempt, least);
      this.#listener.interrupted(`${why}; connecting again in ${(waitMs / 1000).toFixed(1)} s`);
      await delay(waitMs);
      try {
        return await this.#enter(this.#position, true);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        [why, least] = [error.message, error.retryAfterMs];
      }
    }
  }
}

/** What a client does on a close code: docs/protocol.md. */
function endedBy({ code, text }: End): Failure {
  const sentence = `the connection ended (${text})`;
  // The command has this one token only.
  const needsToken = code === closeCode.unauthorized || code === closeCode.tokenExpired;
  if (needsToken) return new Failure(`${sentence}: give another --token or ROOMCAST_TOKEN.`);
  if (code === closeCode.authTimeout)
    return new Failure(`${sentence}: give --token or ROOMCAST_TOKEN; \`roomcast token\` makes one.`);
  return isFinal(code)
    ? new Failure(`${sentence}.`)
    : new Refused(sentence, code === closeCode.rateLimited ? rateLimitedMs : 0);
}

function refusedBy(frame: ErrorFrame): Failure {
  const text = refusalText(frame);
  return retryable.has(frame.code) ? new Refused(text, frame.retryAfterMs) : new Failure(text);
}

/** Jitter over half of a doubling time, so that many clients of one node do not come back together. */
function backoffMs(attempt: number, leastMs: number): number {
  const longest = Math.min(longestBackoffMs, firstBackoffMs * 2 ** attempt);
  return Math.max(leastMs, longest * (0.5 + Math.random() / 2));
}

function settleLater<Value>() {
  let resolve: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
