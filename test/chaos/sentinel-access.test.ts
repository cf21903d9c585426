/**
 * Sentinel with users and with TLS, by the lines of docs/operations.md: a node, the replicas and the sentinels have every right
 * that they need, before, during and after a failover, and are refused nothing.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { roomsFile, selfSigned } from '../integration/files.ts';
import { enter, join, randomRoom } from '../integration/people.ts';
import { spawnNode } from '../support/node.ts';
import { type SentinelSettings, type SentinelStack, sentinelStack } from '../support/sentinels.ts';
import { until } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
const section = /\n### Sentinel\n(.*?)\n\*\*Refused writes/s.exec(page)?.[1] ?? '';
const deadlineMs = 20_000;

/** The words of each `redis-cli` command in a part of the page, without quotes. */
function commandsIn(text: string): string[][] {
  const lines = text.replaceAll('\\\n', ' ').matchAll(/^redis-cli (.*)$/gm);
  return [...lines].map(([, line = '']) => line.match(/[^\s']+/g)?.map((word) => word.replaceAll('\\|', '|')) ?? []);
}

const blocks = [...section.matchAll(/^```\w*\n(.*?)^```/gms)].map(([, text = '']) => text.trim().split('\n'));
const before = blocks.find((lines) => lines[0]?.startsWith('user default off')) ?? [];
const after = blocks.find((lines) => lines[0]?.startsWith('sentinel auth-user')) ?? [];
const settings: SentinelSettings = {
  commands: [
    ...commandsIn(/ACL SETUSER roomcast.*?```/s.exec(page)?.[0].replace(/^/, 'redis-cli ') ?? ''),
    ...commandsIn(section),
  ],
  sentinel: before,
  watch: after,
  access: 'sentinel:sentinels-at-sentinels',
};
const user = { REDIS_USERNAME: 'roomcast', REDIS_PASSWORD: 'a-long-password' };
const atSentinels = { REDIS_SENTINEL_USERNAME: 'roomcast', REDIS_SENTINEL_PASSWORD: 'nodes-at-sentinels' };

async function servesThroughAFailover(stack: SentinelStack, url: string): Promise<void> {
  const room = randomRoom('long');
  const rules = roomsFile({ match: 'long:*', history: { size: 100, maxBytes: 100_000 }, presence: true });
  const shared = { REDIS_URL: url, ACK: 'replicated', ROOMS_FILE: rules, ...user, ...atSentinels };
  const [one, other] = await Promise.all([spawnNode(shared), spawnNode(shared)]);
  const [ann, bob] = [await enter(one, 'ann'), await join(other, 'bob', room)];
  await ann.publish(room, 'before');
  await bob.next(({ type, data }: { type: string; data?: unknown }) => type === 'message' && data === 'before');
  const [old] = stack.servers;
  await stack.sentinels[0]?.client.call('SENTINEL', 'FAILOVER', 'mymaster');
  const next = await stack.untilSwitched(old);
  const isTaken = async () => (await ann.request({ type: 'publish', room, data: 'after' })).type === 'ok';
  await until(isTaken, deadlineMs, 'a message is taken after the failover');
  await bob.next(({ type, data }: { type: string; data?: unknown }) => type === 'message' && data === 'after');
  const follows = async () => /master_link_status:up/.test(await old.admin.info('replication'));
  await until(follows, deadlineMs, 'the old master follows');
  const list = String(await next.admin.call('CLIENT', 'LIST')).split('\n');
  expect(list.filter((line) => line.includes('name=roomcast:')).length).toBe(6);
  expect(list.filter((line) => line.includes('name=roomcast:') && !line.includes(' user=roomcast '))).toEqual([]);
  const logs = [...stack.servers.map(({ admin }) => admin), ...stack.sentinels.map(({ client }) => client)];
  for (const client of logs) expect(await client.call('ACL', 'LOG')).toEqual([]);
}

test('the users of docs/operations.md have every right that a failover needs, and none is refused', async () => {
  const stack = await sentinelStack(settings);
  await servesThroughAFailover(stack, stack.url);
}, 60_000);

test('TLS to sentinels and Redis, with these users: a node trusts the CA of the URL', async () => {
  const files = selfSigned();
  const stack = await sentinelStack({ ...settings, tls: files });
  await servesThroughAFailover(stack, `${stack.url}?ca=${files.certificate}`);
  // Without its CA no sentinel is trusted.
  const node = await spawnNode({ REDIS_URL: stack.url, ...user, ...atSentinels });
  const told = () => node.logs.some(({ reason }) => /^127\.0\.0\.1:\d+: .*certificate/.test(String(reason)));
  await until(told, deadlineMs, 'the log says that the certificate is not trusted');
}, 90_000);
