/**
 * Where the parts of a `message` frame of the native dialect lie (gateway/protocol/roomcast/message.ts):
 *
 *     {"type":"message","room":R,"offset":N or "id":I,"data":D,"from":F,"at":T,"key":K}
 *
 * `from` and `key` may be missing. It is done for each message on each node with members of this protocol, so it parses nothing
 * and makes no object: a frame has this one form, and is cut in its places.
 */

const bytes = (text: string) => Buffer.from(text);
const head = bytes('{"type":"message","room":"');
const offsetField = bytes(',"offset":');
const dataField = bytes(',"data":');
const fromField = bytes(',"from":"');
const atField = bytes(',"at":');
const quote = 0x22;
const backslash = 0x5c;
const space = 0x20;
const zero = 0x30;
/** Of an offset, and of a time. */
const maxDigits = 16;
/** A user's name has at most 200 bytes, each of which JSON may write as six; then the quote. Text that is longer is not searched. */
const mostFromBytes = fromField.length + 6 * 200 + 1;

const nothing = new Uint8Array(0);

/** Places in the frame that was cut last, in bytes. A part that is not there ends where it begins. */
export class MessageCut {
  /** Only while it is cut: it lies in 64 KiB that were read from Redis. */
  #frame: Uint8Array = nothing;
  /** False: the frame comes from no node, but from somebody else at Redis. Then only room and offset may be there. */
  isMessage = false;
  roomStart = 0;
  roomEnd = 0;
  offsetStart = 0;
  offsetEnd = 0;
  /** JSON text. */
  dataStart = 0;
  dataEnd = 0;
  /** JSON text of the sender's name, with its quotes. */
  userStart = 0;
  userEnd = 0;
  atStart = 0;
  atEnd = 0;

  of(frame: Uint8Array): this {
    this.#frame = frame;
    this.isMessage = this.#cut();
    this.#frame = nothing;
    return this;
  }

  #cut(): boolean {
    const frame = this.#frame;
    this.roomStart = head.length;
    this.roomEnd = this.#isAt(head, 0) ? this.#nameEnd(head.length) : head.length;
    this.offsetStart = this.roomEnd + 1 + offsetField.length;
    const hasOffset = this.#isAt(offsetField, this.roomEnd + 1);
    this.offsetEnd = hasOffset ? this.#digitsEnd(this.offsetStart) : this.offsetStart;
    // No room name, id or offset contains a quote.
    const dataAt = this.#first(dataField, this.roomEnd);
    // A string contains no quote without a backslash before it. So no string contains a field, and the last one is the right one:
    // only `key` follows.
    const atAt = this.#last(atField, frame.length, dataAt);
    this.atStart = atAt + atField.length;
    this.atEnd = this.#digitsEnd(this.atStart);
    if (this.roomEnd === this.roomStart || dataAt === -1 || atAt < dataAt || this.atEnd === this.atStart) return false;
    // Behind the data of an object with a field `from` stands its brace.
    const fromAt = frame[atAt - 1] === quote ? this.#last(fromField, atAt, Math.max(dataAt, atAt - mostFromBytes)) : -1;
    this.dataStart = dataAt + dataField.length;
    this.dataEnd = fromAt > dataAt ? fromAt : atAt;
    this.userStart = fromAt > dataAt ? fromAt + fromField.length - 1 : atAt;
    this.userEnd = atAt;
    return true;
  }

  // What is looked for is near: Buffer.indexOf would make an object.

  /** -1: not there. */
  #first(text: Uint8Array, from: number): number {
    for (let at = from; at + text.length <= this.#frame.length; at++) if (this.#isAt(text, at)) return at;
    return -1;
  }

  /** -1: not there, from `least` on. */
  #last(text: Uint8Array, end: number, least: number): number {
    for (let at = end - text.length; at >= least; at--) if (this.#isAt(text, at)) return at;
    return -1;
  }

  #isAt(text: Uint8Array, at: number): boolean {
    for (let index = 0; index < text.length; index++) if (this.#frame[at + index] !== text[index]) return false;
    return true;
  }

  /** Where the quote behind a room's name stands. `start`: there is none. */
  #nameEnd(start: number): number {
    let end = start;
    for (let byte = this.#frame[end]; byte !== quote; byte = this.#frame[++end]) {
      if (byte === undefined || byte <= space || byte === backslash) return start;
    }
    return end;
  }

  /** Of a whole number as nodes write it. `start`: there is none. */
  #digitsEnd(start: number): number {
    let end = start;
    while (end - start <= maxDigits && isDigit(this.#frame[end])) end++;
    const isOne = end - start <= maxDigits && (this.#frame[start] !== zero || end === start + 1);
    return isOne ? end : start;
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= zero && byte <= zero + 9;
}
