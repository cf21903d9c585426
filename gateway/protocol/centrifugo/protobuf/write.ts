/**
 * Writes values as Protobuf messages, each behind its length.
 *
 * It writes from the end to the beginning, because the length of a message stands before it: so each byte is written once, and
 * nothing is measured before.
 */
import { type Fields, Payload, type Value } from '../value.ts';
import { bytesOf } from './payload.ts';
import { type Kind, ListOf, MapOf, reply, type Schema } from './schema.ts';

const varint = 0;
const lengthDelimited = 2;
const firstBytes = 16_384;
/** A larger buffer is not kept. */
const keptBytes = 1_048_576;
/** Of a 64-bit integer. */
const maxVarintBytes = 10;

let kept = Buffer.allocUnsafe(firstBytes);

/** One reply or several. */
export function writeReplies(replies: readonly Fields[]): Uint8Array {
  const writer = new Writer();
  for (const fields of replies.toReversed()) writer.delimited(fields, reply);
  return writer.bytes();
}

class Writer {
  #buffer = kept;
  /** Where the bytes that are written begin. */
  #at = this.#buffer.length;

  /** Of what is written. */
  get #size(): number {
    return this.#buffer.length - this.#at;
  }

  bytes(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#buffer, this.#at);
  }

  delimited(fields: Fields, schema: Schema): void {
    const before = this.#size;
    const names = Object.keys(fields);
    for (let index = names.length - 1; index >= 0; index--) {
      const name = names[index] as string;
      const value = fields[name];
      if (value === undefined) continue;
      const field = schema.get(name);
      if (field === undefined) throw new Error(`the schema of Protobuf has no field ${name}`);
      this.#field(field[0], field[1], value);
    }
    this.#varint(this.#size - before);
  }

  #field(number: number, kind: Kind, value: Value): void {
    if (typeof value === 'number' || typeof value === 'boolean') {
      this.#varint(Number(value));
      this.#varint(number * 8 + varint);
      return;
    }
    if (typeof value === 'string') this.#text(value);
    else if (value instanceof Payload) this.#payload(value);
    else if (kind instanceof ListOf) {
      for (const item of (value as readonly Fields[]).toReversed()) this.#message(number, item, kind.schema);
      return;
    } else if (kind instanceof MapOf) {
      for (const [key, item] of Object.entries(value).toReversed())
        this.#entry(number, key, item as Fields, kind.schema);
      return;
    } else this.delimited(value as Fields, kind as Schema);
    this.#varint(number * 8 + lengthDelimited);
  }

  #message(number: number, fields: Fields, schema: Schema): void {
    this.delimited(fields, schema);
    this.#varint(number * 8 + lengthDelimited);
  }

  #entry(number: number, key: string, fields: Fields, schema: Schema): void {
    const before = this.#size;
    this.#message(2, fields, schema);
    this.#text(key);
    this.#varint(1 * 8 + lengthDelimited);
    this.#varint(this.#size - before);
    this.#varint(number * 8 + lengthDelimited);
  }

  #payload({ json }: Payload): void {
    const bytes = bytesOf(json);
    if (typeof bytes === 'string') {
      this.#text(bytes);
      return;
    }
    this.#reserve(bytes.length);
    this.#at -= bytes.length;
    this.#buffer.set(bytes, this.#at);
    this.#varint(bytes.length);
  }

  #text(text: string): void {
    const size = Buffer.byteLength(text);
    this.#reserve(size);
    this.#at -= size;
    this.#buffer.write(text, this.#at);
    this.#varint(size);
  }

  #varint(value: number): void {
    this.#reserve(maxVarintBytes);
    let size = 1;
    for (let rest = value; rest >= 0x80; rest /= 0x80) size++;
    this.#at -= size;
    let rest = value;
    let at = this.#at;
    for (; size > 1; size--) {
      this.#buffer[at] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
      at++;
    }
    this.#buffer[at] = rest;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#at) return;
    const used = this.#size;
    const larger = Buffer.allocUnsafe(2 * Math.max(this.#buffer.length, used + bytes));
    this.#buffer.copy(larger, larger.length - used, this.#at);
    this.#buffer = larger;
    this.#at = larger.length - used;
    if (larger.length <= keptBytes) kept = larger;
  }
}
