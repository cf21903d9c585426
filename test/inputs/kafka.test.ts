/**
 * A topic of Kafka as an input, with a real broker of the test's own: order, poison, and the death of the node, of the broker and of
 * Redis.
 */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile, writeFile } from '../integration/files.ts';
import { join, messagesOf, randomRoom } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { kafkaClient, kafkaJars, ownKafka } from '../support/kafka.ts';
import { startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { type Entry, entries, saysThatItReads, startFlood } from './flood.ts';

const deadlineMs = 30_000;

const jars = kafkaJars();
if ('missing' in jars) process.stderr.write(`${jars.missing}, so the tests with Kafka are skipped.\n`);
const withKafka = test.skipIf('missing' in jars);

async function started() {
  const kafka = await ownKafka('folder' in jars ? jars.folder : '');
  const admin = kafkaClient(kafka.broker).admin();
  const producer = kafkaClient(kafka.broker).producer();
  await Promise.all([admin.connect(), producer.connect()]);
  onCleanup(() => Promise.all([admin.disconnect(), producer.disconnect()]));
  const create = (topics: Record<string, number>) =>
    admin.createTopics({
      waitForLeaders: true,
      topics: Object.entries(topics).map(([topic, numPartitions]) => ({ topic, numPartitions, replicationFactor: 1 })),
    });
  return { kafka, producer, create };
}

async function addAll(producer: Awaited<ReturnType<typeof started>>['producer'], all: readonly Entry[]): Promise<void> {
  for (let from = 0; from < all.length; from += 1_000) {
    const messages = all.slice(from, from + 1_000);
    await producer.send({
      topic: 'orders',
      messages: messages.map(({ room, number }) => ({ key: room, value: `${number}`, headers: { room } })),
    });
  }
}

withKafka(
  'messages come to their rooms; what cannot be published is parked in a topic, and holds nothing up',
  async () => {
    const { kafka, producer, create } = await started();
    const redis = await ownRedisOnDisk();
    const inputs = [
      {
        name: 'orders',
        kind: 'kafka',
        brokers: [kafka.broker],
        topic: 'orders',
        room: { path: '$.to' },
        data: { path: '$.order' },
      },
    ];
    const node = await startNode({
      REDIS_URL: redis.url,
      INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })),
      ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }),
    });
    // The node is there before its topic.
    await create({ orders: 2, 'orders.parked': 1 });
    const room = randomRoom('kept');
    const member = await join(node, 'ann', room);
    const good = (number: number) => ({
      partition: 0,
      value: `{"to":"${room}","order":{"price": 1234567890123456789${number}}}`,
    });
    const bad = [
      { partition: 0, value: '{"to":"two words","order":1}', headers: { of: 'shop' } },
      { partition: 0, value: null },
    ];
    await producer.send({ topic: 'orders', messages: [good(1), ...bad, good(2)] });
    await until(() => messagesOf(member, room).length === 2, deadlineMs, 'the good ones came');
    expect(messagesOf(member, room)).toMatchObject([
      { key: 'orders:0:0', offset: 1 },
      { key: 'orders:0:3', offset: 2 },
    ]);
    const told: Record<string, string | undefined>[] = [];
    const consumer = kafkaClient(kafka.broker).consumer({ groupId: 'test' });
    onCleanup(() => consumer.disconnect());
    await consumer.connect();
    await consumer.subscribe({ topics: ['orders.parked'], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message: { headers, value } }) => {
        const texts = Object.entries(headers ?? {}).map(([name, text]) => [name, String(text)]);
        told.push({ value: value?.toString(), ...Object.fromEntries(texts) });
      },
    });
    await until(() => told.length === 2, deadlineMs, 'two are parked');
    // They are parked side by side.
    told.sort((one, other) => Number(one['roomcast-offset']) - Number(other['roomcast-offset']));
    expect(told[0]).toMatchObject({
      value: bad[0]?.value,
      of: 'shop',
      'roomcast-partition': '0',
      'roomcast-offset': '1',
    });
    expect(told[0]).toMatchObject({ 'roomcast-reason': expect.stringMatching(/^not the name of a room/) });
    expect(told[1]).toMatchObject({ 'roomcast-reason': 'no body', 'roomcast-offset': '2' });
    expect(await metric(node, 'gateway_input_messages_total{input="orders",result="parked"}')).toBe(2);
    await until(
      async () => (await metric(node, 'gateway_input_lag_messages{input="orders"}')) === 0,
      deadlineMs,
      'no lag',
    );
  },
  180_000,
);

withKafka(
  'the node that reads, the broker and Redis are killed: of 10,000 none is lost, none comes twice, each room in order',
  async () => {
    const { kafka, producer, create } = await started();
    await create({ orders: 4, 'orders.parked': 1 });
    const redis = await ownRedisOnDisk();
    const { all, rooms } = entries();
    const input = { kind: 'kafka', brokers: [kafka.broker], topic: 'orders' };
    const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
    await addAll(producer, all.slice(0, 3_000));
    await flood.untilCame(1_000);
    await kafka.kill();
    await kafka.start();
    await addAll(producer, all.slice(3_000, 6_000));
    await flood.untilCame(4_000);
    await redis.kill();
    await redis.start();
    await addAll(producer, all.slice(6_000));
    await flood.untilCame(7_000);
    flood.first.kill('SIGKILL');
    await flood.untilWhole();
  },
  300_000,
);

withKafka(
  'a node that stops finishes what is under way, and others go on in order',
  async () => {
    const { kafka, producer, create } = await started();
    await create({ orders: 4, 'orders.parked': 1 });
    const redis = await ownRedisOnDisk();
    const { all, rooms } = entries();
    const input = { kind: 'kafka', brokers: [kafka.broker], topic: 'orders' };
    const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
    await addAll(producer, all);
    await flood.untilCame(1_000);
    await flood.first.stop();
    await flood.untilWhole();
  },
  300_000,
);
