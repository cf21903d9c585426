/**
 * docs/inputs.md, as far as it needs nothing but Redis: the commands work as they are written, and the rights of the ACL are enough and
 * each is used. Only the ports are others: free ones. RabbitMQ and Kafka: test/inputs/page.test.ts.
 */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';
import { writeFile } from '../integration/files.ts';
import { dataOf, join, randomRoom } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/inputs.md', import.meta.url), 'utf8');
const [input, start, add, acl] = blocksOf(page);

test('the entry of the page comes to the demo page', async () => {
  const redis = await ownRedis();
  const here = (text = '') => text.replaceAll('6379', `${redis.port}`);
  const { port, run } = await startAsDocumented(here(start?.text), { 'inputs.json': input?.text ?? '' });
  const token = await (await fetch(`http://127.0.0.1:${port}/demo/token`)).text();
  const client = await connectWelcomed(`ws://127.0.0.1:${port}/ws`, token);
  await client.subscribe('demo:lobby');
  expect(await run('sh', here(add?.text))).toMatch(/^\d+-\d+$/m);
  await until(() => dataOf(client, 'demo:lobby').length === 1, 10_000, 'the message came');
  expect(dataOf(client, 'demo:lobby')).toEqual(['your order is ready']);
});

test('a user of Redis with the rights of the page is refused nothing that an input does, and each right is used', async () => {
  const redis = await ownRedis();
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const words = (acl?.text ?? '')
    .replaceAll(/\\\n|'/g, ' ')
    .trim()
    .split(/\s+/)
    .slice(3);
  await admin.call(...(words as [string, ...string[]]));
  const url = `redis://inputs:a-long-password@127.0.0.1:${redis.port}`;
  const inputs = [{ name: 'orders', kind: 'redis', url, stream: 'orders', room: { header: 'room' } }];
  const node = await startNode({ INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })) });
  const room = randomRoom('plain');
  const member = await join(node, 'ann', room);
  await admin.xadd('orders', '*', 'data', '1');
  await admin.xadd('orders', '*', 'room', room, 'data', '2');
  await until(() => dataOf(member, room).length === 1, 10_000, 'the good one came');
  await until(async () => (await admin.xlen('orders:roomcast:parked')) === 1, 10_000, 'the other one is parked');
  await node.stop();
  expect(await admin.exists('orders:roomcast:reader')).toBe(0);
  expect(await admin.acl('LOG')).toEqual([]);
  const called = String(await admin.info('commandstats'));
  const rights = words.filter((word) => word.startsWith('+')).map((word) => word.slice(1));
  expect(
    rights.filter((right) => !new RegExp(`^cmdstat_${right.replace('|', '\\|')}(\\||:)`, 'm').test(called)),
  ).toEqual([]);
});
