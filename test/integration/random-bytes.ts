/**
 * Messages of random bytes through two nodes, to members of both dialects: live, by history and by a resume.
 *
 * Owns the clients and what was published; a message's key is its number.
 */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { expect } from 'vitest';
import { WebSocket } from 'ws';
import { binary } from '../../shared/client/binary.ts';
import { type Client, connect, type Room } from '../../shared/client/client.ts';
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';
import { randomRoom, tokenOf } from './people.ts';

export const mostBytes = 65_536;
/** Under way at a time, of each publisher. */
const window = 16;

type Node = { url: string };

/** The digest of each message by its key. */
type Digests = Map<string, string>;

interface Heard {
  data: unknown;
  key?: string;
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('base64');
}

/** A member of the native dialect has bytes as base64. */
function bytesOf(data: unknown): Uint8Array {
  return data instanceof Uint8Array ? data : Buffer.from((data as { $bytes: string }).$bytes, 'base64');
}

function enter(node: Node, user: string, speaks: 'json' | 'msgpack'): Client {
  const options = { WebSocket, getToken: () => tokenOf(user), ...(speaks === 'msgpack' ? { binary } : {}) };
  const client = connect(node.url, options);
  onCleanup(() => client.close());
  return client;
}

/** Keeps what comes: digests, and whether it came as bytes. */
function listen(room: Room, speaks: 'json' | 'msgpack'): string[] {
  const heard: string[] = [];
  room.on('message', (message) => heard.push(seen(message, speaks)));
  // Without a message missing, `join` and `leave` may be (count 0).
  room.on('gap', ({ reason, count }) => count === 0 || heard.push(`a gap: ${reason}`));
  return heard;
}

function seen({ data, key }: Heard, speaks: 'json' | 'msgpack'): string {
  return data instanceof Uint8Array === (speaks === 'msgpack')
    ? `${key} ${digest(bytesOf(data))}`
    : `${key} as ${typeof data}`;
}

async function publishAll(
  room: Room,
  numbers: number[],
  published: Digests,
  speaks: 'json' | 'msgpack',
): Promise<void> {
  const next = async (): Promise<void> => {
    const number = numbers.pop();
    if (number === undefined) return;
    const length = [0, 1, mostBytes][number] ?? randomInt(mostBytes + 1);
    const bytes = randomBytes(length);
    published.set(`${number}`, digest(bytes));
    const data = speaks === 'msgpack' ? bytes : { $bytes: bytes.toString('base64') };
    await room.publish(data, { key: `${number}` });
    return next();
  };
  await Promise.all(Array.from({ length: window }, next));
}

async function historyOf(room: Room, speaks: 'json' | 'msgpack'): Promise<string[]> {
  const all: string[] = [];
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page = await room.history({ after, limit: 1000 });
    all.push(...page.messages.map((message) => seen(message, speaks)));
    after = page.more ? page.messages.at(-1)?.offset : undefined;
  }
  return all;
}

/** Publishes `count` messages, and expects each with each member, once, in one order and byte for byte. */
export async function expectBytesEverywhere(one: Node, two: Node, count: number, withinMs: number): Promise<void> {
  const name = randomRoom('kept');
  const dialects = ['json', 'msgpack'] as const;
  const members = [one, two].flatMap((node, index) =>
    dialects.map((speaks) => {
      const room = enter(node, `${speaks}-${index}`, speaks).room(name);
      return { speaks, room, heard: listen(room, speaks), joined: room.subscribe() };
    }),
  );
  await Promise.all(members.map(({ joined }) => joined));
  const start = members[0]?.room.position;
  const published: Digests = new Map();
  const numbers = Array.from({ length: count }, (_, index) => index).reverse();
  const publishers = dialects.map((speaks, index) => {
    const room = enter(index === 0 ? one : two, `publisher-${speaks}`, speaks).room(name);
    return publishAll(room, numbers, published, speaks);
  });
  await Promise.all(publishers);

  const resumed = dialects.map((speaks, index) => {
    const room = enter(index === 0 ? two : one, `resumed-${speaks}`, speaks).room(name, { since: start });
    const heard = listen(room, speaks);
    void room.subscribe();
    return { speaks, room, heard };
  });
  const all = [...members, ...resumed];
  await until(() => all.every(({ heard }) => heard.length >= count), withinMs, 'everybody has every message');
  const [{ heard: order } = { heard: [] }] = all;
  expect([...order].sort()).toEqual([...published].map((entry) => entry.join(' ')).sort());
  for (const { heard } of all) expect(heard).toEqual(order);
  for (const { speaks, room } of resumed) expect(await historyOf(room, speaks)).toEqual(order);
}
