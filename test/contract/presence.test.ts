/** The contract of gateway/backplane/presence.ts over memory, and over the Redis of this test run with two nodes. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { memoryNode, redisNode } from './presence-node.ts';
import { presenceSuite } from './presence-suite.ts';

presenceSuite('the memory presence store', () => [memoryNode()]);

presenceSuite('the Redis presence store, two nodes', () => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  return [0, 1].map(() => redisNode(inject('redisUrl'), prefix));
});
