/**
 * Backpressure: bounds every outgoing buffer, so that the WebSocket server itself never drops a message.
 *
 * Between two checks a buffer grows by at most the bytes fanned out on this node, and by at most the bytes of the
 * busiest room times the rooms per connection. The smaller of the two is the bound. Whenever it exceeds (hard limit -
 * soft limit), all buffers are checked, and readers over the soft limit are stalled: nothing was dropped for them yet,
 * and what they miss from then on is known exactly. The soft limit is half of MAX_BUFFERED_BYTES. It knows buffers, and
 * the bytes fanned out to each room; the reader itself decides what stalling does.
 */

/** What backpressure needs of a connection. */
export interface Buffered {
  /** Bytes that wait for the peer to read. */
  bufferedBytes(): number;
  /**
   * Moves the frames fanned out in this turn of the event loop into the buffer, so that `bufferedBytes` counts them.
   */
  flush(): void;
  /** True while messages are fanned out to it. */
  readonly live: boolean;
  /** It was closed, and only holds bytes that its peer has not read. */
  readonly closing: boolean;
  /** It is over the soft limit: it gets no more messages until it has drained. */
  stall(): void;
  /**
   * The node is over its total limit, and this buffer is among the fullest: close. Called again: free the buffer at
   * once.
   */
  evict(): void;
}

/** The bytes fanned out to a room, kept by Backpressure alone. Starts as `{ fannedOutBytes: 0, checkNumber: 0 }`. */
export interface Tally {
  fannedOutBytes: number;
  /** The check since which `fannedOutBytes` counts. */
  checkNumber: number;
}

/** The largest frame header that a server sends (RFC 6455 section 5.2). */
const frameHeaderBytes = 10;
/**
 * Checks per total limit of bytes sent. An evicted reader may keep its buffer until the next check, so the node exceeds
 * the limit by at most two of these shares.
 */
const checksPerTotal = 8;

export class Backpressure {
  readonly hardBytes: number;
  readonly softBytes: number;
  /** A stalled reader goes live again at or below this. */
  readonly resumeBytes: number;
  /** History fills a buffer up to this only, so that live messages still fit below the soft limit. */
  readonly feedBytes: number;
  readonly #totalBytes: number;
  readonly #maxRooms: number;
  readonly #readers: ReadonlySet<Buffered>;
  #checks = 0;
  // Since the last check:
  /** Bytes fanned out, each frame counted once: one connection got at most these. */
  #fannedOutBytes = 0;
  /** The largest share of one room in `#fannedOutBytes`. */
  #busiestRoomBytes = 0;
  /** Bytes that one connection may have got outside of its current rooms: rooms it left, and frames of no room. */
  #otherBytes = 0;
  /** Upper bound of the bytes sent to all connections together. */
  #sentBytes = 0;
  // In this turn of the event loop, so perhaps not in a buffer yet: bytes per connection, and to all together.
  #turnBytes = 0;
  #turnBytesOfAll = 0;

  /**
   * A limit of 0 is no limit. `maxRooms` is per connection. `readers` is the live set of all connections of the node.
   */
  constructor(hardBytes: number, totalBytes: number, maxRooms: number, readers: ReadonlySet<Buffered>) {
    this.hardBytes = hardBytes === 0 ? Number.POSITIVE_INFINITY : hardBytes;
    this.softBytes = this.hardBytes / 2;
    this.resumeBytes = this.softBytes / 2;
    this.feedBytes = (this.softBytes * 3) / 4;
    this.#totalBytes = totalBytes === 0 ? Number.POSITIVE_INFINITY : totalBytes;
    this.#maxRooms = maxRooms === 0 ? Number.MAX_SAFE_INTEGER : maxRooms;
    this.#readers = readers;
  }

  /**
   * To be called before a frame is fanned out to at most `members` readers. `room`: the room they are all members of.
   */
  beforeFanout(frameBytes: number, members: number, room?: Tally): void {
    const bytes = frameBytes + frameHeaderBytes;
    this.#count(bytes, members, room);
    const perConnection = Math.min(this.#fannedOutBytes, this.#maxRooms * this.#busiestRoomBytes + this.#otherBytes);
    if (perConnection > this.hardBytes - this.softBytes || this.#sentBytes > this.#totalBytes / checksPerTotal) {
      this.check();
      this.#count(bytes, members, room);
    }
    // The WebSocket server flushes after the Redis callbacks of a turn and before its immediates.
    if (this.#turnBytes === 0) setImmediate(() => this.#endTurn());
    this.#turnBytes += bytes;
    this.#turnBytesOfAll += bytes * members;
  }

  /** To be called when a reader leaves a room. */
  memberLeft(room: Tally): void {
    if (room.checkNumber === this.#checks) this.#otherBytes += room.fannedOutBytes;
  }

  /** To be called before a message from history is sent to one reader. */
  beforeHistory(bytes: number): void {
    this.#sentBytes += bytes + frameHeaderBytes;
    if (this.#sentBytes > this.#totalBytes / checksPerTotal) this.check();
  }

  /**
   * Stalls readers over the soft limit, and evicts the fullest while the sum exceeds the total limit. Returns the sum.
   */
  check(): number {
    this.#checks++;
    this.#fannedOutBytes = 0;
    this.#busiestRoomBytes = 0;
    this.#otherBytes = 0;
    this.#sentBytes = 0;
    let sum = 0;
    for (const reader of this.#readers) sum += this.#checkOne(reader);
    if (sum + this.#turnBytesOfAll > this.#totalBytes) {
      for (const reader of this.#readers) reader.flush();
      this.#turnBytesOfAll = 0;
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
    this.#fannedOutBytes += bytes;
    this.#sentBytes += bytes * members;
    if (room === undefined) this.#otherBytes += bytes;
    else {
      room.fannedOutBytes = room.checkNumber === this.#checks ? room.fannedOutBytes + bytes : bytes;
      room.checkNumber = this.#checks;
      this.#busiestRoomBytes = Math.max(this.#busiestRoomBytes, room.fannedOutBytes);
    }
  }

  #checkOne(reader: Buffered): number {
    const bytes = reader.bufferedBytes();
    if (!reader.live || bytes + this.#turnBytes <= this.softBytes) return bytes;
    reader.flush();
    const flushed = reader.bufferedBytes();
    if (flushed > this.softBytes) reader.stall();
    return flushed;
  }

  /** Closed ones go first: they had until this check to free their buffers. */
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
    this.#turnBytes = 0;
    this.#turnBytesOfAll = 0;
    // A single message to very many members may exceed the share on its own.
    if (this.#sentBytes > this.#totalBytes / checksPerTotal) this.check();
  }
}
