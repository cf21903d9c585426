/**
 * What a node holds for a connection that has nothing to do: objects and buffers, after a collection of garbage. The token that it
 * remembers is among them.
 */
import { join } from '../integration/people.ts';
import { SampleFiles } from '../soak/sample.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';

export const holding = 'holding: a connection in a room of others, with a token of its own';

/** These come first, so that lists have grown and code is compiled. */
const warm = 500;
const counted = 2_000;
const atOnce = 50;
const looks = 8;

/** Of one connection. `program` as for spawnNode. */
export async function heldBytes(program?: string): Promise<number> {
  const redis = await ownRedis();
  const files = new SampleFiles();
  const node = await spawnNode({ REDIS_URL: redis.url }, program, files.flags(0));
  let users = 0;
  const enter = async (connections: number) => {
    for (let left = connections; left > 0; left -= atOnce) {
      await Promise.all(Array.from({ length: atOnce }, () => join(node, `user${++users}`, 'room')));
    }
  };
  await enter(warm);
  const before = await leastHeap(files, node);
  await enter(counted);
  return ((await leastHeap(files, node)) - before) / counted;
}

/** Whatever the node is about to do at the moment only adds to it. */
async function leastHeap(files: SampleFiles, node: SpawnedNode): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let left = looks; left > 0; left--) least = Math.min(least, (await files.write(node, 0)).heap);
  return least;
}
