/**
 * A client as a whole: the connections that are open, the rooms, and when to connect again.
 *
 * Owns the list of open connections: one, or two while the client moves to another node. The newest one publishes and joins;
 * an older one is closed when every room has moved. What a message means to a room is in subscription.ts.
 */
import type { GatewayFrame, MessageFrame, Position, SubscribedFrame } from '../../protocol.ts';
import { connectionLimit, isFinal, tokenExpired } from '../connection/backoff.ts';
import type { Connection, End, Open } from '../connection/connection.ts';
import { Dialer } from '../connection/dialer.ts';
import { watchPage } from '../connection/page.ts';
import { Renewal, type Tokens } from '../connection/token.ts';
import { Emitter } from '../emitter.ts';
import { RoomcastError } from '../error.ts';
import { Joins } from './joins.ts';
import { membersOf, Requests } from './requests.ts';
import { Subscription } from './subscription.ts';

/** `waiting`: for the next attempt to connect. `closed`: for good. */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed';

export interface SessionEvents {
  state: ClientState;
  error: Error;
  /** The backend has made this client a member of a room. */
  subscribed: Subscription;
}

/** What belongs to one open connection. */
interface Live {
  readonly joins: Joins;
  readonly renewal: Renewal;
}

/** A connection that lasted this long was stable: the backoff begins anew. */
const stableMs = 10_000;
/** How long both connections are heard in a plain room, after the last `ok` (docs/protocol.md). */
const overlapMs = 1_000;

export class Session {
  readonly events = new Emitter<SessionEvents>();
  readonly requests: Requests;
  state: ClientState = 'connecting';
  readonly #rooms = new Map<string, Subscription>();
  readonly #tokens: Tokens;
  readonly #dialer: Dialer;
  /** The newest is the last. */
  readonly #live = new Map<Connection, Live>();
  readonly #unwatchPage: () => void;
  #overlap: ReturnType<typeof setTimeout> | undefined;

  constructor(open: Open, tokens: Tokens, maxRequests: number) {
    this.#tokens = tokens;
    this.requests = new Requests(maxRequests);
    this.#dialer = new Dialer(open, tokens, {
      changed: () => this.#tell(),
      welcomed: (connection) => this.#connected(connection),
      refused: (end) => this.#finish(end),
      failed: (error) => this.#failed(error),
      frame: (connection, frame) => this.#take(connection, frame),
      ended: (connection, end) => this.#ended(connection, end),
    });
    this.#unwatchPage = watchPage(
      () => {
        for (const connection of this.#connections()) connection.probe();
      },
      () => this.#dialer.hurry(),
    );
    this.#dialer.move(0);
  }

  get newest(): Connection | undefined {
    return this.#connections().at(-1);
  }

  /** The room of this name; `since` counts if it is new. */
  room(name: string, since?: Position): Subscription {
    const known = this.#rooms.get(name);
    if (known !== undefined) return known;
    const room = new Subscription(name, since, () => this.#settle());
    room.events.on('state', ({ state }) => {
      if (state === 'joined') this.requests.flush();
    });
    this.#rooms.set(name, room);
    return room;
  }

  /** Resolves when it is in the room, after as many connections as it takes. */
  async subscribe(room: Subscription): Promise<void> {
    if (this.state === 'closed') throw new RoomcastError('closed', 'the client is closed');
    if ((this.#rooms.get(room.name) ?? room) !== room) {
      throw new RoomcastError('bad_request', 'left: ask client.room() again');
    }
    this.#rooms.set(room.name, room);
    const isNew = !room.isWanted;
    const joining = room.joining();
    if (isNew) this.#live.get(this.newest as Connection)?.joins.add(room);
    return joining;
  }

  /** Resolves when the gateway has answered; no frame of the room counts from now on. */
  async unsubscribe(room: Subscription): Promise<void> {
    room.left();
    if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name);
    await Promise.all(this.#connections().map((connection) => this.#leave(connection, room)));
  }

  #leave(connection: Connection, room: Subscription): Promise<void> {
    const members = membersOf({ type: 'unsubscribe', room: room.name });
    return new Promise((resolve) => {
      const ask = () => {
        // It has been entered again meanwhile.
        if (this.#rooms.get(room.name)?.isWanted) resolve();
        else
          connection.ask(members, (answer) => {
            if (answer?.type !== 'error' || answer.code === 'bad_request') resolve();
            else setTimeout(ask, answer.retryAfterMs ?? overlapMs);
          });
      };
      ask();
    });
  }

  /** Ends it for good. Whatever waits is rejected. */
  async close(): Promise<void> {
    await this.#stop(new RoomcastError('closed', 'the client is closed'));
  }

  #connections(): Connection[] {
    return [...this.#live.keys()];
  }

  #connected(connection: Connection): void {
    const joins = new Joins(connection, () => this.#settle());
    // An answer that is still on its way there comes too late: this connection joins all rooms.
    for (const older of this.#live.values()) older.joins.stop();
    this.#live.set(connection, {
      joins,
      renewal: new Renewal(connection, this.#tokens, (error) => this.#failed(error)),
    });
    clearTimeout(this.#overlap);
    this.#overlap = undefined;
    this.#tell();
    for (const room of this.#rooms.values()) if (room.isWanted) joins.add(room);
    this.#settle();
    this.requests.flush();
  }

  #take(connection: Connection, frame: GatewayFrame): void {
    if (!this.#live.has(connection)) return;
    if (frame.type === 'reconnect') this.#asked(connection, frame.afterMs);
    else if (frame.type === 'subscribed') this.#subscribed(connection, frame);
    else if (frame.type === 'unsubscribed') {
      const room = this.#rooms.get(frame.room);
      if (room?.unsubscribed(connection, frame.reason)) this.#live.get(connection)?.joins.add(room);
    } else {
      // Of a room, or of a type that this version does not know.
      this.#rooms.get((frame as MessageFrame).room)?.take(connection, frame as MessageFrame);
    }
  }

  #subscribed(connection: Connection, frame: SubscribedFrame): void {
    const room = this.room(frame.room);
    if (room.lead === this.newest) return;
    const isNew = !room.isWanted;
    room.joined(connection, frame);
    if (connection !== this.newest) this.#live.get(this.newest as Connection)?.joins.add(room);
    if (isNew) this.events.emit('subscribed', room);
  }

  /** The node stops: this connection stays until another one has all rooms. */
  #asked(connection: Connection, afterMs: number): void {
    connection.isLeaving = true;
    if (connection !== this.newest) return;
    this.#judge(connection);
    this.#dialer.move(afterMs);
  }

  #judge(connection: Connection): void {
    if (performance.now() - connection.welcomedAt >= stableMs) this.#dialer.reset();
  }

  /** Closes what is older than the newest connection, once that one has everything. */
  #settle(): void {
    const { newest } = this;
    if (newest === undefined || this.#live.size < 2) return;
    const rooms = [...this.#rooms.values()].filter(({ isWanted }) => isWanted);
    if (rooms.some(({ lead }) => lead && lead !== newest)) return;
    if (rooms.every(({ hasMoved }) => hasMoved)) this.#retireOlder();
    else {
      // In two halves: behind a timer that was held up may stand messages that nobody has read yet.
      this.#overlap ??= setTimeout(() => {
        this.#overlap = setTimeout(() => this.#retireOlder(), overlapMs / 2);
      }, overlapMs / 2);
    }
  }

  #retireOlder(): void {
    clearTimeout(this.#overlap);
    this.#overlap = undefined;
    const { newest } = this;
    for (const connection of this.#connections()) {
      if (connection === newest) continue;
      this.#drop(connection, true);
      void connection.close();
    }
    // What it had not answered goes to the other one.
    this.requests.flush();
  }

  #drop(connection: Connection, isRetired = false): void {
    const live = this.#live.get(connection);
    this.#live.delete(connection);
    live?.joins.stop();
    live?.renewal.stop();
    for (const room of this.#rooms.values()) room.ended(connection, isRetired);
  }

  #ended(connection: Connection, end: End): void {
    if (!this.#live.has(connection)) return;
    this.#judge(connection);
    this.#drop(connection);
    if (end.code === tokenExpired) this.#tokens.drop();
    // A second connection of this user may have replaced this one, and it is our own.
    const isReplaced = end.code === connectionLimit && (this.#live.size > 0 || this.#dialer.state === 'connecting');
    if (isFinal(end.code) && !isReplaced) {
      this.#finish(end);
      return;
    }
    if (this.#connections().every(({ isLeaving }) => isLeaving)) this.#dialer.again(end.code);
    this.#tell();
    this.requests.flush();
  }

  #failed(error: unknown): void {
    this.events.emit('error', error instanceof Error ? error : new Error(String(error)));
  }

  #finish({ code, reason }: End): void {
    const error = new RoomcastError('closed', `the gateway ended the connection: ${code} ${reason}`, undefined, code);
    void this.#stop(error);
    this.events.emit('error', error);
  }

  /** Resolves when the connections are closed. */
  async #stop(error: RoomcastError): Promise<void> {
    if (this.state === 'closed') return;
    this.#become('closed');
    this.#unwatchPage();
    clearTimeout(this.#overlap);
    this.#dialer.stop();
    this.requests.close(error);
    for (const room of this.#rooms.values()) room.left(error);
    await Promise.all(
      this.#connections().map((connection) => {
        this.#drop(connection);
        return connection.close();
      }),
    );
  }

  #tell(): void {
    if (this.state === 'closed') return;
    const trying = this.#dialer.state === 'connecting' ? 'connecting' : 'waiting';
    this.#become(this.#live.size > 0 ? 'open' : trying);
  }

  #become(state: ClientState): void {
    if (this.state === state) return;
    this.state = state;
    this.events.emit('state', state);
  }
}
