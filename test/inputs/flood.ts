/**
 * 10,000 messages in a source, read by nodes as processes while something fails. Each has to come to its room once and in order.
 *
 * Owns the nodes and the members. Which source it is, and what fails, says the test.
 */
import { expect } from 'vitest';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { roomsFile, writeFile } from '../integration/files.ts';
import { dataOf, join, names, randomRoom } from '../integration/people.ts';
import type { Client } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';

export const total = 10_000;
const roomCount = 20;
const deadlineMs = 120_000;

export interface Entry {
  room: string;
  number: number;
}

/** Consecutive numbers, in turn to each room. */
export function entries(): { rooms: string[]; all: Entry[] } {
  const rooms = names(`${randomRoom('kept')}:`, roomCount);
  const all = Array.from({ length: total }, (_, number) => ({ room: rooms[number % roomCount] ?? '', number }));
  return { rooms, all };
}

export interface Flood {
  /** The node that read first. */
  first: SpawnedNode;
  /** Where the members are. */
  last: SpawnedNode;
  /** Resolves when the members have got so many messages. */
  untilCame(messages: number): Promise<unknown>;
  /** Resolves when all have come, each once and in order. */
  untilWhole(): Promise<void>;
}

/**
 * Starts a node, then two more when `reads` says that it reads; and members of all rooms on the last one. Call it when the source
 * is still empty.
 */
export async function startFlood(
  redisUrl: string,
  input: object,
  rooms: readonly string[],
  reads: (node: SpawnedNode) => Promise<unknown> | unknown,
): Promise<Flood> {
  const inputs = [{ name: 'orders', room: { header: 'room' }, ...input }];
  const settings = {
    REDIS_URL: redisUrl,
    INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })),
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: total } }),
  };
  const first = await spawnNode({ ...settings, NODE_ID: 'first' });
  await until(() => reads(first), deadlineMs, 'the first node reads');
  await spawnNode({ ...settings, NODE_ID: 'second' });
  const last = await spawnNode({ ...settings, NODE_ID: 'last' });
  const member: Client = await join(last, 'ann', ...rooms);
  const came = () => member.frames.reduce((sum, frame: GatewayFrame) => sum + (frame.type === 'message' ? 1 : 0), 0);
  const untilCame = (messages: number) => until(() => came() >= messages, deadlineMs, `${messages} messages came`);
  const untilWhole = async () => {
    await untilCame(total).catch((error: Error) => {
      throw new Error(`${came()} came`, { cause: error });
    });
    for (const [index, room] of rooms.entries()) {
      const wanted = Array.from({ length: total / roomCount }, (_, turn) => turn * roomCount + index);
      expect(dataOf(member, room)).toEqual(wanted);
    }
    expect(member.frames.filter(({ type }) => type === 'gap')).toEqual([]);
  };
  return { first, last, untilCame, untilWhole };
}

export function saysThatItReads({ logs }: SpawnedNode): boolean {
  return logs.some(({ msg }) => msg?.startsWith('this node reads'));
}
