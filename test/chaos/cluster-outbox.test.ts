/**
 * The bound of what waits for the webhook in a whole Redis Cluster: 100,000 events, in whatever slots they lie. The receiver takes
 * nothing here.
 */
import { expect, test } from 'vitest';
import { maxKeptEvents } from '../../gateway/backplane/outbox.ts';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { RedisNames, sharedHome } from '../../gateway/redis/names.ts';
import { metric } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { join } from '../integration/people.ts';
import { spawnNode } from '../support/node.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

const deadlineMs = 30_000;
const names = new RedisNames('rc', 0, sharedHome);
/** Slots with events that wait: many with a few, in all shards, and one with most of all. */
const quiet = { slots: 300, events: 150 };
const spreadSlots = 50;
const flood = { slot: slotOf('flood'), events: 70_000 };
const excess = quiet.slots * quiet.events + flood.events - maxKeptEvents;

/** As scripts of nodes append them. KEYS[1] an outbox; ARGV[1] so many. */
const fill = `
for number = 1, ARGV[1] do
  redis.call('XADD', KEYS[1], '*', 'id', KEYS[1] .. number, 'event', '"type":"room.occupied","room":"r' .. number .. '"')
end`;

test('beyond 100,000 events in all slots the oldest of the fullest go: each is counted and told, and other rooms keep theirs', async () => {
  const cluster = await RedisCluster.start({ replicas: 0 });
  const owners = new Map<number, Awaited<ReturnType<RedisCluster['ownerOf']>>>();
  for (const server of await cluster.primaries())
    for (const slot of await cluster.slotsOf(server)) owners.set(slot, server);
  const ask = (slot: number, name: string, ...words: (string | number)[]) => {
    const server = owners.get(slot);
    if (server === undefined) throw new Error(`slot ${slot} has an owner`);
    return cluster.ask(server, name, ...words);
  };
  const slots = Array.from({ length: quiet.slots }, (_, index) => index * spreadSlots);
  for (const slot of slots) await ask(slot, 'EVAL', fill, 1, names.outboxOf(slot), quiet.events);
  await ask(flood.slot, 'EVAL', fill, 1, names.outboxOf(flood.slot), flood.events);

  const receiver = await new WebhookReceiver().start();
  receiver.answer = () => 503;
  const node = await spawnNode({
    ...receiver.settings,
    REDIS_URL: cluster.url,
    ROOMS_FILE: roomsFile({ match: '*', subscribe: 'user', publish: 'user', presence: true }),
  });
  const dropped = () => metric(node, 'gateway_webhooks_total{result="dropped"}');
  const kept = async () => {
    const lengths = await Promise.all(slots.map((slot) => ask(slot, 'XLEN', names.outboxOf(slot))));
    return lengths.map(Number);
  };
  const floodKept = async () => Number(await ask(flood.slot, 'XLEN', names.outboxOf(flood.slot)));
  await until(async () => (await dropped()) >= excess, deadlineMs, 'what is too much is dropped');
  expect(await dropped()).toBe(excess);
  expect(await metric(node, 'gateway_webhook_queue')).toBe(maxKeptEvents);
  expect(await kept()).toEqual(slots.map(() => quiet.events));
  expect(await floodKept()).toBe(flood.events - excess);
  // The oldest are gone.
  const oldest = await ask(flood.slot, 'XRANGE', names.outboxOf(flood.slot), '-', '+', 'COUNT', 1);
  expect(oldest).toContain(`outbox${excess + 1}\n`);
  const told = () => node.logs.filter(({ msg = '' }) => msg.startsWith('events for the webhook were dropped'));
  await until(() => told().length > 0, deadlineMs, 'the log says it');

  // What happens now is kept, and costs older events.
  const ann = await join(node, 'ann', 'lobby');
  await until(async () => (await dropped()) === excess + 2, deadlineMs, 'two more are dropped');
  expect(Number(await ask(slotOf('lobby'), 'XLEN', names.outboxOf(slotOf('lobby'))))).toBe(2);
  expect(await floodKept()).toBe(flood.events - excess - 2);
  await ann.close();
}, 90_000);
