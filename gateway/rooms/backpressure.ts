/**
 * Keeps every outgoing buffer bounded, so that the WebSocket server never has to drop a message behind our back.
 *
 * Between two looks a buffer grows by at most the bytes fanned out on this node, and by at most what the busiest room got
 * times the rooms that a connection may be in. So all buffers are looked at once per (hard limit - soft limit) of the
 * smaller sum, and readers over the soft limit are put aside: nothing of theirs was dropped, and what they miss from there
 * on is known exactly. Half of MAX_BUFFERED_BYTES is the soft limit. It knows buffers, and of rooms only how much they
 * got; what being put aside means is the reader's own affair.
 */

/** A connection, as far as its outgoing buffer goes. */
export interface Buffered {
  /** Bytes that wait for the peer to read. */
  bufferedBytes(): number;
  /** Puts what was fanned out in this turn of the event loop into the buffer, where `bufferedBytes` sees it. */
  flush(): void;
  /** True while messages are fanned out to it. */
  readonly live: boolean;
  /** It was closed, and only holds what its peer has not read. */
  readonly closing: boolean;
  /** It is over the soft limit: no more messages to it until it has read. */
  stall(): void;
  /** The node is over its total limit, and this one holds most. Still so at the next look: it has to let go at once. */
  evict(): void;
}

/** What a room got since a look, in bytes; for Backpressure alone. Begins as `{ fannedOut: 0, sinceCheck: 0 }`. */
export interface Tally {
  fannedOut: number;
  sinceCheck: number;
}

/** A full WebSocket frame header from the server (RFC 6455 section 5.2). */
const frameHeaderBytes = 10;
/**
 * Looks in the time in which as much is handed over as all buffers may hold. A reader that is shed may hold its buffer
 * to the next look, so at the most two of these shares are over the limit.
 */
const checksPerTotal = 8;

export class Backpressure {
  readonly hardBytes: number;
  readonly softBytes: number;
  /** A reader put aside goes on below this. */
  readonly resumeBytes: number;
  /** History is handed to a reader up to this: live messages still fit below the soft limit. */
  readonly feedBytes: number;
  readonly #totalBytes: number;
  readonly #maxRooms: number;
  readonly #readers: ReadonlySet<Buffered>;
  /** So many times it was looked. */
  #checks = 0;
  /** Since the last look: all together, which is the most that one connection may have got; */
  #fannedOut = 0;
  /** the most in one room; */
  #mostInARoom = 0;
  /** and what a connection may have got beside the rooms that it is in now. */
  #elsewhere = 0;
  /** By all connections together at the most, since the last look. */
  #handedOver = 0;
  /** Fanned out in this turn: perhaps not in any buffer yet. Per connection, and by all together. */
  #thisTurn = 0;
  #thisTurnByAll = 0;

  /** 0 is no limit. `maxRooms` is for one connection. `readers` is the live set of all connections of the node. */
  constructor(hardBytes: number, totalBytes: number, maxRooms: number, readers: ReadonlySet<Buffered>) {
    this.hardBytes = hardBytes === 0 ? Number.POSITIVE_INFINITY : hardBytes;
    this.softBytes = this.hardBytes / 2;
    this.resumeBytes = this.softBytes / 2;
    this.feedBytes = (this.softBytes * 3) / 4;
    this.#totalBytes = totalBytes === 0 ? Number.POSITIVE_INFINITY : totalBytes;
    this.#maxRooms = maxRooms === 0 ? Number.MAX_SAFE_INTEGER : maxRooms;
    this.#readers = readers;
  }

  /** To be called before each frame that is fanned out to `members` readers. `room`: where all of them are in. */
  beforeFanout(frameBytes: number, members: number, room?: Tally): void {
    const bytes = frameBytes + frameHeaderBytes;
    this.#count(bytes, members, room);
    const forOne = Math.min(this.#fannedOut, this.#maxRooms * this.#mostInARoom + this.#elsewhere);
    if (forOne > this.hardBytes - this.softBytes || this.#handedOver > this.#totalBytes / checksPerTotal) {
      this.check();
      this.#count(bytes, members, room);
    }
    // The server flushes between the Redis callbacks of a turn and its immediates.
    if (this.#thisTurn === 0) setImmediate(() => this.#endTurn());
    this.#thisTurn += bytes;
    this.#thisTurnByAll += bytes * members;
  }

  /** To be called when a reader leaves a room. */
  left(room: Tally): void {
    if (room.sinceCheck === this.#checks) this.#elsewhere += room.fannedOut;
  }

  /** To be called before bytes are sent to one reader from history. */
  handedOver(bytes: number): void {
    this.#handedOver += bytes + frameHeaderBytes;
    if (this.#handedOver > this.#totalBytes / checksPerTotal) this.check();
  }

  /** Looks at every buffer: puts slow readers aside, sheds the fullest when all are too many. Returns their sum. */
  check(): number {
    this.#checks++;
    this.#fannedOut = 0;
    this.#mostInARoom = 0;
    this.#elsewhere = 0;
    this.#handedOver = 0;
    let sum = 0;
    for (const reader of this.#readers) sum += this.#checkOne(reader);
    if (sum + this.#thisTurnByAll > this.#totalBytes) {
      for (const reader of this.#readers) reader.flush();
      this.#thisTurnByAll = 0;
      sum = this.sum();
    }
    if (sum > this.#totalBytes) this.#evictFullest(sum - this.#totalBytes);
    return sum;
  }

  /** The sum of all buffers, in bytes. */
  sum(): number {
    let sum = 0;
    for (const reader of this.#readers) sum += reader.bufferedBytes();
    return sum;
  }

  #count(bytes: number, members: number, room: Tally | undefined): void {
    this.#fannedOut += bytes;
    this.#handedOver += bytes * members;
    if (room === undefined) this.#elsewhere += bytes;
    else {
      room.fannedOut = room.sinceCheck === this.#checks ? room.fannedOut + bytes : bytes;
      room.sinceCheck = this.#checks;
      this.#mostInARoom = Math.max(this.#mostInARoom, room.fannedOut);
    }
  }

  #checkOne(reader: Buffered): number {
    const bytes = reader.bufferedBytes();
    if (!reader.live || bytes + this.#thisTurn <= this.softBytes) return bytes;
    reader.flush();
    const flushed = reader.bufferedBytes();
    if (flushed > this.softBytes) reader.stall();
    return flushed;
  }

  /** Those that were closed before go first: their buffers were to be free by now. */
  #evictFullest(excess: number): void {
    const fullest = [...this.#readers]
      .map((reader) => ({ reader, bytes: reader.bufferedBytes() }))
      .filter(({ bytes }) => bytes > 0);
    fullest.sort((one, other) => +other.reader.closing - +one.reader.closing || other.bytes - one.bytes);
    let left = excess;
    for (const { reader, bytes } of fullest) {
      if (left <= 0) return;
      reader.evict();
      left -= bytes;
    }
  }

  #endTurn(): void {
    this.#thisTurn = 0;
    this.#thisTurnByAll = 0;
    // One message to very many may alone be more than what may be handed over between two looks.
    if (this.#handedOver > this.#totalBytes / checksPerTotal) this.check();
  }
}
