/**
 * Limits of connections: rates (token buckets), waiting frames, and connections per user.
 *
 * It only counts. The caller decides what happens over a limit.
 */
import type { Rejected, Request } from '../protocol/request.ts';

/**
 * Refills at `rate` tokens per second, up to `burst`. It has no timer: `take` adds the tokens of the time that passed.
 */
export class TokenBucket {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  /** `now` is in ms, of the same clock as in `take`. */
  constructor(rate: number, burst: number, now: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /** Takes so many tokens and returns 0, or takes none and returns the ms until there are as many. */
  take(now: number, tokens = 1): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#rate);
    this.#at = now;
    if (this.#tokens < tokens) return Math.ceil(((tokens - this.#tokens) / this.#rate) * 1000);
    this.#tokens -= tokens;
    return 0;
  }
}

/** Refused frames in a row after which a connection is closed. */
const refusalsBeforeClose = 100;
/**
 * WebSocket pings and pongs per second, and in a burst. The WebSocket library answers pings; only a flood is stopped.
 */
const controlRate = 1_000;
const controlBurst = 20_000;

export interface RateSettings {
  publishRate: number;
  publishBurst: number;
  requestRate: number;
  maxRoomsPerConnection: number;
}

/** A client that reconnects sends these for each of its rooms at once: `subscribe`, `history`, `presence`. */
const requestsPerRoom = 3;
/** Rooms per connection, for the bounds here, if MAX_ROOMS_PER_CONNECTION is 0 (no limit). */
const assumedRooms = 10_000;

/** Requests that a client may send at once for all of its rooms. */
function requestsOfRooms(maxRoomsPerConnection: number): number {
  return requestsPerRoom * (maxRoomsPerConnection === 0 ? assumedRooms : maxRoomsPerConnection);
}

/** Requests other than publishes that a client may send at once. */
export function requestBurst({ requestRate, maxRoomsPerConnection }: RateSettings): number {
  return requestRate + Math.max(requestRate, requestsOfRooms(maxRoomsPerConnection));
}

/** The rates of one connection. */
export class Rates {
  readonly #settings: RateSettings;
  // Created on first use, to save memory: an unused bucket is full, and most connections only listen.
  #publishes: TokenBucket | undefined;
  #requests: TokenBucket | undefined;
  #controls: TokenBucket | undefined;
  #refusedInARow = 0;

  constructor(settings: RateSettings) {
    this.#settings = settings;
  }

  /** True after `refusalsBeforeClose` refused frames in a row: the client does not react to errors. */
  get ignoresRefusals(): boolean {
    return this.#refusedInARow >= refusalsBeforeClose;
  }

  /** Returns 0 if the frame may pass, or the ms until the next one may. */
  takeFrame(publish: boolean, now: number): number {
    const retryAfterMs = publish ? this.#takePublish(now) : this.#takeRequest(now);
    this.#refusedInARow = retryAfterMs === 0 ? 0 : this.#refusedInARow + 1;
    return retryAfterMs;
  }

  /** False if this WebSocket ping or pong is part of a flood. */
  takeControl(now: number): boolean {
    this.#controls ??= new TokenBucket(controlRate, controlBurst, now);
    return this.#controls.take(now) === 0;
  }

  #takePublish(now: number): number {
    const { publishRate, publishBurst } = this.#settings;
    if (publishRate === 0) return 0;
    this.#publishes ??= new TokenBucket(publishRate, publishBurst, now);
    return this.#publishes.take(now);
  }

  #takeRequest(now: number): number {
    const { requestRate } = this.#settings;
    if (requestRate === 0) return 0;
    this.#requests ??= new TokenBucket(requestRate, requestBurst(this.#settings), now);
    return this.#requests.take(now);
  }
}

const minWaitingFrames = 1_000;
/** Of those that wait for their turn among all connections. */
const maxFramesForTurn = 10_000;
const maxBytesForTurn = 2_097_152;

/** Bounds what waits on the node: gateway/admission/shares.ts. */
export interface NodeWaiting {
  requestWaits(bytes: number, own: { requests: number; bytes: number }): boolean;
  requestsLeft(requests: number, bytes: number): void;
}

/** A list of frames that wait: `line` until an `auth` has its result or their turn comes, `rooms` for an earlier frame of their room. */
export type WaitingList = 'line' | 'rooms';

/** Frames of one connection that wait for earlier ones: their number and approximate bytes. */
export class WaitingFrames {
  readonly #maxFrames: number;
  readonly #maxBytes: number;
  /** A client may be let into one list again and again while the other refuses it: each has its own count. */
  readonly #lists = {
    line: { frames: 0, bytes: 0, refusedInARow: 0 },
    rooms: { frames: 0, bytes: 0, refusedInARow: 0 },
  };

  /** The bound on frames is what a connection may send at once for all of its rooms. `maxBytes`: of one list. */
  constructor(maxRoomsPerConnection: number, maxBytes: number) {
    this.#maxFrames = Math.max(minWaitingFrames, requestsOfRooms(maxRoomsPerConnection));
    this.#maxBytes = maxBytes;
  }

  /** As in Rates. */
  ignoresRefusals(list: WaitingList): boolean {
    return this.#lists[list].refusedInARow >= refusalsBeforeClose;
  }

  /** Counts a frame until `remove`. False if it would exceed a bound of its list, or of the node. */
  add(request: Request | Rejected, list: WaitingList, node: NodeWaiting, isForTurn: boolean): boolean {
    const { line, rooms } = this.#lists;
    const bytes = sizeOf(request);
    const counted = this.#lists[list];
    const maxFrames = isForTurn ? Math.max(maxFramesForTurn, this.#maxFrames) : this.#maxFrames;
    const maxBytes = isForTurn ? Math.max(maxBytesForTurn, this.#maxBytes) : this.#maxBytes;
    const isFull = counted.frames >= maxFrames || counted.bytes + bytes > maxBytes;
    const own = { requests: line.frames + rooms.frames, bytes: line.bytes + rooms.bytes };
    if (isFull || !node.requestWaits(bytes, own)) {
      counted.refusedInARow++;
      return false;
    }
    counted.refusedInARow = 0;
    counted.frames++;
    counted.bytes += bytes;
    return true;
  }

  remove(request: Request | Rejected, list: WaitingList, node: NodeWaiting): void {
    const counted = this.#lists[list];
    // After `end` nothing is counted.
    if (counted.frames === 0) return;
    const bytes = sizeOf(request);
    node.requestsLeft(1, bytes);
    counted.frames--;
    counted.bytes -= bytes;
  }

  /** The connection has ended, and what waits with it. */
  end(node: NodeWaiting): void {
    for (const counted of Object.values(this.#lists)) {
      node.requestsLeft(counted.frames, counted.bytes);
      counted.frames = 0;
      counted.bytes = 0;
    }
  }
}

/** Of a room with its position: the names, and what a map needs. */
const positionBytes = 400;

function sizeOf(request: Request | Rejected): number {
  if ('data' in request) return request.data.length;
  const positions = request.type === 'auth' ? (request.since?.size ?? 0) : 0;
  return ('token' in request ? (request.token?.length ?? 0) : 0) + positions * positionBytes;
}

/** Connections by user, oldest first. */
export class UserConnections<Connection> {
  readonly #max: number;
  readonly #connections = new Map<string, Connection[]>();

  /** `max` per user; 0 is no limit, and nothing is stored. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Adds a connection. Returns the user's oldest one, to be closed, if the user is over the limit now. */
  add(user: string, connection: Connection): Connection | undefined {
    if (this.#max === 0) return undefined;
    const connections = this.#connections.get(user);
    if (connections === undefined) {
      this.#connections.set(user, [connection]);
      return undefined;
    }
    connections.push(connection);
    return connections.length > this.#max ? connections[0] : undefined;
  }

  remove(user: string, connection: Connection): void {
    const connections = this.#connections.get(user) ?? [];
    const index = connections.indexOf(connection);
    if (index !== -1) connections.splice(index, 1);
    if (connections.length === 0) this.#connections.delete(user);
  }
}
