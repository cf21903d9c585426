/** The contract of gateway/backplane/control.ts over memory, and over the Redis of this test run with three nodes. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { memoryNode, redisNode } from './control-node.ts';
import { controlSuite } from './control-suite.ts';

controlSuite('the memory control channel', () => [memoryNode()]);

controlSuite('the Redis control channel, three nodes', () => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  return [1, 2, 3].map(() => redisNode(inject('redisUrl'), prefix));
});
