/**
 * A topic of Kafka as an input, with a real broker of the test's own: order, poison, and the death of the node, of the broker and of
 * Redis.
 */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile, selfSigned, writeFile } from '../integration/files.ts';
import { join, messagesOf, randomRoom } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Access, kafkaClient, kafkaJars, ownKafka } from '../support/kafka.ts';
import { type SpawnedNode, spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { type Entry, entries, saysThatItReads, startFlood } from './flood.ts';

const deadlineMs = 30_000;

const jars = kafkaJars();
if ('missing' in jars) process.stderr.write(`${jars.missing}, so the tests with Kafka are skipped.\n`);
const withKafka = test.skipIf('missing' in jars);

async function started(access?: Access) {
  const kafka = await ownKafka('folder' in jars ? jars.folder : '', access);
  const admin = kafkaClient(kafka.broker).admin();
  const producer = kafkaClient(kafka.broker).producer();
  await Promise.all([admin.connect(), producer.connect()]);
  onCleanup(() => Promise.all([admin.disconnect(), producer.disconnect()]));
  /** `maxBytes`: of a message in any of them. */
  const create = async (topics: Record<string, number>, maxBytes = 1_048_588) => {
    const configEntries = [{ name: 'max.message.bytes', value: `${maxBytes}` }];
    const all = Object.entries(topics).map(([topic, numPartitions]) => ({
      topic,
      numPartitions,
      replicationFactor: 1,
      configEntries,
    }));
    await admin.createTopics({ waitForLeaders: false, topics: all });
    for (const { topic, numPartitions } of all) {
      const isThere = async () => (await admin.fetchTopicOffsets(topic)).length === numPartitions;
      await until(isThere, deadlineMs, `${topic} has its partitions`);
    }
  };
  return { kafka, producer, create };
}

/** Three nodes that read a topic of four partitions, and members of all rooms. */
async function flooded() {
  const { kafka, producer, create } = await started();
  await create({ orders: 4, 'orders.parked': 1 });
  const redis = await ownRedisOnDisk();
  const { all, rooms } = entries();
  const input = { kind: 'kafka', brokers: [kafka.broker], topic: 'orders' };
  const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
  return { kafka, redis, flood, all, add: (from: number, to?: number) => addAll(producer, all.slice(from, to)) };
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
    await create({ orders: 2 });
    await create({ 'orders.parked': 1 }, 2_000);
    const room = randomRoom('kept');
    const member = await join(node, 'ann', room);
    const good = (number: number) => ({
      partition: 0,
      value: `{"to":"${room}","order":{"price": 1234567890123456789${number}}}`,
    });
    const bad = [
      { partition: 0, value: '{"to":"two words","order":1}', headers: { of: 'shop' } },
      { partition: 0, value: null },
      // More than the topic of parked ones takes: only where it is.
      { partition: 0, value: `{"to":"two words","order":"${'x'.repeat(5_000)}"}`, headers: { of: 'shop' } },
    ];
    await producer.send({ topic: 'orders', messages: [good(1), ...bad, good(2)] });
    await until(() => messagesOf(member, room).length === 2, deadlineMs, 'the good ones came');
    expect(messagesOf(member, room)).toMatchObject([
      { key: 'orders:0:0', offset: 1 },
      { key: 'orders:0:4', offset: 2 },
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
    await until(() => told.length === 3, deadlineMs, 'three are parked');
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
    const reason = expect.stringMatching(/^not the name of a room/);
    expect(told[2]).toEqual({ 'roomcast-reason': reason, 'roomcast-partition': '0', 'roomcast-offset': '3' });
    expect(await metric(node, 'gateway_input_messages_total{input="orders",result="parked"}')).toBe(3);
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
    const { kafka, redis, flood, add } = await flooded();
    await add(0, 3_000);
    await flood.untilCame(1_000);
    await kafka.kill();
    await kafka.start();
    await add(3_000, 6_000);
    await flood.untilCame(4_000);
    await redis.kill();
    await redis.start();
    await add(6_000);
    await flood.untilCame(7_000);
    flood.first.kill('SIGKILL');
    await flood.untilWhole();
  },
  300_000,
);

withKafka(
  'a node that stops finishes what is under way, and others go on in order',
  async () => {
    const { flood, add } = await flooded();
    await add(0);
    await flood.untilCame(1_000);
    await flood.first.stop();
    await flood.untilWhole();
  },
  300_000,
);

withKafka(
  'over TLS with a private CA and a user, by each mechanism; a wrong password is told',
  async () => {
    const user = { username: 'roomcast', password: 'a-long-password' };
    const files = selfSigned();
    const { kafka, producer, create } = await started({ ...files, ...user });
    await create({ orders: 1, 'orders.parked': 1 });
    const redis = await ownRedisOnDisk();
    const nodeWith = (group: string, mechanism: string, password: string) => {
      const source = { name: group, kind: 'kafka', brokers: [kafka.secureBroker], topic: 'orders', group };
      const access = { tls: true, mechanism, username: user.username, passwordFile: writeFile(group, password) };
      const inputs = [{ ...source, ...access, room: { header: 'room' } }];
      const settings = { REDIS_URL: redis.url, INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })) };
      return spawnNode(settings, undefined, undefined, { NODE_EXTRA_CA_CERTS: files.certificate });
    };
    const room = randomRoom('plain');
    const refused = await nodeWith('refused', 'scram-sha-512', 'another password');
    const isTold = () => refused.logs.some(({ reason }) => /^refused: .*authentication failed/i.test(String(reason)));
    await until(isTold, deadlineMs, 'the log says that the user is refused');
    const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'];
    const nodes = [];
    for (const mechanism of mechanisms) nodes.push(await nodeWith(mechanism, mechanism, user.password));
    const member = await join(nodes[0] as SpawnedNode, 'ann', room);
    await producer.send({ topic: 'orders', messages: [{ value: '"safe"', headers: { room } }] });
    // Each group reads all, with a key of its own.
    await until(() => messagesOf(member, room).length === 3, deadlineMs, 'it came by each mechanism');
    const keys = messagesOf(member, room).map((message) => (message as { key?: string }).key);
    expect(keys.toSorted()).toEqual(mechanisms.map((mechanism) => `${mechanism}:0:0`));
  },
  180_000,
);
