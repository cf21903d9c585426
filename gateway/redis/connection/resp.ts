/**
 * The protocol of Redis: a command as text, and the bytes that come back as replies and messages. RESP2, and what a
 * connection that speaks RESP3 is told beside: pushes, by which messages and replies are told apart, and verbatim strings.
 *
 * Bytes may be cut anywhere on their way. What comes whole in one chunk is not copied: a bulk string shares the memory of
 * its chunk, as much as was read from the socket at once (at most 64 KiB), for as long as somebody keeps it. It knows no
 * connection, and not who asked for what: that is gateway/redis/connection/pipeline.ts.
 */

/** A bulk string is a Buffer, a simple string is a string. */
export type Reply = number | string | Buffer | null | ReplyError | Reply[];

/** What Redis says instead of carrying a command out: `ERR …`, `READONLY …`, `NOSCRIPT …`. */
export class ReplyError extends Error {}

/** The bytes are not of this protocol, or nobody asked: what follows means nothing. */
export class ProtocolError extends Error {}

export interface ReplyListener {
  reply(reply: Reply): void;
  /** A message of a subscribed channel, which comes as a push: what stands in `bytes` from `start` to `end`. */
  message?: ((channel: string, bytes: Buffer, start: number, end: number) => void) | undefined;
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
/** Keys and values in turn; read as an array of both. Only HELLO answers so. */
const map = 0x25;
/** `=<length>\r\ntxt:<text>`: the form of text that a person may read. */
const verbatimString = 0x3d;
const minus = 0x2d;
const zero = 0x30;
const carriageReturn = 0x0d;
const lineEnd = '\r\n';
const messageHead = Buffer.from('>3\r\n$7\r\nmessage\r\n$');
/** Instead of where a value ends: its end has not come. */
const cut = -1;

export class ReplyReader {
  readonly #listener: ReplyListener;
  /** What came of a value that is cut; together at least `#neededBytes` before it is worth a look. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  #neededBytes = 0;
  /** Arrays whose last items have not come, the inner ones behind. */
  readonly #open: { items: Reply[]; size: number; isPush: boolean }[] = [];
  /** Where the line of the last `#number` ends. */
  #lineEnd = 0;

  constructor(listener: ReplyListener) {
    this.#listener = listener;
  }

  /** Throws a ProtocolError; nothing can be read behind it. */
  read(chunk: Buffer): void {
    const bytes = this.#restBytes === 0 ? chunk : this.#withRest(chunk);
    if (bytes === undefined) return;
    for (let at = 0; at < bytes.length; ) {
      let end = this.#listener.message === undefined ? cut : this.#message(bytes, at);
      if (end === cut) end = this.#value(bytes, at);
      if (end === cut) {
        this.#keep(bytes.subarray(at));
        return;
      }
      at = end;
    }
  }

  #keep(bytes: Buffer): void {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
  }

  /** A long value is put together once, when all of it is there. */
  #withRest(chunk: Buffer): Buffer | undefined {
    this.#keep(chunk);
    if (this.#restBytes < this.#neededBytes) return undefined;
    const bytes = Buffer.concat(this.#rest, this.#restBytes);
    this.#rest = [];
    this.#restBytes = 0;
    return bytes;
  }

  /** The short way of a message that has come whole. Returns where it ends; all else is left to `#value`. */
  #message(bytes: Buffer, at: number): number {
    if (this.#open.length > 0) return cut;
    for (let index = 0; index < messageHead.length; index++) {
      if (bytes[at + index] !== messageHead[index]) return cut;
    }
    const channelBytes = this.#number(bytes, at + messageHead.length);
    if (channelBytes === cut) return cut;
    const channelAt = this.#lineEnd;
    const channelEnd = channelAt + channelBytes;
    const messageBytes = this.#number(bytes, channelEnd + lineEnd.length + 1);
    if (messageBytes === cut) return cut;
    const start = this.#lineEnd;
    const end = start + messageBytes;
    if (end + lineEnd.length > bytes.length) return cut;
    this.#listener.message?.(bytes.toString('latin1', channelAt, channelEnd), bytes, start, end);
    return end + lineEnd.length;
  }

  /** Any value, or how an array begins. Returns where it ends. */
  #value(bytes: Buffer, at: number): number {
    const type = bytes[at];
    this.#neededBytes = bytes.length - at + 1;
    switch (type) {
      case simpleString:
      case error: {
        const end = bytes.indexOf(lineEnd, at);
        if (end === -1) return cut;
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
        // Of strings and arrays that are null it is -1.
        const isNegative = bytes[at + 1] === minus;
        const number = this.#number(bytes, isNegative ? at + 2 : at + 1);
        if (number === cut) return cut;
        if ((type === bulkString || type === verbatimString) && !isNegative) return this.#bulkString(bytes, at, number);
        const end = this.#lineEnd;
        if (type === integer) this.#take(isNegative ? -number : number);
        else if (isNegative) this.#take(null);
        else if (number === 0) this.#take([]);
        else this.#open.push({ items: [], size: type === map ? 2 * number : number, isPush: type === push });
        return end;
      }
      default:
        throw new ProtocolError('this is not the protocol of Redis');
    }
  }

  #bulkString(bytes: Buffer, at: number, length: number): number {
    const start = this.#lineEnd;
    const end = start + length + lineEnd.length;
    if (end > bytes.length) {
      this.#neededBytes = end - at;
      return cut;
    }
    this.#take(bytes.subarray(start, start + length));
    return end;
  }

  #number(bytes: Buffer, at: number): number {
    let number = 0;
    for (let index = at; index + 1 < bytes.length; index++) {
      const byte = bytes[index] ?? 0;
      if (byte === carriageReturn) {
        this.#lineEnd = index + lineEnd.length;
        return number;
      }
      number = number * 10 + (byte - zero);
    }
    return cut;
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
    // SUBSCRIBE and UNSUBSCRIBE are answered by pushes too.
    const [kind, channel, bytes] = isPush ? (whole as Reply[]) : [];
    if (String(kind) === 'message' && channel instanceof Buffer && bytes instanceof Buffer) {
      this.#listener.message?.(channel.toString('latin1'), bytes, 0, bytes.length);
    } else this.#listener.reply(whole);
  }
}
