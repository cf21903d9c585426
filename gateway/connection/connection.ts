/**
 * One connection, from open to close: dispatches its requests, and ends it.
 *
 * Owns its end and the close code. It knows its socket only as gateway/connection/socket.ts, and has no timer: the
 * heartbeat and the sweep of the node call it. Its parts: inbox.ts (frames in), outbox.ts (frames out), session.ts
 * (identity), memberships.ts (rooms), requests.ts (operations).
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import type { FrameId, Position } from '../../shared/protocol.ts';
import type { Identity } from '../auth/grants.ts';
import { type Client, may } from '../operations/caller.ts';
import type { Condition } from '../operations/local-node.ts';
import type { Refusal } from '../operations/refusal.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Reply } from '../protocol/reply.ts';
import type { Rejected, Request, RoomRequest, SubscribeRequest } from '../protocol/request.ts';
import type { Buffered } from '../rooms/backpressure.ts';
import type { Topics } from '../rooms/fanout.ts';
import type { Room } from '../rooms/hub.ts';
import { Inbox, type InboxOwner } from './inbox.ts';
import { Liveness } from './liveness.ts';
import { Memberships, type MembershipsOwner } from './membership/memberships.ts';
import { Outbox, type OutboxOwner } from './outbox.ts';
import type { ConnectionParts } from './parts.ts';
import { perform } from './requests.ts';
import { Session, type SessionOwner } from './session.ts';
import type { Socket } from './socket.ts';

/** After `close` the peer has this long to read its buffer and the close frame. Then the socket is destroyed. */
const closingMs = 10_000;

export class Connection implements InboxOwner, OutboxOwner, Buffered, MembershipsOwner, Client, SessionOwner {
  readonly dialect: Dialect;
  /** Kept for gateway/connection/connections.ts. */
  heartbeatSlot = 0;
  readonly number: number;
  readonly #parts: ConnectionParts;
  readonly #socket: Socket;
  readonly #session: Session;
  readonly memberships: Memberships;
  readonly inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #liveness = new Liveness(performance.now());
  /** It obeys no more requests and is in no room. Its socket may still hold bytes that the peer has not read. */
  #closing = false;
  /** Set if the gateway closed it. */
  #closeCode: CloseCode | undefined;
  #destroyAt = Number.POSITIVE_INFINITY;
  #socketClosed = false;

  /** `number` is unique on this node. */
  constructor(number: number, socket: Socket, dialect: Dialect, parts: ConnectionParts) {
    this.dialect = dialect;
    this.number = number;
    this.#socket = socket;
    this.#parts = parts;
    this.#session = new Session(this, parts);
    this.memberships = new Memberships(this, parts);
    this.inbox = new Inbox(this, parts);
    this.#outbox = new Outbox(this, socket, parts.backpressure);
  }

  /** Built on demand, to save memory: most connections need it only for `welcome`. */
  get id(): string {
    return `${this.#parts.instance}-${this.number}`;
  }

  get address(): string {
    return this.#socket.address;
  }

  get identity(): Identity | undefined {
    return this.#session.identity;
  }

  get live(): boolean {
    return !this.#outbox.stalled && !this.#closing;
  }

  get closing(): boolean {
    return this.#closing;
  }

  get authenticating(): boolean {
    return this.#session.pending;
  }

  isMember(room: string): boolean {
    return this.memberships.has(room);
  }

  /** For the operator. Not for a connection that is closing. */
  get condition(): Condition {
    return {
      address: this.address,
      rooms: this.memberships.size,
      bufferedBytes: this.bufferedBytes(),
      ...this.#liveness.forOperator,
    };
  }

  /** Undefined unless the gateway closed it. */
  get closeCode(): CloseCode | undefined {
    return this.#closeCode;
  }

  // Called by the transport

  /** To be called first, after the handshake. `token`: the one in the handshake, if any. */
  open(token: string | undefined): void {
    this.#session.begin(token);
  }

  /** One whole message of the client. The bytes are only used during the call. */
  receive(message: ArrayBuffer): void {
    const now = performance.now();
    this.#parts.freeze.check(now);
    this.#liveness.sentFrame(now);
    if (this.#closing || this.#closeIfExpired()) return;
    this.inbox.take(message, now);
  }

  /** A request that the transport makes for a client, right after `open`. */
  request(request: Request): void {
    if (!this.#closing) this.inbox.accept(request, performance.now());
  }

  /** A WebSocket ping or pong frame (RFC 6455 section 5.5); the server has answered it. */
  receiveControl(): void {
    if (!this.inbox.takeControl(performance.now())) this.close(closeCode.rateLimited);
  }

  /** The socket has written some of its buffer. */
  drained(): void {
    this.#liveness.hasRead(performance.now());
    if (this.#closing) this.#endIfRead();
    else if (this.#outbox.drained()) this.memberships.drained();
  }

  /** The socket is closed, by either side. */
  socketClosed(): void {
    this.#socketClosed = true;
    if (!this.#closing) this.#leave();
  }

  /**
   * Leaves all rooms at once. The close frame follows when the peer has read its buffer; until then the buffer counts
   * towards the total limit. After `closingMs` the socket is destroyed. The library alone would keep socket and buffer
   * for 16 s or more, uncounted.
   */
  close(code: CloseCode): void {
    if (this.#closing) return;
    this.#parts.log.debug({ connection: this.id, code }, 'closing a connection');
    this.#parts.events.connectionClosed(code);
    this.#closeCode = code;
    // Messages fanned out earlier in this turn still belong to the peer.
    if (this.memberships.size > 0) this.flush();
    this.#leave();
    this.#destroyAt = performance.now() + closingMs;
    this.#endIfRead();
  }

  #leave(): void {
    this.#closing = true;
    this.inbox.end();
    this.memberships.leaveAll(this.#closeCode === closeCode.normal);
    const user = this.#session.end();
    if (user !== null) this.#parts.users.remove(user, this);
  }

  #endIfRead(): void {
    if (this.#closeCode === undefined || this.#socketClosed || this.bufferedBytes() > 0) return;
    this.#outbox.end(this.#closeCode);
  }

  /** The node drains. A client without `welcome` has no state to move, so its connection is closed. */
  askToMove(): void {
    if (this.identity === undefined) this.close(closeCode.draining);
    else this.reply({ type: 'reconnect', afterMs: 0, reason: 'draining' });
  }

  /** A fault of the gateway in a request of this connection: closes the connection, never ends the process. */
  fail(error: unknown): void {
    this.#parts.faults.report('a handler failed', error, { connection: this.id });
    this.close(closeCode.internalError);
  }

  // Heartbeats and deadlines

  /** Sends a ping, unless the last one has no pong yet. */
  ping(now: number): void {
    if (!this.#closing && this.#outbox.pings && this.#liveness.startPing(now)) this.#outbox.ping(String(now));
  }

  /** See gateway/connection/liveness.ts. */
  ponged(payload: string, now: number, byPeer = true): number | undefined {
    return this.#liveness.ponged(payload, now, byPeer);
  }

  missesPong(now: number, timeoutMs: number): boolean {
    return !this.#closing && this.#liveness.missesPong(now, timeoutMs);
  }

  /** Closes it if a deadline has passed: token, `auth` or the answer to it, silence, reading the close frame. `time`: Unix ms. */
  checkDeadlines(now: number, time: number): void {
    const { config, events } = this.#parts;
    if (this.#closing) {
      if (now >= this.#destroyAt) this.#socket.destroy();
      return;
    }
    if (this.#closeIfExpired(time)) return;
    if (this.identity === undefined && now - this.#liveness.openedAt >= config.authTimeoutMs) {
      this.close(this.authenticating ? closeCode.internalError : closeCode.authTimeout);
    } else if (this.#liveness.isSilent(now, config.clientTimeoutMs)) {
      events.heartbeatTimedOut();
      this.close(closeCode.heartbeatTimeout);
    }
  }

  #closeIfExpired(time = Date.now()): boolean {
    if (time < this.#session.expiresAt) return false;
    this.close(closeCode.tokenExpired);
    return true;
  }

  // Requests

  handle(request: Request | Rejected): void {
    if (this.#closing || this.#closeIfExpired()) return;
    if (request.type === 'rejected' && this.inbox.rejects(request)) return;
    this.inbox.wellFormed();
    const { id } = request;
    if (request.type === 'ping') {
      this.#liveness.sentPing();
      this.reply({ type: 'pong', id });
    } else if (request.type === 'auth') this.#session.take(request);
    else if (this.identity === undefined) {
      if (this.dialect.opensByRequest === true) this.close(closeCode.protocolError);
      else this.reply({ type: 'error', id, code: 'unauthorized', message: 'Send auth with a token first.' });
    } else if (request.type === 'pong') this.inbox.pong(this.#liveness.pongedLast(performance.now()));
    else if (request.type === 'rejected') {
      this.reply({ type: 'error', id, code: request.code, message: request.message });
    } else this.#handleInRoom(request);
  }

  #handleInRoom(request: RoomRequest): void {
    if (this.inbox.waitsForRoom(request)) return;
    if (request.type === 'subscribe') this.#subscribe(request);
    else if (request.type === 'unsubscribe' || request.type === 'renew') this.memberships.change(request);
    else perform(request, this, this.#parts);
  }

  #subscribe(request: SubscribeRequest): void {
    const retryAfterMs = this.#socket.overRate?.(this.identity?.user ?? null) ?? 0;
    if (retryAfterMs === 0) this.memberships.subscribe(request);
    else this.inbox.overRate(request.id, 'requests', retryAfterMs);
  }

  // Called by the session

  welcomed({ user }: Identity): void {
    if (user !== null) this.#parts.users.add(user, this)?.close(closeCode.connectionLimit);
    this.memberships.userChanged();
  }

  refreshed(): void {
    this.memberships.revoke();
    this.memberships.reenter();
  }

  verificationEnded(): void {
    this.inbox.releaseWaiting();
  }

  rulesReplaced(): void {
    this.memberships.revoke();
  }

  // Frames out

  reply(reply: Reply): void {
    if (this.#closing) return;
    if (reply.type === 'gap' && this.dialect.gapEndsMembership === true) this.memberships.endByGap(reply);
    else this.send(this.dialect.encode(reply));
  }

  refuse(id: FrameId | undefined, { code, finer, message }: Refusal): void {
    this.reply({ type: 'error', id, code, finer, message });
  }

  message(frame: Uint8Array, position: Position | undefined): void {
    if (!this.#closing) this.#outbox.send(this.dialect.message(frame, position), true);
  }

  send(frame: Frame): void {
    if (!this.#closing && frame.length > 0) this.#outbox.send(frame, false);
  }

  sendUnchecked(frame: Frame): void {
    if (!this.#closing) this.#socket.send(frame, false);
  }

  takes(bytes: number): boolean {
    return this.live && this.#outbox.takes(bytes) && this.live;
  }

  maySubscribe(room: string): boolean {
    return may(this.#parts.access, this, 'subscribe', room) !== 'refused';
  }

  get topics(): Topics | undefined {
    return this.#socket.topics;
  }

  listen(room: Room): void {
    this.#parts.fanout.enter(room, this);
  }

  unlisten(room: Room): void {
    this.#parts.fanout.leave(room, this, this.#socketClosed);
  }

  bufferedBytes(): number {
    return this.#socket.bufferedBytes();
  }

  /** Any frame to the socket flushes the frames fanned out before it. An empty ping is the smallest. */
  flush(): void {
    this.#socket.ping('');
  }

  stall(): void {
    if (!this.live) return;
    if (this.memberships.closesSlow) {
      this.close(closeCode.slowConsumer);
      return;
    }
    this.#outbox.stalled = true;
    this.memberships.stall();
    this.#parts.log.debug({ connection: this.id }, 'stalled a slow reader');
  }

  evict(): void {
    if (this.#socketClosed) return;
    // It was closed before, and its peer has not read the buffer since.
    if (this.#closing) this.#socket.destroy();
    else this.close(closeCode.slowConsumer);
  }
}
