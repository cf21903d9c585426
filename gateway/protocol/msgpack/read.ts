/**
 * Reads a MessagePack message of a client (https://github.com/msgpack/msgpack/blob/master/spec.md), and writes the same frame
 * as JSON text, which decode.ts of the native dialect then checks.
 *
 * Whatever JSON cannot say without a change is refused, so nothing changes silently. It allocates nothing for what a
 * header announces: memory is bounded by the bytes of the message. docs/decisions/019-messagepack.md says why it is no library.
 */
import { isUtf8 } from 'node:buffer';
import { jsonKey } from '../../../shared/bytes.ts';
import type { FrameId } from '../../../shared/protocol.ts';
import type { Rejected } from '../request.ts';
import { isFrameId } from '../roomcast/decode.ts';
import { maxDepth } from '../roomcast/object-text.ts';

/** Returns the JSON text of one frame. Never throws. */
export function readText(message: ArrayBuffer): string | Rejected {
  const reader = new Reader(message);
  try {
    return reader.frame();
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return { type: 'rejected', id: reader.id, code: 'bad_request', message: error.message };
  }
}

/** Most strings are keys and names: for these a call into the UTF-8 check costs more than a loop. */
const shortBytes = 64;

/** `message` tells the client what to do. */
class Unreadable extends Error {}

class Reader {
  /** Of the frame, once it is read: a refusal carries it if it stands before the fault. */
  id: FrameId | undefined;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = 0;

  constructor(message: ArrayBuffer) {
    this.#bytes = Buffer.from(message);
    this.#view = new DataView(message);
  }

  frame(): string {
    const [first = 0xc0] = this.#bytes;
    if (!(first >= 0x80 && first <= 0x8f) && first !== 0xde && first !== 0xdf) {
      throw new Unreadable('The frame is not a MessagePack map; send one.');
    }
    const text = this.#value(0);
    if (this.#at < this.#bytes.length)
      throw new Unreadable('The frame goes on behind its map; send one map a message.');
    return text;
  }

  /** `depth`: how many maps and arrays it is in. */
  #value(depth: number): string {
    const head = this.#unsigned(1);
    if (head <= 0x7f) return `${head}`;
    if (head <= 0x8f) return this.#map(head & 0x0f, depth + 1);
    if (head <= 0x9f) return this.#array(head & 0x0f, depth + 1);
    if (head <= 0xbf) return JSON.stringify(this.#string(head & 0x1f));
    if (head >= 0xe0) return `${head - 0x100}`;
    switch (head) {
      case 0xc0:
        return 'null';
      case 0xc2:
        return 'false';
      case 0xc3:
        return 'true';
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#binary(this.#unsigned(1 << (head - 0xc4)), depth + 1);
      case 0xca:
        return number(this.#view.getFloat32(this.#skip(4)));
      case 0xcb:
        return number(this.#view.getFloat64(this.#skip(8)));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return `${this.#unsigned(1 << (head - 0xcc))}`;
      case 0xcf:
        return integer(this.#view.getBigUint64(this.#skip(8)));
      case 0xd0:
        return `${this.#view.getInt8(this.#skip(1))}`;
      case 0xd1:
        return `${this.#view.getInt16(this.#skip(2))}`;
      case 0xd2:
        return `${this.#view.getInt32(this.#skip(4))}`;
      case 0xd3:
        return integer(this.#view.getBigInt64(this.#skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return JSON.stringify(this.#string(this.#unsigned(1 << (head - 0xd9))));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(2 << (head - 0xdc)), depth + 1);
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 << (head - 0xde)), depth + 1);
      case 0xc1:
        throw new Unreadable('The frame holds the byte 0xc1, which MessagePack never uses.');
      default:
        throw new Unreadable('The frame holds an extension type; send a timestamp as a number or a string.');
    }
  }

  #map(size: number, depth: number): string {
    checkDepth(depth);
    const keys = new Set<string>();
    let text = '{';
    for (let index = 0; index < size; index++) {
      const key = this.#key();
      if (keys.has(key)) throw new Unreadable('A map has a key twice; send each once.');
      keys.add(key);
      const value = this.#value(depth);
      if (depth === 1 && key === 'id') this.#readId(value);
      text += `${index === 0 ? '' : ','}${JSON.stringify(jsonKey(key, size))}:${value}`;
    }
    return `${text}}`;
  }

  #readId(text: string): void {
    const id: unknown = JSON.parse(text);
    if (isFrameId(id)) this.id = id;
  }

  #key(): string {
    const head = this.#unsigned(1);
    if (head >= 0xa0 && head <= 0xbf) return this.#string(head & 0x1f);
    if (head >= 0xd9 && head <= 0xdb) return this.#string(this.#unsigned(1 << (head - 0xd9)));
    throw new Unreadable('A map has a key that is not a string; send strings.');
  }

  #array(size: number, depth: number): string {
    checkDepth(depth);
    let text = '[';
    for (let index = 0; index < size; index++) text += `${index === 0 ? '' : ','}${this.#value(depth)}`;
    return `${text}]`;
  }

  /** `{"$bytes":…}` is a level in JSON. */
  #binary(length: number, depth: number): string {
    checkDepth(depth);
    const from = this.#skip(length);
    return `{"$bytes":"${this.#bytes.toString('base64', from, this.#at)}"}`;
  }

  #string(length: number): string {
    const from = this.#skip(length);
    if (length <= shortBytes && this.#isAscii(from)) return this.#bytes.toString('latin1', from, this.#at);
    const bytes = this.#bytes.subarray(from, this.#at);
    if (!isUtf8(bytes)) throw new Unreadable('A string is not UTF-8; send bytes as the binary type.');
    return bytes.toString();
  }

  #isAscii(from: number): boolean {
    for (let at = from; at < this.#at; at++) if ((this.#bytes[at] as number) > 0x7f) return false;
    return true;
  }

  /** Of 1, 2 or 4 bytes. */
  #unsigned(bytes: number): number {
    const from = this.#skip(bytes);
    if (bytes === 1) return this.#view.getUint8(from);
    return bytes === 2 ? this.#view.getUint16(from) : this.#view.getUint32(from);
  }

  /** Returns where the skipped bytes begin. */
  #skip(bytes: number): number {
    const from = this.#at;
    if (from + bytes > this.#bytes.length) throw new Unreadable('The frame ends in the middle of a value.');
    this.#at = from + bytes;
    return from;
  }
}

function checkDepth(depth: number): void {
  if (depth > maxDepth) throw new Unreadable(`The frame is nested more than ${maxDepth} levels deep.`);
}

function integer(value: bigint): string {
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) {
    throw new Unreadable('An integer is beyond 2^53-1, where JSON loses digits; send it as a string.');
  }
  return `${value}`;
}

/** A float beyond 2^53 has an exponent in the text: its digits are not exact, and must not be read as an integer. */
function number(value: number): string {
  if (!Number.isFinite(value))
    throw new Unreadable('A number is not finite; send NaN and infinities as strings or null.');
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : JSON.stringify(value);
}
