/**
 * The wire protocol of Redis: commands to text, bytes to replies and messages. All of RESP2; of RESP3 what Roomcast is sent:
 * maps, pushes and verbatim strings.
 *
 * A value may be split over any number of chunks. One that lies in a single chunk is not copied: a bulk string shares the
 * memory of its chunk (at most 64 KiB, one read of the socket) for as long as it is referenced. Whatever comes, it ends, and
 * holds at most `maxReplyBytes`: the peer may be no Redis. It never knows the connection, or which command a reply belongs to:
 * gateway/redis/connection/pipeline.ts.
 */

/** A bulk string is a Buffer, a simple string is a string. */
export type Reply = number | string | Buffer | null | ReplyError | Reply[];

/** An error reply: `ERR …`, `READONLY …`, `NOSCRIPT …`. */
export class ReplyError extends Error {}

/** Bytes that are no RESP, or a reply to no command. The connection cannot be used any more. */
export class ProtocolError extends Error {}

export interface ReplyListener {
  reply(reply: Reply): void;
  /** A message of a subscribed channel (a push), in `bytes` from `start` to `end`. */
  message?: ((channel: string, bytes: Buffer, start: number, end: number) => void) | undefined;
  /**
   * Only for sharded channels, whose messages are `smessage`: this one is not subscribed any more. Redis says so unasked, too,
   * when a slot moves to another server: never a reply.
   */
  unsubscribed?: ((channel: string) => void) | undefined;
}

/** The name of a command and its arguments. */
export type Words = readonly (string | number)[];

export function command(words: Words): string {
  let text = `*${words.length}\r\n`;
  for (const word of words) {
    const each = String(word);
    text += `$${Buffer.byteLength(each)}\r\n${each}\r\n`;
  }
  return text;
}

const simpleString = 0x2b;
const error = 0x2d;
const integer = 0x3a;
const bulkString = 0x24;
const array = 0x2a;
const push = 0x3e;
/** Read as an array of keys and values in turn. Only HELLO replies with one. */
const map = 0x25;
/** `=<length>\r\ntxt:<text>`: INFO in RESP3. */
const verbatimString = 0x3d;
const minus = 0x2d;
const zero = 0x30;
const carriageReturn = 0x0d;
const lineFeed = 0x0a;
const lineEnd = '\r\n';
const headOf = (kind: string) => Buffer.from(`>3\r\n$${kind.length}\r\n${kind}\r\n$`);
/** Of a 64-bit integer. */
const maxDigits = 19;
/** Of a simple string or an error. Those of Redis are a sentence. */
const maxLineBytes = 16_384;
/** Of one reply or message. The largest that a node asks for are a page of history and all blocks of users. */
const maxReplyBytes = 268_435_456;
/** What a value takes in memory besides its bytes, counted with them. */
const overheadBytes = 64;
/** Of arrays in each other. Roomcast is sent four. */
const maxDepth = 32;
/** In place of the end of a value: more bytes are needed. */
const incomplete = -1;

export class ReplyReader {
  readonly #listener: ReplyListener;
  /** The kind of push that is a message, and how it begins. */
  readonly #messageKind: string;
  readonly #messageHead: Buffer;
  /** Chunks of an incomplete value. Not parsed before there are `#neededBytes`. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #neededBytes = 0;
  /** Incomplete arrays, the innermost last. */
  readonly #open: { items: Reply[]; size: number; isPush: boolean }[] = [];
  /** Behind the line of the last `#number`. */
  #lineEnd = 0;
  readonly #maxReplyBytes: number;
  /** Of the incomplete arrays: values that have come. */
  #openBytes = 0;

  constructor(listener: ReplyListener, mostBytes = maxReplyBytes) {
    this.#listener = listener;
    this.#messageKind = listener.unsubscribed === undefined ? 'message' : 'smessage';
    this.#messageHead = headOf(this.#messageKind);
    this.#maxReplyBytes = mostBytes;
  }

  /** Throws a ProtocolError; then close the connection. */
  read(chunk: Buffer): void {
    const bytes = this.#restBytes === 0 ? chunk : this.#withRest(chunk);
    if (bytes === undefined) return;
    for (let at = 0; at < bytes.length; ) {
      let end = this.#listener.message === undefined ? incomplete : this.#message(bytes, at);
      if (end === incomplete) end = this.#value(bytes, at);
      if (end === incomplete) {
        this.#keep(bytes.subarray(at));
        return;
      }
      if (this.#open.length === 0) this.#openBytes = 0;
      else this.#hold(end - at + overheadBytes);
      at = end;
    }
  }

  #hold(bytes: number): void {
    this.#openBytes += bytes;
    if (this.#openBytes > this.#maxReplyBytes) throw tooLong();
  }

  #keep(bytes: Buffer): void {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
  }

  /** Concatenates a long value once, when it is complete. */
  #withRest(chunk: Buffer): Buffer | undefined {
    this.#keep(chunk);
    if (this.#restBytes < this.#neededBytes) return undefined;
    const bytes = Buffer.concat(this.#rest, this.#restBytes);
    this.#rest = [];
    this.#restBytes = 0;
    return bytes;
  }

  /** Fast path for a complete message. Returns its end, or `incomplete` for anything else: `#value` reads that. */
  #message(bytes: Buffer, at: number): number {
    if (this.#open.length > 0) return incomplete;
    const head = this.#messageHead;
    for (let index = 0; index < head.length; index++) {
      if (bytes[at + index] !== head[index]) return incomplete;
    }
    const channelBytes = this.#number(bytes, at + head.length);
    if (channelBytes === incomplete) return incomplete;
    const channelAt = this.#lineEnd;
    const channelEnd = channelAt + channelBytes;
    if (bytes[channelEnd + lineEnd.length] !== bulkString) return incomplete;
    const messageBytes = this.#number(bytes, channelEnd + lineEnd.length + 1);
    if (messageBytes === incomplete) return incomplete;
    const start = this.#lineEnd;
    const end = start + messageBytes;
    if (end + lineEnd.length > bytes.length || !isLineEnd(bytes, channelEnd) || !isLineEnd(bytes, end))
      return incomplete;
    this.#listener.message?.(bytes.toString('latin1', channelAt, channelEnd), bytes, start, end);
    return end + lineEnd.length;
  }

  /** Reads a value, or the head of an array. Returns its end. */
  #value(bytes: Buffer, at: number): number {
    const type = bytes[at];
    this.#neededBytes = bytes.length - at + 1;
    switch (type) {
      case simpleString:
      case error: {
        const end = bytes.indexOf(lineEnd, at);
        if ((end === -1 ? bytes.length : end) - at > maxLineBytes) throw tooLong();
        if (end === -1) return incomplete;
        const text = bytes.toString('utf8', at + 1, end);
        this.#take(type === error ? new ReplyError(text) : text);
        return end + lineEnd.length;
      }
      case integer:
      case bulkString:
      case verbatimString:
      case array:
      case map:
      case push: {
        // Length -1: a null string or array.
        const isNegative = bytes[at + 1] === minus;
        const number = this.#number(bytes, isNegative ? at + 2 : at + 1);
        if (number === incomplete) return incomplete;
        if ((type === bulkString || type === verbatimString) && !isNegative) return this.#bulkString(bytes, at, number);
        const end = this.#lineEnd;
        if (type === integer) this.#take(isNegative ? -number : number);
        else if (isNegative && number !== 1) throw notResp();
        else if (isNegative) this.#take(null);
        else if (number === 0) this.#take([]);
        else if (this.#open.length === maxDepth) throw tooLong();
        else this.#open.push({ items: [], size: type === map ? 2 * number : number, isPush: type === push });
        return end;
      }
      default:
        throw notResp();
    }
  }

  #bulkString(bytes: Buffer, at: number, length: number): number {
    const start = this.#lineEnd;
    const end = start + length + lineEnd.length;
    if (length > this.#maxReplyBytes - this.#openBytes) throw tooLong();
    if (end > bytes.length) {
      this.#neededBytes = end - at;
      return incomplete;
    }
    if (!isLineEnd(bytes, start + length)) throw notResp();
    this.#take(bytes.subarray(start, start + length));
    return end;
  }

  #number(bytes: Buffer, at: number): number {
    let number = 0;
    for (let index = at; index + 1 < bytes.length; index++) {
      const byte = bytes[index] ?? 0;
      if (byte === carriageReturn) {
        if (index === at || bytes[index + 1] !== lineFeed) throw notResp();
        this.#lineEnd = index + lineEnd.length;
        return number;
      }
      const digit = byte - zero;
      // Any other byte would make the length wrong, even negative: reading would then never end.
      if (digit < 0 || digit > 9 || index - at === maxDigits) throw notResp();
      number = number * 10 + digit;
    }
    return incomplete;
  }

  #take(value: Reply): void {
    let whole = value;
    let isPush = false;
    for (let open = this.#open.at(-1); open !== undefined; open = this.#open.at(-1)) {
      open.items.push(whole);
      if (open.items.length < open.size) return;
      this.#open.pop();
      whole = open.items;
      isPush = open.isPush;
    }
    // Replies to SUBSCRIBE, UNSUBSCRIBE and SSUBSCRIBE are pushes too.
    const [kind, channel, bytes] = isPush ? (whole as Reply[]) : [];
    if (String(kind) === this.#messageKind && channel instanceof Buffer && bytes instanceof Buffer) {
      this.#listener.message?.(channel.toString('latin1'), bytes, 0, bytes.length);
    } else if (this.#listener.unsubscribed !== undefined && String(kind) === 'sunsubscribe') {
      // Without a channel: the answer to a SUNSUBSCRIBE of all, which nobody sends.
      if (channel instanceof Buffer) this.#listener.unsubscribed(channel.toString('latin1'));
    } else this.#listener.reply(whole);
  }
}

function isLineEnd(bytes: Buffer, at: number): boolean {
  return bytes[at] === carriageReturn && bytes[at + 1] === lineFeed;
}

function notResp(): ProtocolError {
  return new ProtocolError('these bytes are not RESP');
}

function tooLong(): ProtocolError {
  return new ProtocolError('a reply is longer than any that a node asks for');
}
