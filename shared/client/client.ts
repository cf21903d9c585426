/**
 * `roomcast/client`: rooms over one connection that survives bad networks. For browsers, Node, Deno, Bun and workers; it has
 * no dependencies. docs/client.md is its manual.
 *
 * Owns nothing but the check of what it is given. The way in: client.ts > session.ts > dialer.ts > connection.ts for a
 * connection, session.ts > subscription.ts for what a room tells.
 */
import type { Position } from '../protocol.ts';
import type { Connection, Open } from './connection/connection.ts';
import { type GetToken, isToken, Tokens } from './connection/token.ts';
import { WebSocketConnection, type WebSocketConstructor } from './connection/websocket.ts';
import { type Bounds, Room } from './room.ts';
import { type ClientState, Session } from './session/session.ts';
import type { Subscription } from './session/subscription.ts';

export type { Position } from '../protocol.ts';
export { RoomcastError, type RoomcastErrorCode } from './error.ts';
export type { History, Presence, Published, Room } from './room.ts';
export type { ClientState } from './session/session.ts';
export type { Gap, Message, RoomEvents, RoomState } from './session/subscription.ts';

export interface Options {
  /** A JWT. Without it and without `getToken` the client is anonymous. */
  token?: string;
  /** Called for the first token, if `token` is not given, and before the last one ends. It is retried, never twice at a time. */
  getToken?: GetToken;
  /** Needed where there is no global one: Node 20 has `WebSocket` from the package `ws`. */
  WebSocket?: WebSocketConstructor;
  /** `fallback` of `roomcast/client/fallback`: plain HTTP where WebSockets do not get through. */
  fallback?: Fallback;
  /** `binary` of `roomcast/client/binary`: MessagePack on the line, and bytes in `data`. */
  binary?: Binary;
  /** How long a publish is tried, 100 s. It must be less than GATEWAY_DEDUPE_MS, which is 120 s by default. */
  publishMs?: number;
  /** Publishes and questions that may wait at a time, 1000. */
  maxRequests?: number;
  /** Messages that a `for await` loop may be behind, 1000. */
  maxBehind?: number;
}

/** Chooses how each connection is opened: by `websocket`, or otherwise. `url` is that of `connect`. */
export type Fallback = (url: string, websocket: Open) => Open;

/** Puts what else is spoken and how `data` becomes JSON text in the place of these options. */
export type Binary = (options: Options) => Options & { stringify?: Bounds['stringify'] };

export interface ClientEvents {
  state: ClientState;
  /** What the application may want to log: `getToken` failed, or the client has ended for good. */
  error: Error;
  /** The backend has made this client a member of a room. */
  subscribed: Room;
}

const questionMs = 30_000;

export class Client {
  readonly #session: Session;
  readonly #bounds: Bounds;
  /** One for each room that the session knows. */
  readonly #rooms = new WeakMap<Subscription, Room>();

  /** For `connect`. */
  constructor(session: Session, bounds: Bounds) {
    this.#session = session;
    this.#bounds = bounds;
  }

  get state(): ClientState {
    return this.#session.state;
  }

  /** Undefined while nothing is open. */
  get transport(): Connection['transport'] | undefined {
    return this.#session.newest?.transport;
  }

  /** The id of the newest connection, as in `presence`; undefined over plain HTTP, where each room has one of its own. */
  get connection(): string | undefined {
    return this.#session.newest?.welcome?.connection || undefined;
  }

  /** Returns a function that removes the listener again. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): () => void {
    if (name !== 'subscribed') return this.#session.events.on(name, listener as (event: unknown) => void);
    return this.#session.events.on('subscribed', (room) => (listener as (event: Room) => void)(this.#facade(room)));
  }

  /** The room of this name, always the same object until it is left. `since` counts when it is a new one. */
  room(name: string, options: { since?: Position | undefined } = {}): Room {
    return this.#facade(this.#session.room(name, options.since));
  }

  /** Ends the client for good: what waits is rejected with `closed`. */
  close(): Promise<void> {
    return this.#session.close();
  }

  #facade(subscription: Subscription): Room {
    const room = this.#rooms.get(subscription) ?? new Room(this.#session, subscription, this.#bounds);
    this.#rooms.set(subscription, room);
    return room;
  }
}

/** Returns at once; the connection opens behind it. Throws a TypeError for options that cannot work. */
export function connect(url: string | URL, given: Options = {}): Client {
  const options: ReturnType<Binary> = given.binary?.(given) ?? given;
  const { token, getToken, fallback, WebSocket = globalThis.WebSocket as WebSocketConstructor | undefined } = options;
  const { publishMs = 100_000, maxRequests = 1_000, maxBehind = 1_000, stringify = JSON.stringify } = options;
  if (WebSocket === undefined) throw new TypeError('no WebSocket: give options.WebSocket');
  if (token !== undefined && !isToken(token)) throw new TypeError('token must be a JWT');
  const { href } = new URL(url);
  if (!/^wss?:/.test(href)) throw new TypeError('url must begin with ws:// or wss://');
  const websocket: Open = (...how) => new WebSocketConnection(WebSocket, href, ...how);
  const session = new Session(fallback?.(href, websocket) ?? websocket, new Tokens(token, getToken), maxRequests);
  return new Client(session, { publishMs, questionMs, loop: maxBehind, stringify });
}
