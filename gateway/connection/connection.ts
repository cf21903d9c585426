/**
 * One connection, from open to close: what its frames do, what goes out, and its end.
 *
 * Owns the outgoing buffer and the close code. It knows a socket only by gateway/connection/socket.ts, and has no timer of
 * its own: heartbeats and a sweep come by. What comes in, and in which order: gateway/connection/inbox.ts. Who it speaks for:
 * gateway/connection/session.ts. Its rooms: gateway/connection/memberships.ts.
 */
import { type CloseCode, closeCode, closeReason } from '../../shared/codes.ts';
import type { Identity } from '../auth/grants.ts';
import { failure, pong, reconnect } from '../protocol/answers.ts';
import type { Frame, Refused } from '../protocol/frame.ts';
import type { Reader } from '../rooms/backpressure.ts';
import type { Room } from '../rooms/hub.ts';
import { presenceTopic } from '../rooms/presence.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';
import { Inbox, type InboxOwner } from './inbox.ts';
import { Liveness } from './liveness.ts';
import type { RoomFrame } from './membership.ts';
import { type Member, Memberships } from './memberships.ts';
import type { Node } from './node.ts';
import { type Asker, request } from './requests.ts';
import { Session, type SessionOwner } from './session.ts';
import type { Socket } from './socket.ts';

/** A peer has this long to read what is buffered when its connection is closed, and the close frame; then it is cut. */
const closingMs = 10_000;

export class Connection implements InboxOwner, Reader, Member, Asker, SessionOwner {
  readonly #number: number;
  readonly #node: Node;
  readonly #socket: Socket;
  readonly #session: Session;
  readonly #memberships: Memberships;
  readonly #inbox: Inbox;
  readonly #openedAt = performance.now();
  readonly #liveness = new Liveness(this.#openedAt);
  publishesUnderWay = 0;
  #stalled = false;
  /** It takes no more history for now. */
  #full = false;
  /** It takes nothing any more and is in no room; its socket may still hold what its peer has not read. */
  #closed = false;
  /** Once we decided to close it. */
  #closeCode: CloseCode | undefined;
  #cutAt = Number.POSITIVE_INFINITY;
  #socketGone = false;

  /** `number` is its own on this node. */
  constructor(number: number, socket: Socket, node: Node) {
    this.#number = number;
    this.#socket = socket;
    this.#node = node;
    this.#session = new Session(this, node);
    this.#memberships = new Memberships(this, node);
    this.#inbox = new Inbox(this, node.config);
  }

  /** Put together when asked for: most connections never are again after `welcome`. */
  get id(): string {
    return `${this.#node.instance}-${this.#number}`;
  }

  get identity(): Identity | undefined {
    return this.#session.identity;
  }

  get live(): boolean {
    return !this.#stalled && !this.#closed;
  }

  get closing(): boolean {
    return this.#closed;
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

  // What the server reports

  /** The first thing after the handshake. `token` is what came with it. */
  open(token: string | undefined): void {
    this.#session.begin(token);
  }

  /** A whole text message of so many bytes. */
  receive(text: string, bytes: number): void {
    const now = performance.now();
    this.#node.freeze.look(now);
    this.#liveness.sentFrame(now);
    if (this.#closed || this.#closeIfExpired()) return;
    this.#inbox.take(text, bytes, now);
  }

  /** A WebSocket ping or pong frame (RFC 6455 section 5.5); the server has answered it. */
  receiveControl(): void {
    if (!this.#inbox.takeControl(performance.now())) this.close(closeCode.rateLimited);
  }

  /** The socket wrote some of what was buffered. */
  drained(): void {
    this.#liveness.hasRead(performance.now());
    if (this.#closed) this.#endIfRead();
    if (this.#closed || !(this.#stalled || this.#full)) return;
    const { resumeBytes } = this.#node.backpressure;
    // Who is full has live messages: to wait longer costs it nothing, and saves reads.
    if (this.bufferedBytes() > (this.#stalled ? resumeBytes : resumeBytes / 2)) return;
    this.#stalled = false;
    this.#full = false;
    this.#memberships.goOn();
  }

  /** The socket is gone, by whichever side. */
  closed(): void {
    this.#socketGone = true;
    if (!this.#closed) this.#leave();
  }

  /**
   * Leaves everything at once. The close frame follows when the peer has read what is buffered; until then the buffer is
   * ours to count, and a peer that does not read is cut. The library itself would keep both for 16 s or more, uncounted.
   */
  close(code: CloseCode): void {
    if (this.#closed) return;
    this.#node.log.debug({ connection: this.id, code }, 'closing a connection');
    this.#node.events.connectionClosed(code);
    this.#closeCode = code;
    // What was fanned out in this turn is still the peer's.
    if (this.#memberships.size > 0) this.flush();
    this.#leave();
    this.#cutAt = performance.now() + closingMs;
    this.#endIfRead();
  }

  #leave(): void {
    this.#closed = true;
    this.#memberships.leaveAll();
    const user = this.#session.end();
    if (user !== null) this.#node.users.remove(user, this);
  }

  #endIfRead(): void {
    if (this.#closeCode === undefined || this.#socketGone || this.bufferedBytes() > 0) return;
    this.#socket.end(this.#closeCode, closeReason[this.#closeCode]);
  }

  /** The node drains. A client that is not welcomed yet has nothing to take along. */
  askToMove(): void {
    if (this.identity === undefined) this.close(closeCode.draining);
    else this.send(reconnect('draining', 0));
  }

  /** A fault of the gateway in something this connection asked for: it costs the connection, never the process. */
  fail(error: unknown): void {
    this.#node.faults.report('a handler failed', error, { connection: this.id });
    this.close(closeCode.internalError);
  }

  // Heartbeats and deadlines

  /** Sends a WebSocket ping, unless one is not answered yet. */
  ping(now: number): void {
    if (!this.#closed && this.#liveness.mayPing(now)) this.#socket.ping(String(now));
  }

  /** Returns the round trip in ms if this answers the ping that is under way. */
  ponged(payload: string, now: number): number | undefined {
    return this.#liveness.ponged(payload, now);
  }

  missesPong(now: number, timeoutMs: number): boolean {
    return !this.#closed && this.#liveness.missesPong(now, timeoutMs);
  }

  /** Closes it if its time for something is over. `time` is Unix ms. */
  checkDeadlines(now: number, time: number): void {
    const { config, events } = this.#node;
    if (this.#closed) {
      if (now >= this.#cutAt) this.#socket.cut();
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

  // Frames

  /** Takes up a frame that had to wait. */
  resume(frame: Frame): void {
    this.#inbox.resume(frame);
  }

  handle(frame: Frame | Refused): void {
    if (this.#closed || this.#closeIfExpired()) return;
    if (frame.type === 'refused' && frame.code === 'bad_request') {
      this.#inbox.refuseMalformed(frame);
      return;
    }
    this.#inbox.wellFormed();
    if (frame.type === 'ping') {
      this.#liveness.sendsPings();
      this.send(pong(frame.id));
    } else if (frame.type === 'auth') {
      this.#session.authenticate(frame.token, frame.id, false);
    } else if (this.identity === undefined) {
      this.send(failure(frame.id, 'unauthorized', 'Send auth with a token first.'));
    } else if (frame.type === 'refused') {
      this.send(failure(frame.id, frame.code, frame.message));
    } else this.#handleInRoom(frame, this.identity);
  }

  #handleInRoom(frame: RoomFrame, identity: Identity): void {
    if (this.#memberships.isJoining(frame.room)) {
      if (this.#inbox.mayWait(frame)) this.#memberships.hold(frame);
    } else if (frame.type === 'subscribe') {
      this.#memberships.subscribe(frame);
    } else if (frame.type === 'unsubscribe') {
      this.#memberships.unsubscribe(frame.id, frame.room);
    } else request(frame, identity, this, this.#node);
  }

  // What the session reports

  welcomed({ user }: Identity): void {
    if (user !== null) this.#node.users.add(user, this)?.close(closeCode.connectionLimit);
    this.#memberships.reenter();
  }

  refreshed(): void {
    this.#memberships.revoke();
    this.#memberships.reenter();
  }

  settled(): void {
    this.#inbox.goOn();
  }

  /** From now on other room rules hold. */
  rulesReplaced(): void {
    this.#memberships.revoke();
  }

  // Out

  /** Sends a finished frame. Over the soft limit the reader is put aside; over the hard one it is closed. */
  send(frame: string | Uint8Array): void {
    if (this.#closed) return;
    this.#socket.send(frame);
    const buffered = this.#socket.bufferedBytes();
    const { hardBytes, softBytes } = this.#node.backpressure;
    if (buffered > hardBytes) this.close(closeCode.slowConsumer);
    else if (buffered > softBytes) this.stall();
  }

  takes(bytes: number): boolean {
    if (!this.live) return false;
    const { backpressure } = this.#node;
    const buffered = this.#socket.bufferedBytes();
    if (buffered > 0 && buffered + bytes > backpressure.feedBytes) {
      this.#full = true;
      return false;
    }
    backpressure.handedOver(bytes);
    return this.live;
  }

  maySubscribe(room: string): boolean {
    const { identity } = this;
    return identity !== undefined && this.#node.access.allows(identity, 'subscribe', room);
  }

  listen({ name, tells }: Room): void {
    this.#socket.listen(name);
    if (tells) this.#socket.listen(presenceTopic(name));
  }

  unlisten({ name, tells }: Room): void {
    // The server forgets with the socket what it listened to.
    if (this.#socketGone) return;
    this.#socket.unlisten(name);
    if (tells) this.#socket.unlisten(presenceTopic(name));
  }

  /** Leaves out join and leave frames of the room until `hearPresence`. False if it gets none now, being aside. */
  skipPresence(room: string): boolean {
    if (this.#closed || !this.#socket.listensTo(presenceTopic(room))) return false;
    this.#socket.unlisten(presenceTopic(room));
    return true;
  }

  hearPresence(room: string): void {
    this.#socket.listen(presenceTopic(room));
  }

  bufferedBytes(): number {
    return this.#socket.bufferedBytes();
  }

  /** Any frame takes along what was fanned out before it; an empty ping is the smallest. */
  flush(): void {
    this.#socket.ping('');
  }

  stall(): void {
    if (this.#stalled || this.#closed) return;
    if (this.#memberships.closesSlow) {
      this.close(closeCode.slowConsumer);
      return;
    }
    this.#stalled = true;
    this.#memberships.putAside();
    this.#node.log.debug({ connection: this.id }, 'a slow reader was put aside');
  }

  shed(): void {
    if (this.#socketGone) return;
    // It was closed before, and has not read since.
    if (this.#closed) this.#socket.cut();
    else this.close(closeCode.slowConsumer);
  }
}
