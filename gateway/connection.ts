/**
 * One connection: from open to close, who it speaks for and what its frames do.
 *
 * Owns the order of frames (those behind `auth` wait for its result, those of a room wait for its subscription), the
 * identity, the rates and the close code. It knows a socket only as the small interface below, and has no timer of its
 * own: heartbeats and a sweep come by. Rooms are kept in gateway/memberships.ts.
 */
import { type CloseCode, closeCode, closeReason, type ErrorCode } from '../shared/codes.ts';
import {
  type ErrorFrame,
  type FrameId,
  type OkFrame,
  type PongFrame,
  protocolVersion,
  type UnsubscribedFrame,
  type WelcomeFrame,
} from '../shared/protocol.ts';
import { type Access, anonymous, type Identity } from './access.ts';
import { type Authenticator, KeysUnavailableError, TokenError, type Verified } from './auth.ts';
import { BackplaneError } from './backplane.ts';
import type { Backpressure, Reader } from './backpressure.ts';
import type { Config } from './config.ts';
import { type Frame, type Refused, readFrame, readFrameId } from './frame.ts';
import type { Hub } from './hub.ts';
import { TokenBucket, type UserConnections } from './limits.ts';
import { cut, type Logger } from './log.ts';
import { type Member, type Membership, Memberships } from './memberships.ts';
import type { Metrics } from './metrics.ts';
import type { Publisher } from './publish.ts';

/** What a connection needs of its WebSocket. Never called after `end`. */
export interface Socket {
  /** False when bytes had to be buffered. */
  send(text: string): boolean;
  ping(payload: string): void;
  /** Sends a close frame; `closed` is called from within. */
  end(code: CloseCode, reason: string): void;
  bufferedBytes(): number;
  listen(room: string): void;
  unlisten(room: string): void;
}

/** The parts of a node that its connections share. */
export interface Shared {
  config: Config;
  access: Access;
  authenticator: Authenticator;
  backpressure: Backpressure;
  hub: Hub;
  publisher: Publisher;
  users: UserConnections<Connection>;
  metrics: Metrics;
  log: Logger;
}

const malformedBeforeClose = 10;
const refusalsBeforeClose = 100;
/** Control frames are answered by the server itself; only a flood of them is cut. */
const controlFrameRate = 1_000;
const controlFrameBurst = 20_000;
const maxWaitingFrames = 1_000;
const maxWaitingMessages = 4;

export class Connection implements Reader, Member {
  readonly id: string;
  readonly #shared: Shared;
  readonly #socket: Socket;
  readonly #memberships: Memberships;
  readonly #publishes: TokenBucket;
  readonly #requests: TokenBucket;
  #controls: TokenBucket | undefined;
  #identity: Identity | undefined;
  #expiresAt = Number.POSITIVE_INFINITY;
  readonly #openedAt = performance.now();
  #lastFrameAt = this.#openedAt;
  /** It has sent a `ping` frame, so it means to go on sending them. */
  #pings = false;
  #pingSentAt = 0;
  #drainedAt = 0;
  #authenticating = false;
  #waiting: (Frame | Refused)[] = [];
  #waitingCount = 0;
  #waitingBytes = 0;
  #malformedInARow = 0;
  #refusedInARow = 0;
  #stalled = false;
  #closed = false;

  constructor(id: string, socket: Socket, shared: Shared) {
    const { config } = shared;
    this.id = id;
    this.#socket = socket;
    this.#shared = shared;
    this.#memberships = new Memberships(this, shared.hub, shared.metrics);
    this.#publishes = new TokenBucket(config.publishRate, config.publishBurst, this.#openedAt);
    this.#requests = new TokenBucket(config.requestRate, 2 * config.requestRate, this.#openedAt);
  }

  get rooms(): number {
    return this.#memberships.size;
  }

  get live(): boolean {
    return !this.#stalled && !this.#closed;
  }

  /** The first thing after the handshake. `token` is what came with it. */
  open(token: string | undefined): void {
    if (token !== undefined) this.#authenticate(token, undefined, true);
    else if (this.#shared.config.anonymous) this.#welcome(anonymous, Number.POSITIVE_INFINITY, undefined);
  }

  /** A whole text message. */
  receive(text: string, bytes: number): void {
    const now = performance.now();
    this.#lastFrameAt = now;
    if (this.#closed || this.#expired()) return;
    const frame = bytes > this.#shared.config.maxMessageBytes ? undefined : readFrame(text);
    if (this.#limited(frame, text, now)) return;
    if (frame === undefined) {
      const most = this.#shared.config.maxMessageBytes;
      this.#error(readFrameId(text), 'too_large', `The frame has ${bytes} bytes; send at most ${most}.`);
    } else if (this.#authenticating || this.#waiting.length > 0) {
      if (this.#mayWait(frame)) this.#waiting.push(frame);
    } else this.#handle(frame);
  }

  /** A binary message: not part of the protocol. */
  receiveBinary(): void {
    this.close(closeCode.unsupportedData);
  }

  /** A WebSocket ping or pong frame came (RFC 6455 section 5.5). */
  receiveControl(): void {
    const now = performance.now();
    this.#controls ??= new TokenBucket(controlFrameRate, controlFrameBurst, now);
    if (this.#controls.take(now) > 0) this.close(closeCode.rateLimited);
  }

  /** The socket wrote some of what was buffered. */
  drained(): void {
    this.#drainedAt = performance.now();
    if (!this.#stalled || this.#closed || this.bufferedBytes() > this.#shared.backpressure.resumeBytes) return;
    this.#stalled = false;
    this.#memberships.goOn();
  }

  /** The socket is gone, by whichever side. */
  closed(): void {
    this.#closed = true;
    this.#memberships.leaveAll();
    const user = this.#identity?.user;
    if (typeof user === 'string') this.#shared.users.remove(user, this);
  }

  close(code: CloseCode): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#shared.log.debug({ connection: this.id, code }, 'closing a connection');
    this.#socket.end(code, closeReason[code]);
  }

  // Heartbeats and deadlines

  /** Sends a WebSocket ping, unless one is not answered yet. */
  ping(now: number): void {
    if (this.#pingSentAt !== 0 || this.#closed) return;
    this.#pingSentAt = now;
    this.#socket.ping(String(now));
  }

  /** Returns the round trip in ms if this answers the ping that is under way. */
  ponged(payload: string, now: number): number | undefined {
    if (this.#pingSentAt === 0 || payload !== String(this.#pingSentAt)) return undefined;
    const roundTrip = now - this.#pingSentAt;
    this.#pingSentAt = 0;
    return roundTrip;
  }

  /** True if a ping went unanswered. A ping waits behind what is buffered: a reader that reads is alive. */
  missesPong(now: number, timeoutMs: number): boolean {
    return this.#pingSentAt !== 0 && now - Math.max(this.#pingSentAt, this.#drainedAt) >= timeoutMs;
  }

  /** Closes it if its time for something is over. */
  checkDeadlines(now: number): void {
    const { config, metrics } = this.#shared;
    if (this.#expired()) return;
    if (this.#identity === undefined && now - this.#openedAt >= config.authTimeoutMs) {
      this.close(closeCode.authTimeout);
    } else if (this.#pings && config.clientTimeoutMs > 0 && now - this.#lastFrameAt >= config.clientTimeoutMs) {
      metrics.heartbeatTimedOut();
      this.close(closeCode.heartbeatTimeout);
    }
  }

  /** Nothing sent after `exp` is obeyed, also before the sweep comes by. */
  #expired(): boolean {
    if (Date.now() < this.#expiresAt) return false;
    this.close(closeCode.tokenExpired);
    return true;
  }

  // Limits

  /** True if the frame is over a rate and has been refused. */
  #limited(frame: Frame | Refused | undefined, text: string, now: number): boolean {
    const publish = frame?.type === 'publish';
    const retryAfterMs = (publish ? this.#publishes : this.#requests).take(now);
    if (retryAfterMs === 0) {
      this.#refusedInARow = 0;
      return false;
    }
    this.#refusedInARow++;
    if (this.#refusedInARow >= refusalsBeforeClose) {
      this.close(closeCode.rateLimited);
      return true;
    }
    const message = `Too many ${publish ? 'messages' : 'frames'}; send the next one after retryAfterMs.`;
    this.#error(frame === undefined ? readFrameId(text) : frame.id, 'rate_limited', message, retryAfterMs);
    return true;
  }

  /** Frames that have to wait are bounded in number and bytes. */
  #mayWait(frame: Frame | Refused): boolean {
    const bytes = sizeOf(frame);
    const mostBytes = maxWaitingMessages * this.#shared.config.maxMessageBytes;
    if (this.#waitingCount >= maxWaitingFrames || this.#waitingBytes + bytes > mostBytes) {
      this.#error(frame.id, 'limit_exceeded', 'Too many frames wait for earlier ones; wait for an answer first.');
      return false;
    }
    this.#waitingCount++;
    this.#waitingBytes += bytes;
    return true;
  }

  #handleWaited(frame: Frame | Refused): void {
    this.#waitingCount--;
    this.#waitingBytes -= sizeOf(frame);
    this.#handle(frame);
  }

  // Frames

  #handle(frame: Frame | Refused): void {
    if (this.#closed || this.#expired()) return;
    if (frame.type === 'refused' && frame.code === 'bad_request') {
      this.#malformed(frame);
      return;
    }
    this.#malformedInARow = 0;
    if (frame.type === 'ping') {
      this.#pings = true;
      this.#send({ type: 'pong', id: frame.id } as PongFrame);
    } else if (frame.type === 'auth') {
      this.#authenticate(frame.token, frame.id, false);
    } else if (this.#identity === undefined) {
      this.#error(frame.id, 'unauthorized', 'Send auth with a token first.');
    } else if (frame.type === 'refused') {
      this.#error(frame.id, frame.code, frame.message);
    } else this.#handleInRoom(frame, this.#identity);
  }

  #malformed(frame: Refused): void {
    this.#malformedInARow++;
    this.#error(frame.id, frame.code, frame.message);
    if (this.#malformedInARow >= malformedBeforeClose) this.close(closeCode.protocolError);
  }

  #handleInRoom(frame: Extract<Frame, { room: string }>, identity: Identity): void {
    const membership = this.#memberships.get(frame.room);
    if (membership?.state === 'joining') {
      if (this.#mayWait(frame)) this.#memberships.hold(membership, frame);
      return;
    }
    switch (frame.type) {
      case 'subscribe':
        this.#subscribe(frame, membership, identity);
        break;
      case 'unsubscribe':
        // The answer goes first: it takes along what was fanned out in this turn before the member leaves.
        this.#ok({ id: frame.id });
        if (membership !== undefined) this.#memberships.leave(membership);
        break;
      case 'publish':
        this.#publish(frame, identity);
        break;
    }
  }

  #subscribe(frame: { id: FrameId; room: string }, membership: Membership | undefined, identity: Identity): void {
    const { access, config, hub } = this.#shared;
    const { id, room } = frame;
    if (!access.allows(identity, 'subscribe', room)) {
      this.#error(id, 'forbidden', 'Neither a room rule nor the token allows to subscribe to this room.');
    } else if (membership !== undefined) {
      this.#ok({ id, room });
    } else if (config.maxRoomsPerConnection > 0 && this.#memberships.size >= config.maxRoomsPerConnection) {
      this.#error(id, 'limit_exceeded', `At most ${config.maxRoomsPerConnection} rooms; unsubscribe from one first.`);
    } else {
      const joined = this.#memberships.join(room);
      hub
        .subscribed(joined.room)
        .then(() => this.#joined(joined, id))
        .catch((error: unknown) => this.#joinFailed(joined, id, error));
    }
  }

  #joined(membership: Membership, id: FrameId): void {
    if (this.#closed) return;
    const { name } = membership.room;
    // A refresh may have taken the right away while Redis was being asked.
    if (this.#identity === undefined || !this.#shared.access.allows(this.#identity, 'subscribe', name)) {
      this.#memberships.leave(membership);
      this.#error(id, 'forbidden', 'The token no longer allows to subscribe to this room.');
    } else {
      this.#ok({ id, room: name });
      this.#memberships.enter(membership);
    }
    for (const frame of membership.waiting) this.#handleWaited(frame);
    membership.waiting = [];
  }

  #joinFailed(membership: Membership, id: FrameId, error: unknown): void {
    if (this.#closed) return;
    this.#memberships.leave(membership);
    this.#backplaneError(id, error, 'subscribe again');
    for (const frame of membership.waiting) this.#handleWaited(frame);
  }

  #publish(frame: Extract<Frame, { type: 'publish' }>, identity: Identity): void {
    const { access, hub, metrics, publisher } = this.#shared;
    const { id, room } = frame;
    if (!access.allows(identity, 'publish', room)) {
      this.#error(id, 'forbidden', 'Neither a room rule nor the token allows to publish to this room.');
      return;
    }
    hub
      .publish(publisher.publication(frame, identity.user))
      .then(({ duplicate }) => {
        if (!duplicate) metrics.published();
        if (id !== undefined) this.#ok(duplicate ? { id, duplicate: true } : { id });
      })
      .catch((error: unknown) => this.#backplaneError(id, error, 'publish again'));
  }

  // Authentication

  #authenticate(token: string, id: FrameId | undefined, atHandshake: boolean): void {
    this.#authenticating = true;
    this.#shared.authenticator
      .verify(token)
      .then((verified) => this.#verified(verified, id))
      .catch((error: unknown) => this.#unverified(error, id, atHandshake))
      .finally(() => {
        this.#authenticating = false;
        while (this.#waiting.length > 0 && !this.#authenticating && !this.#closed) {
          const frame = this.#waiting.shift();
          if (frame !== undefined) this.#handleWaited(frame);
        }
      });
  }

  #verified({ identity, expiresAt }: Verified, id: FrameId | undefined): void {
    if (this.#closed) return;
    const before = this.#identity?.user ?? null;
    if (before === null) this.#welcome(identity, expiresAt, id);
    else if (before === identity.user) this.#refresh(identity, expiresAt, id);
    else this.#error(id, 'forbidden', 'The token is of another user; open a new connection for that one.');
  }

  #unverified(error: unknown, id: FrameId | undefined, atHandshake: boolean): void {
    const { log, metrics } = this.#shared;
    if (this.#closed) return;
    if (!(error instanceof TokenError)) {
      const unavailable = error instanceof KeysUnavailableError;
      log.error({ connection: this.id, error: String(error) }, 'a token could not be verified');
      if ((this.#identity?.user ?? null) === null) this.close(closeCode.internalError);
      else this.#error(id, unavailable ? 'unavailable' : 'internal', 'The token could not be checked; try again.');
      return;
    }
    log.info({ connection: this.id, reason: error.reason, error: cut(error.message) }, 'token refused');
    if (atHandshake) metrics.handshakeRejected(`token_${error.reason}`);
    if ((this.#identity?.user ?? null) === null) this.close(closeCode.unauthorized);
    else this.#error(id, 'unauthorized', 'The token is not valid; get a new one. The old one goes on to its end.');
  }

  #welcome(identity: Identity, expiresAt: number, id: FrameId | undefined): void {
    const { config, users } = this.#shared;
    this.#identity = identity;
    this.#expiresAt = expiresAt;
    this.#send({
      type: 'welcome',
      id,
      version: protocolVersion,
      connection: this.id,
      user: identity.user,
      node: config.nodeId,
      now: Date.now(),
      expiresAt: Number.isFinite(expiresAt) ? expiresAt : null,
      pingIntervalMs: config.pingIntervalMs,
      maxMessageBytes: config.maxMessageBytes,
      maxRooms: config.maxRoomsPerConnection,
      features: [],
    } as WelcomeFrame);
    if (identity.user !== null) users.add(identity.user, this)?.close(closeCode.connectionLimit);
  }

  #refresh(identity: Identity, expiresAt: number, id: FrameId | undefined): void {
    this.#identity = identity;
    this.#expiresAt = expiresAt;
    for (const room of [...this.#memberships.rooms()]) {
      const membership = this.#memberships.get(room);
      if (membership === undefined || membership.state === 'joining') continue;
      if (this.#shared.access.allows(identity, 'subscribe', room)) continue;
      this.#send({ type: 'unsubscribed', room, reason: 'revoked' } satisfies UnsubscribedFrame);
      this.#memberships.leave(membership);
    }
    this.#ok({ id, expiresAt } as Omit<OkFrame, 'type'>);
  }

  // Out

  listen(room: string): void {
    this.#socket.listen(room);
  }

  unlisten(room: string): void {
    this.#socket.unlisten(room);
  }

  bufferedBytes(): number {
    return this.#socket.bufferedBytes();
  }

  /** Any frame sent to it takes along what was fanned out before; an empty ping is the smallest. */
  flush(): void {
    this.#socket.ping('');
  }

  stall(): void {
    if (this.#stalled || this.#closed) return;
    if (this.#memberships.closesSlow()) {
      this.close(closeCode.slowConsumer);
      return;
    }
    this.#stalled = true;
    this.#memberships.putAside();
    this.#shared.log.debug({ connection: this.id }, 'a slow reader was put aside');
  }

  shed(): void {
    this.close(closeCode.slowConsumer);
  }

  /** Sends a finished frame; over the soft limit the reader is put aside, over the hard limit it is closed. */
  send(frame: string): void {
    if (this.#closed || this.#socket.send(frame)) return;
    const buffered = this.#socket.bufferedBytes();
    const { hardBytes, softBytes } = this.#shared.backpressure;
    if (buffered > hardBytes) this.close(closeCode.slowConsumer);
    else if (buffered > softBytes) this.stall();
  }

  #send(frame: WelcomeFrame | OkFrame | ErrorFrame | PongFrame | UnsubscribedFrame): void {
    this.send(JSON.stringify(frame));
  }

  #ok(fields: Omit<OkFrame, 'type'>): void {
    this.#send({ type: 'ok', ...fields });
  }

  #error(id: FrameId | undefined, code: ErrorCode, message: string, retryAfterMs?: number): void {
    this.#send({ type: 'error', id, code, message, retryAfterMs } as ErrorFrame);
  }

  #backplaneError(id: FrameId | undefined, error: unknown, again: string): void {
    if (error instanceof BackplaneError) {
      const hint = error.code === 'timeout' ? `; ${again} with the same key` : `; ${again} in a moment`;
      this.#error(id, error.code, `${error.message}${hint}.`);
      return;
    }
    this.#shared.log.error({ connection: this.id, error: String(error) }, 'a frame failed');
    this.#error(id, 'internal', `Something went wrong in the gateway; ${again} in a moment.`);
  }
}

/** About the memory a waiting frame holds. */
function sizeOf(frame: Frame | Refused): number {
  if (frame.type === 'publish') return frame.data.length;
  return frame.type === 'auth' ? frame.token.length : 0;
}
