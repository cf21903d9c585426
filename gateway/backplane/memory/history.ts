/**
 * The history of rooms in memory, for one node. Contract: gateway/backplane/backplane.ts.
 *
 * Over `maxTotalBytes` or `maxRooms` the least recently used room is evicted. It begins a new epoch when it is used again.
 */
import { randomBytes } from 'node:crypto';
import type { Position } from '../../../shared/protocol.ts';
import {
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  type KeptMessage,
  type Publication,
  positionTtlMs,
  unusedPositionTtlMs,
} from '../backplane.ts';

const maxTotalBytes = 268_435_456;
const maxRooms = 100_000;

interface KeptRoom {
  readonly epoch: string;
  top: number;
  messages: KeptMessage[];
  bytes: number;
  messagesExpireAt: number;
  expireAt: number;
}

export class MemoryHistory {
  /** The least recently used first. */
  readonly #rooms = new Map<string, KeptRoom>();
  readonly #run = randomBytes(6).toString('base64url');
  #epochs = 0;
  #bytes = 0;

  /** Returns the position and the finished frame. */
  append({ room: name, prefix, suffix }: Publication, rule: HistoryRule): Position & { frame: Buffer } {
    const now = performance.now();
    const room = this.#open(name, now);
    room.top++;
    const frame = Buffer.from(`${prefix}${room.top}${suffix}`);
    room.messages.push({ offset: room.top, frame });
    this.#grow(room, frame.length);
    while (room.messages.length > 1 && (room.messages.length > rule.size || room.bytes > rule.maxBytes)) {
      this.#grow(room, -(room.messages.shift()?.frame.length ?? 0));
    }
    const ttlMs = rule.ttlSeconds * 1000;
    room.messagesExpireAt = now + ttlMs;
    room.expireAt = now + Math.max(positionTtlMs, ttlMs);
    this.#evict();
    return { epoch: room.epoch, offset: room.top, frame };
  }

  read(name: string, { after, before = Number.POSITIVE_INFINITY, limit, maxBytes }: HistoryQuery): HistoryPage {
    const now = performance.now();
    const room = this.#open(name, now);
    room.expireAt = Math.max(room.expireAt, now + (room.top > 0 ? positionTtlMs : unusedPositionTtlMs));
    this.#evict();
    const { epoch, top } = room;
    const low = after !== undefined && (after.epoch ?? epoch) === epoch ? after.offset : 0;
    const wanted = room.messages.filter(({ offset }) => offset > low && offset < before);
    if (after === undefined) wanted.reverse();
    const messages: KeptMessage[] = [];
    let bytes = 0;
    for (const message of wanted) {
      bytes += message.frame.length;
      if (messages.length >= limit || (messages.length > 0 && bytes > maxBytes)) break;
      messages.push(message);
    }
    if (after === undefined) messages.reverse();
    const first = limit > 0 ? room.messages[0]?.offset : undefined;
    return { epoch, top, base: 0, first: first ?? top + 1, messages };
  }

  #open(name: string, now: number): KeptRoom {
    let room = this.#rooms.get(name);
    if (room !== undefined && room.expireAt <= now) {
      this.#remove(name, room);
      room = undefined;
    }
    if (room === undefined) {
      this.#epochs++;
      const epoch = `${this.#run}${this.#epochs.toString(36)}`;
      room = { epoch, top: 0, messages: [], bytes: 0, messagesExpireAt: 0, expireAt: now + unusedPositionTtlMs };
    } else this.#rooms.delete(name);
    this.#rooms.set(name, room);
    if (room.messagesExpireAt <= now) this.#clear(room);
    return room;
  }

  #evict(): void {
    for (const [name, room] of this.#rooms) {
      if (this.#rooms.size <= maxRooms && this.#bytes <= maxTotalBytes) return;
      // The last one is in use.
      if (this.#rooms.size > 1) this.#remove(name, room);
    }
  }

  #remove(name: string, room: KeptRoom): void {
    this.#clear(room);
    this.#rooms.delete(name);
  }

  #clear(room: KeptRoom): void {
    this.#grow(room, -room.bytes);
    room.messages = [];
  }

  #grow(room: KeptRoom, bytes: number): void {
    room.bytes += bytes;
    this.#bytes += bytes;
  }
}
