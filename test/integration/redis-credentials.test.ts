/**
 * A node comes to Redis as the user it is told, with a password that holds whatever a password may hold: percent-encoded in
 * the URL, or as it is beside it.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { type NodeSettings, startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { readiness } from './admin.ts';

const deadlineMs = 10_000;
const password = 'a/b?c#d%41e@f:g';
const redis = await ownRedis();
const admin = new Redis(redis.url);
onCleanup(() => admin.disconnect());
await admin.call('ACL', 'SETUSER', 'roomcast', 'on', `>${password}`, '~*', '&*', '+@all');

const at = `@127.0.0.1:${redis.port}/3`;
test.each([
  ['in the URL', { REDIS_URL: `redis://roomcast:${encodeURIComponent(password)}${at}` }],
  ['beside the URL', { REDIS_URL: `redis://${at.slice(1)}`, REDIS_USERNAME: 'roomcast', REDIS_PASSWORD: password }],
  ['the user in the URL, the password beside it', { REDIS_URL: `redis://roomcast${at}`, REDIS_PASSWORD: password }],
] as [string, NodeSettings][])('user and password are given %s', async (_, settings) => {
  const node = await startNode(settings);
  await until(async () => (await readiness(node)) === 200, deadlineMs, 'the node is ready');
  const clients = String(await admin.call('CLIENT', 'LIST')).split('\n');
  expect(clients.filter((line) => / db=3 .* user=roomcast /.test(line)).length).toBeGreaterThan(0);
  expect(clients.filter((line) => / user=default /.test(line))).toHaveLength(1);
  await node.stop();
});
