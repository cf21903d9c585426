/**
 * One connection, from open to close: what its requests do, what goes out, and its end.
 *
 * Owns its end and the close code. It knows a socket only by gateway/connection/socket.ts, and has no timer: heartbeats and a
 * sweep come by. What comes in: inbox.ts. What goes out: outbox.ts. Who it speaks for: session.ts. Its rooms: memberships.ts.
 * What it asks for: requests.ts.
 */
import { type CloseCode, closeCode, closeReason } from '../../shared/codes.ts';
import type { FrameId } from '../../shared/protocol.ts';
import type { Identity } from '../auth/grants.ts';
import { type Client, may } from '../operations/caller.ts';
import type { Refusal } from '../operations/refusal.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Reply } from '../protocol/reply.ts';
import type { Rejected, Request, RoomRequest } from '../protocol/request.ts';
import type { Buffered } from '../rooms/backpressure.ts';
import { presenceTopic, type Topics } from '../rooms/fanout.ts';
import type { Room } from '../rooms/hub.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';
import { Inbox, type InboxOwner } from './inbox.ts';
import { Liveness } from './liveness.ts';
import { Memberships, type MembershipsOwner } from './memberships.ts';
import { Outbox, type OutboxOwner } from './outbox.ts';
import type { ConnectionParts } from './parts.ts';
import { perform } from './requests.ts';
import { Session, type SessionOwner } from './session.ts';
import type { Socket } from './socket.ts';

/** A peer has this long to read what is buffered when its connection is closed, and the close frame; then it is cut. */
const closingMs = 10_000;

export class Connection implements InboxOwner, OutboxOwner, Buffered, MembershipsOwner, Client, SessionOwner {
  readonly dialect: Dialect;
  /** Kept for gateway/connection/connections.ts. */
  heartbeatSlot = 0;
  readonly #number: number;
  readonly #parts: ConnectionParts;
  readonly #socket: Socket;
  readonly #session: Session;
  readonly #memberships: Memberships;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #openedAt = performance.now();
  readonly #liveness = new Liveness(this.#openedAt);
  publishesUnderWay = 0;
  /** It takes nothing any more and is in no room; its socket may still hold what its peer has not read. */
  #closing = false;
  /** Once we decided to close it. */
  #closeCode: CloseCode | undefined;
  #destroyAt = Number.POSITIVE_INFINITY;
  #socketClosed = false;

  /** `number` is its own on this node. */
  constructor(number: number, socket: Socket, dialect: Dialect, parts: ConnectionParts) {
    this.dialect = dialect;
    this.#number = number;
    this.#socket = socket;
    this.#parts = parts;
    this.#session = new Session(this, parts);
    this.#memberships = new Memberships(this, parts);
    this.#inbox = new Inbox(this, parts.config);
    this.#outbox = new Outbox(this, socket, parts.backpressure);
  }

  /** Put together when asked for: most connections never are again after `welcome`. */
  get id(): string {
    return `${this.#parts.instance}-${this.#number}`;
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

  /** The rules by which rooms of this connection are off the live path now. */
  slowPolicies(): ReadonlySet<SlowPolicy> {
    return this.#memberships.slowPolicies();
  }

  isMember(room: string): boolean {
    return this.#memberships.has(room);
  }

  /** Why we closed it, if we did. */
  get closeCode(): CloseCode | undefined {
    return this.#closeCode;
  }

  // What the transport reports

  /** The first thing after the handshake. `token` is what came with it. */
  open(token: string | undefined): void {
    this.#session.begin(token);
  }

  /** One message of the client, whole. The bytes are only used during the call. */
  receive(message: ArrayBuffer): void {
    const now = performance.now();
    this.#parts.freeze.check(now);
    this.#liveness.sentFrame(now);
    if (this.#closing || this.#closeIfExpired()) return;
    this.#inbox.take(message, now);
  }

  /** A WebSocket ping or pong frame (RFC 6455 section 5.5); the server has answered it. */
  receiveControl(): void {
    if (!this.#inbox.takeControl(performance.now())) this.close(closeCode.rateLimited);
  }

  /** The socket wrote some of what was buffered. */
  drained(): void {
    this.#liveness.hasRead(performance.now());
    if (this.#closing) this.#endIfRead();
    else if (this.#outbox.drained()) this.#memberships.drained();
  }

  /** The socket is gone, by whichever side. */
  socketClosed(): void {
    this.#socketClosed = true;
    if (!this.#closing) this.#leave();
  }

  /**
   * Leaves everything at once. The close frame follows when the peer has read what is buffered; until then the buffer is
   * ours to count, and a peer that does not read is cut. The library itself would keep both for 16 s or more, uncounted.
   */
  close(code: CloseCode): void {
    if (this.#closing) return;
    this.#parts.log.debug({ connection: this.id, code }, 'closing a connection');
    this.#parts.events.connectionClosed(code);
    this.#closeCode = code;
    // What was fanned out in this turn is still the peer's.
    if (this.#memberships.size > 0) this.flush();
    this.#leave();
    this.#destroyAt = performance.now() + closingMs;
    this.#endIfRead();
  }

  #leave(): void {
    this.#closing = true;
    this.#memberships.leaveAll();
    const user = this.#session.end();
    if (user !== null) this.#parts.users.remove(user, this);
  }

  #endIfRead(): void {
    if (this.#closeCode === undefined || this.#socketClosed || this.bufferedBytes() > 0) return;
    this.#socket.end(this.#closeCode, closeReason[this.#closeCode]);
  }

  /** The node drains. A client that is not welcomed yet has nothing to take along. */
  askToMove(): void {
    if (this.identity === undefined) this.close(closeCode.draining);
    else this.reply({ type: 'reconnect', afterMs: 0, reason: 'draining' });
  }

  /** A fault of the gateway in something this connection asked for: it costs the connection, never the process. */
  fail(error: unknown): void {
    this.#parts.faults.report('a handler failed', error, { connection: this.id });
    this.close(closeCode.internalError);
  }

  // Heartbeats and deadlines

  /** Sends a WebSocket ping, unless one is not answered yet. */
  ping(now: number): void {
    if (!this.#closing && this.#liveness.startPing(now)) this.#socket.ping(String(now));
  }

  /** Returns the round trip in ms if this answers the ping that is under way. */
  ponged(payload: string, now: number): number | undefined {
    return this.#liveness.ponged(payload, now);
  }

  missesPong(now: number, timeoutMs: number): boolean {
    return !this.#closing && this.#liveness.missesPong(now, timeoutMs);
  }

  /** Closes it if its time for something is over. `time` is Unix ms. */
  checkDeadlines(now: number, time: number): void {
    const { config, events } = this.#parts;
    if (this.#closing) {
      if (now >= this.#destroyAt) this.#socket.destroy();
      return;
    }
    if (this.#closeIfExpired(time)) return;
    if (this.identity === undefined && now - this.#openedAt >= config.authTimeoutMs) {
      this.close(closeCode.authTimeout);
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

  release(request: RoomRequest): void {
    this.#inbox.release(request);
  }

  handle(request: Request | Rejected): void {
    if (this.#closing || this.#closeIfExpired()) return;
    if (request.type === 'rejected' && request.code === 'bad_request') {
      this.#inbox.malformed(request);
      return;
    }
    this.#inbox.wellFormed();
    const { id } = request;
    if (request.type === 'ping') {
      this.#liveness.sentPing();
      this.reply({ type: 'pong', id });
    } else if (request.type === 'auth') {
      this.#session.authenticate(request.token, id, false);
    } else if (this.identity === undefined) {
      this.reply({ type: 'error', id, code: 'unauthorized', message: 'Send auth with a token first.' });
    } else if (request.type === 'rejected') {
      this.reply({ type: 'error', id, code: request.code, message: request.message });
    } else this.#handleInRoom(request);
  }

  #handleInRoom(request: RoomRequest): void {
    if (this.#memberships.isJoining(request.room)) {
      if (this.#inbox.mayWait(request)) this.#memberships.enqueue(request);
    } else if (request.type === 'subscribe') {
      this.#memberships.subscribe(request);
    } else if (request.type === 'unsubscribe') {
      this.#memberships.unsubscribe(request.id, request.room);
    } else perform(request, this, this.#parts);
  }

  /** Takes it out of a room, by an operator's order. False if it is no member. */
  expel(room: string): boolean {
    return this.#memberships.expel(room);
  }

  // What the session reports

  welcomed({ user }: Identity): void {
    if (user !== null) this.#parts.users.add(user, this)?.close(closeCode.connectionLimit);
    this.#memberships.reenter();
  }

  refreshed(): void {
    this.#memberships.revoke();
    this.#memberships.reenter();
  }

  verificationEnded(): void {
    this.#inbox.releaseWaiting();
  }

  /** From now on other room rules hold. */
  rulesReplaced(): void {
    this.#memberships.revoke();
  }

  // Out

  reply(reply: Reply): void {
    if (!this.#closing) this.send(this.dialect.encode(reply));
  }

  refuse(id: FrameId | undefined, { code, message }: Refusal): void {
    this.reply({ type: 'error', id, code, message });
  }

  message(frame: Uint8Array): void {
    this.send(this.dialect.message(frame));
  }

  send(frame: Frame): void {
    if (!this.#closing) this.#outbox.send(frame);
  }

  sendUnchecked(frame: Frame): void {
    if (!this.#closing) this.#socket.send(frame);
  }

  takes(bytes: number): boolean {
    return this.live && this.#outbox.takes(bytes) && this.live;
  }

  maySubscribe(room: string): boolean {
    return may(this.#parts.access, this, 'subscribe', room);
  }

  get topics(): Topics | undefined {
    return this.#socket.topics;
  }

  listen({ name, joinLeave }: Room): void {
    this.#parts.fanout.listen(name, this);
    if (joinLeave) this.#parts.fanout.listen(presenceTopic(name), this);
  }

  unlisten({ name, joinLeave }: Room): void {
    this.#parts.fanout.unlisten(name, this, this.#socketClosed);
    if (joinLeave) this.#parts.fanout.unlisten(presenceTopic(name), this, this.#socketClosed);
  }

  bufferedBytes(): number {
    return this.#socket.bufferedBytes();
  }

  /** Any frame takes along what was fanned out before it; an empty ping is the smallest. */
  flush(): void {
    this.#socket.ping('');
  }

  stall(): void {
    if (!this.live) return;
    if (this.#memberships.closesSlow) {
      this.close(closeCode.slowConsumer);
      return;
    }
    this.#outbox.stalled = true;
    this.#memberships.stall();
    this.#parts.log.debug({ connection: this.id }, 'a slow reader was put aside');
  }

  evict(): void {
    if (this.#socketClosed) return;
    // It was closed before, and has not read since.
    if (this.#closing) this.#socket.destroy();
    else this.close(closeCode.slowConsumer);
  }
}
