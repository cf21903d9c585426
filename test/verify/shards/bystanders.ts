/**
 * Clients that only measure: how long messages take in their rooms, which lie in all shards. They are in a process of their own
 * (bystander.mjs), connected to the nodes themselves. As many are at a node apart, with a Redis of its own: no fault reaches that, so
 * what it is slower by is the machine, which all processes of the run share.
 *
 * Owns that process and the node apart. effects.ts compares what was measured.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { roomsFile } from '../../integration/files.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { endWithThisProcess } from '../../support/lifeline.ts';
import { spawnNode } from '../../support/node.ts';
import { ownRedisOnDisk } from '../../support/own-redis.ts';
import { mintToken } from '../../support/token.ts';
import { within } from '../../support/until.ts';
import type { Nodes } from '../nodes.ts';

const program = fileURLToPath(new URL('bystander.mjs', import.meta.url));
const lookMs = 200;
const answerDeadlineMs = 20_000;
const tokenSeconds = 24 * 3_600;

/** A message that came to a client. */
export interface Sample {
  /** When it was sent, of performance.now(). */
  at: number;
  room: string;
  ms: number;
}

export const bystanderRooms = Array.from({ length: 60 }, (_, index) => `p:bystander${index}`);
const apartRooms = bystanderRooms.map((room) => `${room}:apart`);
const areApart = new Set(apartRooms);

/** True if it came by the node apart. */
export function isApart({ room }: Sample): boolean {
  return areApart.has(room);
}

/** Starts to measure. Call the result for what was measured; then they are gone. */
export async function startBystanders({ nodes }: Pick<Nodes, 'nodes'>): Promise<() => Promise<Sample[]>> {
  const token = await mintToken({ sub: 'bystander', exp: Math.floor(Date.now() / 1000) + tokenSeconds });
  const rooms = roomsFile({ match: '*', subscribe: 'user', publish: 'user' });
  const apart = await spawnNode({ REDIS_URL: (await ownRedisOnDisk()).url, ROOMS_FILE: rooms, PUBLISH_RATE: 0 });
  const child = fork(program);
  endWithThisProcess(child);
  const join = (index: number, url: string, rooms: string[]) => child.send({ index, url, token, rooms });
  for (const index of nodes.keys()) join(nodes.length + index, apart.url, apartRooms);
  const at: (string | undefined)[] = [];
  /** A node that was started again has another port. */
  const look = () => {
    for (const [index, { url }] of nodes.entries()) {
      if (at[index] !== url) join(index, url, bystanderRooms);
      at[index] = url;
    }
  };
  look();
  const timer = setInterval(look, lookMs);
  onCleanup(() => {
    clearInterval(timer);
    child.kill('SIGKILL');
  });
  return async () => {
    clearInterval(timer);
    child.send({});
    const [measured] = (await within(
      once(child, 'message'),
      answerDeadlineMs,
      'bystanders say what they measured',
    )) as [[sentAt: number, room: string, took: number][]];
    const ahead = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now();
    return measured.map(([sentAt, room, took]) => ({ at: sentAt / 1000 - ahead, room, ms: took / 1000 }));
  };
}
