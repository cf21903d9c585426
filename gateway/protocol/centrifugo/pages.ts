/**
 * Where pushes are written that are made of parts of a frame: one behind the other, so that each costs one view and no object
 * for its parts. A page that is full belongs to its views.
 */

const pageBytes = 65_536;
/** Up to this size a loop is as quick as a search by the engine, which makes objects. */
const shortBytes = 512;
const space = 0x20;
const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export class Pages {
  #page: Buffer = Buffer.allocUnsafeSlow(pageBytes);
  #at = 0;
  /** Parts are moved inside the page, which takes no view of the frame: so its copy stands behind the push for that time. */
  #copyAt = 0;

  /** A push begins, of at most `most` bytes, with parts of this frame. */
  begin(frame: Uint8Array, most: number): void {
    const needed = most + frame.length;
    if (this.#page.length - this.#at < needed) {
      this.#page = Buffer.allocUnsafeSlow(Math.max(pageBytes, needed));
      this.#at = 0;
    }
    this.#copyAt = this.#at + most;
    this.#page.set(frame, this.#copyAt);
  }

  /** In the page. */
  get at(): number {
    return this.#at;
  }

  part(start: number, end: number): void {
    this.#page.copyWithin(this.#at, this.#copyAt + start, this.#copyAt + end);
    this.#at += end - start;
  }

  /** JSON text with blanks for line breaks, which it has only between its tokens (RFC 8259 section 7). */
  line(start: number, end: number): void {
    const page = this.#page;
    const from = this.#at;
    this.part(start, end);
    const to = this.#at;
    if (to - from > shortBytes && !hasBreak(page.subarray(from, to))) return;
    for (let at = from; at < to; at++) {
      const byte = page[at];
      if (byte === lineFeed || byte === carriageReturn) page[at] = space;
    }
  }

  bytes(bytes: Uint8Array): void {
    this.#page.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  byte(byte: number): void {
    this.#page[this.#at++] = byte;
  }

  /** What was written since. */
  since(start: number): Buffer {
    return this.#page.subarray(start, this.#at);
  }
}

function hasBreak(text: Buffer): boolean {
  return text.includes(lineFeed) || text.includes(carriageReturn);
}
