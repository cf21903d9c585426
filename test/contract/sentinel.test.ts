/**
 * All contracts of the backplane over a master that three sentinels name, with two nodes (three for the control channel) that
 * write different envelopes. What a failover means is in test/chaos/sentinel.test.ts.
 */
import { randomBytes } from 'node:crypto';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { sentinelStack } from '../support/sentinels.ts';
import { backplaneSuite } from './backplane-suite.ts';
import * as control from './control-node.ts';
import { controlSuite } from './control-suite.ts';
import { historySuite } from './history-suite.ts';
import * as presence from './presence-node.ts';
import { presenceSuite } from './presence-suite.ts';
import type { CreateBackplanes } from './recorder.ts';

const { url } = await sentinelStack();
const versions: EnvelopeVersion[] = [1, 2];
const newPrefix = () => `rct:${randomBytes(6).toString('hex')}`;

const backplanes: CreateBackplanes = (dedupeMs) => {
  const prefix = newPrefix();
  return versions.map((envelopeVersion) => {
    const redis = redisConnections(url);
    const node = `node-${envelopeVersion}`;
    const options = { redis, prefix, node, dedupeMs, replicated: false, envelopeVersion };
    return new RedisBackplane(options, createLog('silent'));
  });
};

backplaneSuite('the Redis backplane behind Sentinel', backplanes);
historySuite('the Redis backplane behind Sentinel', backplanes);
presenceSuite('the Redis presence store behind Sentinel', () => {
  const prefix = newPrefix();
  return versions.map((envelopeVersion) => presence.redisNode(url, prefix, { envelopeVersion }));
});
controlSuite('the Redis control channel behind Sentinel', () => {
  const prefix = newPrefix();
  return [1, 2, 3].map(() => control.redisNode(url, prefix));
});
