/**
 * Varints of Protobuf (https://protobuf.dev/programming-guides/encoding): seven bits in each byte, the lowest first, and a bit
 * that says that more follow.
 */
import type { Pages } from '../pages.ts';

const zero = 0x30;
/** Of a 64-bit integer. */
const maxBytes = 10;

/** `value`: below 2^31. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >> 7; rest > 0; rest >>= 7) size++;
  return size;
}

/** `value`: below 2^31. */
export function writeVarint(to: Pages, value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest >>= 7) to.byte((rest & 0x7f) | 0x80);
  to.byte(rest);
}

/** A number out of its decimal digits. It is never one of JavaScript, which beyond 31 bits would be an object for each step. */
export class DecimalVarint {
  readonly #groups = new Uint8Array(maxBytes);
  #size = 0;

  /** Returns its size; 0 without digits. At most 19 digits. */
  of(text: Uint8Array, start: number, end: number): number {
    this.#size = 0;
    for (let at = start; at < end; at++) this.#append((text[at] as number) - zero);
    return this.#size;
  }

  write(to: Pages): void {
    const last = this.#size - 1;
    for (let index = 0; index < last; index++) to.byte((this.#groups[index] as number) | 0x80);
    to.byte(this.#groups[last] as number);
  }

  /** Ten times as much, and the digit. */
  #append(digit: number): void {
    let carry = digit;
    for (let index = 0; index < this.#size; index++) {
      const sum = (this.#groups[index] as number) * 10 + carry;
      this.#groups[index] = sum & 0x7f;
      carry = sum >> 7;
    }
    if (carry > 0 || this.#size === 0) this.#groups[this.#size++] = carry;
  }
}
