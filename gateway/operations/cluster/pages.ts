/**
 * Pages of a list that is spread over all nodes: each node answers its part of the page, and the parts are merged. Pure
 * functions.
 */
import { Refusal } from '../refusal.ts';

/** The part of one node. `more`: the node has more behind it. */
export interface Part<Entry> {
  entries: Entry[];
  more: boolean;
}

/** Of an answer with a page, as JSON: 256 KiB. A single entry may be larger. */
const maxAnswerBytes = 262_144;
/** Around the entries: `more`, and the names of some dozens of nodes that are missing. */
const besidesEntriesBytes = 4_096;
export const maxPageBytes = maxAnswerBytes - besidesEntriesBytes;
export const maxLimit = 1_000;

/** Throws a Refusal. */
export function checkLimit(limit: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= maxLimit) return;
  throw new Refusal('bad_request', `limit is a whole number from 1 to ${maxLimit}.`);
}

/** The first entries, in their order: as many as `limit` and `maxPageBytes` allow, at least one. */
export function cut<Entry>(entries: Iterable<Entry>, limit: number): Part<Entry> {
  const page: Entry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    bytes += Buffer.byteLength(JSON.stringify(entry)) + 1;
    if (page.length === limit || (page.length > 0 && bytes > maxPageBytes)) return { entries: page, more: true };
    page.push(entry);
  }
  return { entries: page, more: false };
}

/**
 * Merges the parts of all nodes into one page. Behind the last entry of a part with more, another entry of that node may
 * follow: the page ends there. `combine`: entries of the same place, from several nodes, become one.
 */
export function merge<Entry>(
  parts: readonly Part<Entry>[],
  limit: number,
  order: (one: Entry, other: Entry) => number,
  combine: (one: Entry, other: Entry) => Entry = (one) => one,
): Part<Entry> {
  const ends = parts.flatMap(({ entries, more }) => (more ? entries.slice(-1) : []));
  const end = ends.sort(order)[0];
  const all = parts.flatMap(({ entries }) => entries).sort(order);
  const whole: Entry[] = [];
  let isCut = end !== undefined;
  for (const entry of all) {
    if (end !== undefined && order(entry, end) > 0) break;
    const last = whole.at(-1);
    if (last !== undefined && order(last, entry) === 0) whole[whole.length - 1] = combine(last, entry);
    else whole.push(entry);
  }
  const page = cut(whole, limit);
  isCut ||= page.more;
  return { entries: page.entries, more: isCut };
}

/**
 * Keeps the smallest texts of a long list, each with a value, at a cost that hardly grows with the list: most are larger than
 * all kept.
 */
export class Smallest<Value> {
  readonly #limit: number;
  #kept: [text: string, value: Value][] = [];
  #bound: string | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Of a text that is added again (a room that was left and joined during the look), one stays. */
  add(text: string, value: Value): void {
    if (this.#bound !== undefined && text > this.#bound) return;
    this.#kept.push([text, value]);
    if (this.#kept.length >= 2 * this.#limit) this.#trim();
  }

  /** In their order. */
  get all(): [text: string, value: Value][] {
    this.#trim();
    return this.#kept;
  }

  #trim(): void {
    this.#kept.sort(([one], [other]) => ascending(one, other));
    this.#kept = this.#kept.filter(([text], index, all) => text !== all[index - 1]?.[0]);
    if (this.#kept.length < this.#limit) return;
    this.#kept.length = this.#limit;
    this.#bound = this.#kept.at(-1)?.[0];
  }
}

/** By UTF-16 units. The same on all nodes, whatever their locale. */
export function ascending(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
