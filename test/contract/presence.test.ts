/** The contract of gateway/backplane/presence.ts over memory, and over the Redis of this test run with two nodes. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { memoryNode, redisNode } from './presence-node.ts';
import { presenceSuite } from './presence-suite.ts';

presenceSuite('the memory presence store', () => [memoryNode()]);

// One writes the envelopes of the next release.
presenceSuite('the Redis presence store, two nodes', () => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  const versions: EnvelopeVersion[] = [1, 2];
  return versions.map((envelopeVersion) => redisNode(inject('redisUrl'), prefix, { envelopeVersion }));
});
