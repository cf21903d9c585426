/**
 * Incoming messages of a client: decodes them, applies the rates, and keeps their order.
 *
 * Owns the requests that wait for the result of an `auth` or for an earlier request of their room, the bound on all that
 * wait, and the count of malformed messages in a row. Its owner decides what a request does:
 * gateway/connection/connection.ts.
 */
import { type CloseCode, closeCode, type ErrorCode } from '../../shared/codes.ts';
import type { FrameId } from '../../shared/protocol.ts';
import { type Publishing, publishBytes, type Sharer, type Shares } from '../admission/shares.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { Reply } from '../protocol/reply.ts';
import type { Rejected, Request, RoomRequest } from '../protocol/request.ts';
import type { Events } from '../telemetry/events.ts';
import { type RateSettings, Rates, WaitingFrames, type WaitingList } from './limits.ts';

/** Malformed messages in a row after which the connection is closed. */
const malformedBeforeClose = 10;
/** Bound on the bytes of waiting requests, in messages of the largest size. */
const maxWaitingMessages = 4;
/** Of the requests that waited for an `auth`, so many are executed at its end; the others share turns with other connections. */
const releasedAtOnce = 64;

export interface InboxSettings extends RateSettings {
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
}

export interface InboxParts {
  config: InboxSettings;
  events: Events;
  shares: Shares;
}

export interface InboxOwner {
  readonly dialect: Dialect;
  /** True while requests wait for the result of an `auth`. */
  readonly authenticating: boolean;
  /** True once requests are ignored. */
  readonly closing: boolean;
  readonly memberships: {
    /** True while the room is being joined. */
    isJoining(room: string): boolean;
  };
  /** Executes a request. */
  handle(request: Request | Rejected): void;
  reply(reply: Reply): void;
  close(code: CloseCode): void;
  /** A fault of the gateway in a request. */
  fail(error: unknown): void;
}

/** A room with a question to the operator's backend under way, or requests that wait for its end or for that of a join. */
interface HeldRoom {
  questions: number;
  waiting: RoomRequest[];
}

/** The order of requests, as those see it whose requests take longer than a turn of the event loop. */
export interface RoomOrder {
  /** The operator's backend is asked about the room. Later requests for it wait, until `answered` is called as often. */
  asks(room: string): void;
  answered(room: string): void;
  /** A join of the room has ended. Executes the requests that have waited for it, up to the next one that others wait for. */
  joinEnded(room: string): void;
}

export class Inbox implements RoomOrder, Sharer {
  readonly publishing: Publishing = { count: 0, bytes: 0 };
  readonly #owner: InboxOwner;
  readonly #settings: InboxSettings;
  readonly #events: Events;
  readonly #shares: Shares;
  readonly #rates: Rates;
  /** Requests that wait for the verification of a token, or for their turn among all connections. */
  #waiting: (Request | Rejected)[] | undefined;
  /** By name. Not a room that is joined while nothing waits for that. */
  #heldRooms: Map<string, HeldRoom> | undefined;
  /** Counts all requests that wait. */
  #waitingFrames: WaitingFrames | undefined;
  #malformedInARow = 0;

  constructor(owner: InboxOwner, { config, events, shares }: InboxParts) {
    this.#owner = owner;
    this.#settings = config;
    this.#events = events;
    this.#shares = shares;
    this.#rates = new Rates(config);
  }

  /** One message of the client. `now` is performance.now(). */
  take(message: ArrayBuffer, now: number): void {
    const { dialect } = this.#owner;
    if (dialect.split === undefined) this.#takeOne(message, now);
    else {
      for (const part of dialect.split(message)) {
        if (this.#owner.closing) break;
        this.#takeOne(part, now);
      }
    }
  }

  #takeOne(message: ArrayBuffer, now: number): void {
    const most = this.#settings.maxMessageBytes;
    const bytes = message.byteLength;
    const request = bytes > most ? undefined : this.#owner.dialect.decode(message);
    if (request?.type === 'pong') {
      // It never waits, and one without a ping ends the connection: it bounds itself.
      this.#owner.handle(request);
      return;
    }
    if (this.#overRate(request, message, now)) return;
    if (request === undefined) {
      this.#refuse(this.#idOf(message), 'too_large', `The frame has ${bytes} bytes; send at most ${most}.`);
    } else if (this.#owner.dialect.binary && request.type === 'publish' && Buffer.byteLength(request.data) > most) {
      // Nodes exchange it as JSON, and every bound downstream counts that.
      this.#refuse(request.id, 'too_large', `data is more than ${most} bytes as JSON; send less.`);
    } else this.accept(request, now);
  }

  /** Executes a request, after the earlier ones. The rates do not count it. */
  accept(request: Request | Rejected, now: number): void {
    const isBehind = this.#owner.authenticating || this.#waiting !== undefined;
    if (!isBehind && !this.#shares.mustWait(this, bytesOf(request), now)) this.#owner.handle(request);
    else if (this.#mayWait(request, 'line', !this.#owner.authenticating)) {
      this.#waiting ??= [];
      this.#waiting.push(request);
      if (!isBehind) this.#shares.wait(this);
    }
  }

  /** False if a WebSocket ping or pong frame is part of a flood. */
  takeControl(now: number): boolean {
    return this.#rates.takeControl(now);
  }

  /** The answer to a ping of the dialect. Undefined: to none, so the client is not one of this dialect. */
  pong(roundTripMs: number | undefined): void {
    if (roundTripMs === undefined) this.#owner.close(closeCode.protocolError);
    else this.#events.pingRoundTrip(roundTripMs / 1000);
  }

  asks(room: string): void {
    this.#held(room).questions++;
  }

  answered(room: string): void {
    this.#held(room).questions--;
    this.joinEnded(room);
  }

  joinEnded(room: string): void {
    const held = this.#heldRooms?.get(room);
    if (held === undefined || this.#isBusy(room)) return;
    this.#heldRooms?.delete(room);
    const { waiting } = held;
    for (let next = 0; next < waiting.length; next++) {
      this.#release(waiting[next] as RoomRequest, 'rooms');
      if (!this.#isBusy(room)) continue;
      this.#held(room).waiting = waiting.slice(next + 1);
      return;
    }
    if (this.#heldRooms?.size === 0) this.#heldRooms = undefined;
  }

  #isBusy(room: string): boolean {
    return (this.#heldRooms?.get(room)?.questions ?? 0) > 0 || this.#owner.memberships.isJoining(room);
  }

  #held(room: string): HeldRoom {
    this.#heldRooms ??= new Map();
    const held = this.#heldRooms.get(room) ?? { questions: 0, waiting: [] };
    this.#heldRooms.set(room, held);
    return held;
  }

  /** True if the request has to wait for an earlier one of its room; it waits then, or was refused. */
  waitsForRoom(request: RoomRequest): boolean {
    if (!this.#isBusy(request.room)) return false;
    if (this.#mayWait(request, 'rooms')) this.#held(request.room).waiting.push(request);
    return true;
  }

  /** Counts a request that has to wait, until `#release`. If too many wait, refuses it and returns false. */
  #mayWait(request: Request | Rejected, list: WaitingList, isForTurn = false): boolean {
    const { maxMessageBytes, maxRoomsPerConnection } = this.#settings;
    this.#waitingFrames ??= new WaitingFrames(maxRoomsPerConnection, maxWaitingMessages * maxMessageBytes);
    if (this.#waitingFrames.add(request, list, this.#shares, isForTurn)) return true;
    if (this.#waitingFrames.ignoresRefusals(list)) this.#owner.close(closeCode.rateLimited);
    else this.#refuse(request.id, 'limit_exceeded', 'Too many frames wait for earlier ones; wait for an answer first.');
    return false;
  }

  /** Executes a request that has waited in the list. */
  #release(request: Request | Rejected, list: WaitingList): void {
    this.#waitingFrames?.remove(request, list, this.#shares);
    this.#owner.handle(request);
  }

  /** The `auth` has its result: releases the requests that waited for it, up to the next `auth`. */
  releaseWaiting(): void {
    if (this.goOn(releasedAtOnce)) this.#shares.wait(this);
  }

  /** Nothing is executed any more. */
  end(): void {
    this.#waitingFrames?.end(this.#shares);
    this.#waiting = undefined;
    this.#heldRooms = undefined;
    this.#shares.leave(this);
  }

  get nextBytes(): number | undefined {
    return bytesOf(this.#waiting?.[0]);
  }

  /** A publish is under way until `publishEnded`. Returns the bytes that it counts. */
  publishBegan(data: string): number {
    const bytes = publishBytes(data);
    this.#shares.publishBegan(this, bytes);
    return bytes;
  }

  publishEnded(bytes: number): void {
    this.#shares.publishEnded(this, bytes);
  }

  goOn(most: number): boolean {
    try {
      for (let count = 0; count < most && this.#isWaiting && this.#shares.mayGoOn(this); count++) {
        const request = this.#waiting?.shift();
        if (this.#waiting?.length === 0) this.#waiting = undefined;
        if (request !== undefined) this.#release(request, 'line');
      }
    } catch (error) {
      // Nobody above would catch it: it runs in turns of the node.
      this.#owner.fail(error);
      return false;
    }
    return this.#isWaiting;
  }

  /** For its turn, and for nothing else. */
  get #isWaiting(): boolean {
    return this.#waiting !== undefined && !this.#owner.authenticating && !this.#owner.closing;
  }

  wellFormed(): void {
    this.#malformedInARow = 0;
  }

  /** False if its owner answers this rejection. Bad requests are answered here, and counted. */
  rejects({ id, code, message }: Rejected): boolean {
    if (id === undefined && this.#owner.dialect.opensByRequest === true) {
      this.#owner.close(code === 'bad_request' ? closeCode.protocolError : closeCode.unsupportedData);
      return true;
    }
    if (code !== 'bad_request') return false;
    this.#malformedInARow++;
    this.#refuse(id, code, message);
    if (this.#malformedInARow >= malformedBeforeClose) this.#owner.close(closeCode.protocolError);
    return true;
  }

  /** If the request exceeds a rate, refuses it and returns true. */
  #overRate(request: Request | Rejected | undefined, message: ArrayBuffer, now: number): boolean {
    const publish = request?.type === 'publish';
    const retryAfterMs = this.#rates.takeFrame(publish, now);
    if (retryAfterMs === 0) return false;
    if (publish) this.#events.publishEnded('client', 'rate_limited', 0);
    if (this.#rates.ignoresRefusals) {
      this.#owner.close(closeCode.rateLimited);
      return true;
    }
    const id = request === undefined ? this.#idOf(message) : request.id;
    this.overRate(id, publish ? 'messages' : 'frames', retryAfterMs);
    return true;
  }

  overRate(id: FrameId | undefined, what: string, retryAfterMs: number): void {
    const message = `Too many ${what}; send the next one after retryAfterMs.`;
    this.#owner.reply({ type: 'error', id, code: 'rate_limited', message, retryAfterMs });
  }

  /** The id of a request that was refused before decoding, so that the error can carry it. */
  #idOf(message: ArrayBuffer): FrameId | undefined {
    return this.#owner.dialect.decode(message).id;
  }

  #refuse(id: FrameId | undefined, code: ErrorCode, message: string): void {
    this.#owner.reply({ type: 'error', id, code, message });
  }
}

/** Undefined: it is no publish. */
function bytesOf(request: Request | Rejected | undefined): number | undefined {
  return request?.type === 'publish' ? publishBytes(request.data) : undefined;
}
