/**
 * A queue of RabbitMQ as an input, with a real broker of the test's own: order, poison, and the death of the node, of the broker and
 * of Redis.
 */
import { readFileSync } from 'node:fs';
import { Connection } from 'rabbitmq-client';
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile, selfSigned, writeFile } from '../integration/files.ts';
import { dataOf, join, messagesOf, randomRoom } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { hasRabbit, ownRabbit } from '../support/rabbitmq.ts';
import { until } from '../support/until.ts';
import { type Entry, entries, saysThatItReads, startFlood } from './flood.ts';

const deadlineMs = 20_000;
const single = { 'x-single-active-consumer': true };

if (!hasRabbit) {
  process.stderr.write('RabbitMQ is not on this machine (Debian: rabbitmq-server), so its tests are skipped.\n');
}

function backend(url: string, certificate?: string) {
  const tls = certificate === undefined ? {} : { tls: { ca: readFileSync(certificate) } };
  const connection = new Connection({ url, retryLow: 100, ...tls });
  connection.on('error', () => undefined);
  onCleanup(() => connection.unsafeDestroy());
  return { connection, publisher: connection.createPublisher({ confirm: true }) };
}

async function addAll(url: string, queue: string, all: readonly Entry[]): Promise<void> {
  const { publisher } = backend(url);
  for (let from = 0; from < all.length; from += 500) {
    const sent = all.slice(from, from + 500).map(({ room, number }) => {
      const envelope = { routingKey: queue, durable: true, messageId: `${number}`, headers: { room } };
      return publisher.send(envelope, Buffer.from(`${number}`));
    });
    await Promise.all(sent);
  }
}

test.skipIf(!hasRabbit)(
  'messages come to their rooms; what cannot be published is dead-lettered, and holds nothing up',
  async () => {
    const [rabbit, redis] = [await ownRabbit(), await ownRedisOnDisk()];
    const more = {
      'x-queue-type': 'quorum' as const,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': 'parked',
    };
    const inputs = [
      {
        name: 'orders',
        kind: 'rabbitmq',
        url: rabbit.url,
        queue: 'orders',
        arguments: more,
        room: { header: 'routing-key' },
      },
    ];
    const settings = {
      REDIS_URL: redis.url,
      INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })),
      ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }),
    };
    const room = randomRoom('kept');
    const { connection, publisher } = backend(rabbit.url);
    await connection.queueDeclare({ queue: 'parked', durable: true });
    await connection.exchangeDeclare({ exchange: 'rooms', type: 'topic' });
    await connection.queueDeclare({ queue: 'orders', durable: true, arguments: { ...more, ...single } });
    await connection.queueBind({ exchange: 'rooms', queue: 'orders', routingKey: '#' });
    const nodes = [await startNode(settings), await startNode(settings)];
    const member = await join(nodes[0] as { url: string }, 'ann', room);
    const to = (routingKey: string, messageId?: string) => ({
      exchange: 'rooms',
      routingKey,
      ...(messageId === undefined ? {} : { messageId }),
    });
    await publisher.send(to(room, 'a'), Buffer.from('{"price": 12345678901234567890}'));
    await publisher.send(to('two words', 'b'), Buffer.from('1'));
    await publisher.send(to(room, 'c'), Buffer.from('{'));
    await publisher.send(to(room), Buffer.from('2'));
    // With a content type for which the library parses the body, or makes text of it.
    await publisher.send(to(room, 'd'), { number: 3 });
    await publisher.send(to(room, 'd'), { number: 3 });
    await publisher.send(to(room, 'e'), '"text"');
    await until(() => messagesOf(member, room).length === 3, deadlineMs, 'the good ones came');
    expect(messagesOf(member, room)).toMatchObject([
      { key: 'orders:a' },
      { key: 'orders:d', data: { number: 3 } },
      { key: 'orders:e', data: 'text' },
    ]);
    const parked = async () => (await connection.queueDeclare({ queue: 'parked', durable: true })).messageCount;
    await until(async () => (await parked()) === 3, deadlineMs, 'three are dead-lettered');
    const counts = await Promise.all(
      nodes.flatMap((node) =>
        ['published', 'duplicate', 'parked'].map((result) =>
          metric(node, `gateway_input_messages_total{input="orders",result="${result}"}`),
        ),
      ),
    );
    expect(counts.filter((count) => count > 0)).toEqual([3, 1, 3]);
    await until(
      async () => (await connection.queueDeclare({ queue: 'orders', passive: true })).messageCount === 0,
      deadlineMs,
      'the queue is empty',
    );
    expect(dataOf(member, room)).toHaveLength(3);
  },
  120_000,
);

test.skipIf(!hasRabbit)(
  'the node that reads, the broker and Redis are killed: of 10,000 none is lost, none comes twice, each room in order',
  async () => {
    const [rabbit, redis] = [await ownRabbit(), await ownRedisOnDisk()];
    const { all, rooms } = entries();
    const input = { kind: 'rabbitmq', url: rabbit.url, queue: 'orders' };
    const { connection } = backend(rabbit.url);
    const consumers = async () => {
      const { consumerCount } = await connection.queueDeclare({ queue: 'orders', passive: true });
      return consumerCount === 1;
    };
    const flood = await startFlood(redis.url, input, rooms, consumers);
    await addAll(rabbit.url, 'orders', all.slice(0, 3_000));
    await flood.untilCame(1_000);
    expect(saysThatItReads(flood.first)).toBe(true);
    await rabbit.kill();
    await rabbit.start();
    await addAll(rabbit.url, 'orders', all.slice(3_000, 6_000));
    await flood.untilCame(4_000);
    await redis.kill();
    await redis.start();
    await addAll(rabbit.url, 'orders', all.slice(6_000));
    await flood.untilCame(7_000);
    flood.first.kill('SIGKILL');
    await flood.untilWhole();
  },
  240_000,
);

test.skipIf(!hasRabbit)(
  'a node that stops finishes what is under way, and another one goes on in order',
  async () => {
    const [rabbit, redis] = [await ownRabbit(), await ownRedisOnDisk()];
    const { all, rooms } = entries();
    const { connection } = backend(rabbit.url);
    const consumers = async () =>
      (await connection.queueDeclare({ queue: 'orders', passive: true })).consumerCount === 1;
    const flood = await startFlood(redis.url, { kind: 'rabbitmq', url: rabbit.url, queue: 'orders' }, rooms, consumers);
    await addAll(rabbit.url, 'orders', all);
    await flood.untilCame(2_000);
    await flood.first.stop();
    await flood.untilWhole();
  },
  240_000,
);

test.skipIf(!hasRabbit)(
  'over TLS with a private CA: a node that knows it reads, and one that does not says so',
  async () => {
    const files = selfSigned();
    const [rabbit, redis] = [await ownRabbit(files), await ownRedisOnDisk()];
    const inputs = [{ name: 'orders', kind: 'rabbitmq', url: rabbit.url, queue: 'orders', room: { header: 'room' } }];
    const settings = { REDIS_URL: redis.url, INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })) };
    const stranger = await spawnNode(settings);
    const isTold = () => stranger.logs.some(({ reason }) => /self-signed certificate/.test(String(reason)));
    await until(isTold, deadlineMs, 'the log says that the certificate is not trusted');
    const node = await spawnNode(settings, undefined, undefined, { NODE_EXTRA_CA_CERTS: files.certificate });
    const { connection, publisher } = backend(rabbit.url, files.certificate);
    const declared = async () =>
      (await connection.queueDeclare({ queue: 'orders', passive: true })).consumerCount === 1;
    await until(declared, deadlineMs, 'it reads');
    const room = randomRoom('plain');
    const member = await join(node, 'ann', room);
    await publisher.send({ routingKey: 'orders', messageId: '1', headers: { room } }, Buffer.from('"safe"'));
    await until(() => dataOf(member, room).length === 1, deadlineMs, 'it came');
    expect(dataOf(member, room)).toEqual(['safe']);
  },
  120_000,
);

test.skipIf(!hasRabbit)(
  'a node without Redis loses its broker too: it lets go of what it held, consumes again, and all comes once and in order',
  async () => {
    const [rabbit, redis] = [await ownRabbit(), await ownRedisOnDisk()];
    const proxy = await faultProxy(redis.url);
    const inputs = [{ name: 'orders', kind: 'rabbitmq', url: rabbit.url, queue: 'orders', room: { header: 'room' } }];
    const settings = { INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })), REDIS_URL: proxy.url };
    const node = await spawnNode(settings);
    const { connection, publisher } = backend(rabbit.url);
    const consumers = async () => (await connection.queueDeclare({ queue: 'orders', passive: true })).consumerCount;
    await until(async () => (await consumers()) === 1, deadlineMs, 'it reads');
    const room = randomRoom('plain');
    const member = await join(node, 'ann', room);
    proxy.mode = 'reset';
    proxy.cut();
    const numbers = Array.from({ length: 150 }, (_, number) => number);
    for (const number of numbers) {
      const envelope = { routingKey: 'orders', durable: true, messageId: `${number}`, headers: { room } };
      await publisher.send(envelope, Buffer.from(`${number}`));
    }
    const retries = () => node.logs.some(({ msg }) => msg?.startsWith('a message of an input is not published yet'));
    await until(retries, deadlineMs, 'it holds messages');
    await rabbit.kill();
    await rabbit.start();
    await until(async () => (await consumers()) === 1, deadlineMs, 'it consumes again, though Redis is still away');
    proxy.mode = 'pass';
    await until(() => dataOf(member, room).length === numbers.length, deadlineMs, 'all came');
    expect(dataOf(member, room)).toEqual(numbers);
  },
  180_000,
);
