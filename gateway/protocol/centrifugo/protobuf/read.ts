/**
 * Reads a Protobuf message of a client (https://protobuf.dev/programming-guides/encoding), and writes it as JSON text, which
 * decode.ts then checks like that of a client that sends JSON.
 *
 * Unknown fields are skipped. It allocates nothing for what a length announces, and goes only as deep as the schema.
 */
import { isUtf8 } from 'node:buffer';
import { jsonOf } from './payload.ts';
import { type Kind, ListOf, MapOf, type Schema } from './schema.ts';

/** Not a Protobuf message of this schema. */
export class Unreadable extends Error {}

const lengthDelimited = 2;
const maxFieldNumber = 2 ** 29 - 1;
/** Of a 64-bit integer. */
const maxVarintBytes = 10;
/** So many bytes of a varint fit into a double without a loss. */
const exactVarintBytes = 7;

/** What a schema says of a message that is read. */
interface Expected {
  fields: Map<number, readonly [name: string, kind: Kind]>;
  /** A field of bytes that is not there is empty: for what is sent, that is a message like others. */
  empty: readonly string[];
}

const known = new Map<Schema, Expected>();

function expected(schema: Schema): Expected {
  const made = known.get(schema) ?? {
    fields: new Map([...schema].map(([name, [number, kind]]) => [number, [name, kind] as const])),
    empty: [...schema].filter(([, [, kind]]) => kind === 'sent').map(([name]) => name),
  };
  known.set(schema, made);
  return made;
}

const emptyBytes = jsonOf(Buffer.alloc(0));

/** Throws Unreadable. */
export function readMessage(bytes: Buffer, schema: Schema): string {
  return new Reader(bytes).message(bytes.length, schema);
}

/** Where the message ends whose length stands at `from`, at most. Throws Unreadable for no length. */
export function endOfDelimited(bytes: Buffer, from: number): number {
  const reader = new Reader(bytes, from);
  const size = reader.varint();
  return reader.at + size;
}

/** Of a message behind its length, and of nothing else. Throws Unreadable. */
export function readDelimited(bytes: Buffer, schema: Schema): string {
  const reader = new Reader(bytes);
  const size = reader.varint();
  if (reader.at + size !== bytes.length) throw new Unreadable('a length goes beyond the frame');
  return reader.message(bytes.length, schema);
}

class Reader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, from = 0) {
    this.#bytes = bytes;
    this.#at = from;
  }

  get at(): number {
    return this.#at;
  }

  /** The JSON text of the message that ends there. Of a field that comes twice the last one counts. */
  message(end: number, schema: Schema): string {
    const { fields, empty } = expected(schema);
    const texts = new Map<string, string>();
    const maps = new Map<string, string[]>();
    while (this.#at < end) {
      const tag = this.varint();
      const number = Math.floor(tag / 8);
      if (number < 1 || number > maxFieldNumber) throw new Unreadable('a field has no valid number');
      const [name, kind] = fields.get(number) ?? [];
      // Nothing that is read has a list.
      if (name === undefined || kind === undefined || kind instanceof ListOf) this.#skip(tag % 8);
      else if (kind instanceof MapOf) appendTo(maps, name, this.#entry(tag % 8, kind.schema));
      else texts.set(name, this.#value(kind, tag % 8));
    }
    if (this.#at > end) throw new Unreadable('a field goes on behind the end of its message');
    for (const name of empty) if (!texts.has(name)) texts.set(name, emptyBytes);
    for (const [name, entries] of maps) texts.set(name, `{${entries.join(',')}}`);
    return `{${[...texts].map(([name, text]) => `"${name}":${text}`).join(',')}}`;
  }

  #value(kind: Exclude<Kind, ListOf | MapOf>, wireType: number): string {
    if (kind === 'integer') return this.#integer(wireType);
    if (kind === 'bool') return String(this.#integer(wireType) !== '0');
    const end = this.#endOfValue(wireType);
    if (typeof kind !== 'string') return this.message(end, kind);
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    if (kind === 'present') return '{}';
    if (kind === 'base64') return `"${bytes.toString('base64')}"`;
    if (kind !== 'string') return jsonOf(bytes);
    if (!isUtf8(bytes)) throw new Unreadable('a string is not UTF-8');
    return JSON.stringify(bytes.toString());
  }

  /** `"key":value` */
  #entry(wireType: number, schema: Schema): string {
    const end = this.#endOfValue(wireType);
    let key = '""';
    let value = '{}';
    while (this.#at < end) {
      const tag = this.varint();
      const number = Math.floor(tag / 8);
      if (number === 1) key = this.#value('string', tag % 8);
      else if (number === 2) value = this.#value(schema, tag % 8);
      else this.#skip(tag % 8);
    }
    if (this.#at > end) throw new Unreadable('a field goes on behind the end of its message');
    return `${key}:${value}`;
  }

  #endOfValue(wireType: number): number {
    if (wireType !== lengthDelimited) throw new Unreadable('a field is not of the type of the schema');
    const size = this.varint();
    return this.#within(this.#at + size);
  }

  #within(end: number): number {
    if (end > this.#bytes.length) throw new Unreadable('a length goes beyond the frame');
    return end;
  }

  /** Signed: a negative one of 32 bits comes as one of 64. */
  #integer(wireType: number): string {
    if (wireType !== 0) throw new Unreadable('a field is not of the type of the schema');
    const from = this.#at;
    const value = this.varint();
    if (this.#at - from <= exactVarintBytes) return String(value);
    let exact = 0n;
    for (let at = this.#at - 1; at >= from; at--) exact = (exact << 7n) | BigInt((this.#bytes[at] as number) & 0x7f);
    return String(BigInt.asIntN(64, exact));
  }

  /** Beyond 2^53 it is not exact. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < maxVarintBytes; count++) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new Unreadable('the frame ends in the middle of a number');
      this.#at++;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    throw new Unreadable('a number has more than 64 bits');
  }

  #skip(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.#at = this.#within(this.#at + 8);
    else if (wireType === lengthDelimited) this.#at = this.#endOfValue(wireType);
    else if (wireType === 5) this.#at = this.#within(this.#at + 4);
    // Groups (3, 4) are gone from the language, and can be nested without an end.
    else throw new Unreadable('a field has no type of Protobuf');
  }
}

function appendTo(lists: Map<string, string[]>, name: string, item: string): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [item]);
  else list.push(item);
}
