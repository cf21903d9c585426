/** GATEWAY_INPUTS_FILE: what it means, and what each mistake is told as. No mistake holds a URL or a password. */
import { expect, test } from 'vitest';
import { absentFile, file, mistakesOf, read, secret } from './configuration.ts';

const redis = {
  name: 'orders',
  kind: 'redis',
  url: `redis://:${secret}@cache:6380/2`,
  stream: 'orders',
  room: { header: 'room' },
};
const rabbit = {
  name: 'shop',
  kind: 'rabbitmq',
  url: `amqps://shop:${secret}@mq/vhost`,
  queue: 'rooms',
  room: { path: '$.room' },
};
const kafka = {
  name: 'events',
  kind: 'kafka',
  brokers: ['k1:9092', 'k2:9092'],
  topic: 'events',
  room: { path: '$.room' },
};

const settings = (...inputs: object[]) => ({ INPUTS_FILE: file(JSON.stringify({ inputs })) });
const without = (input: Record<string, unknown>, ...names: string[]) =>
  Object.fromEntries(Object.entries(input).filter(([name]) => !names.includes(name)));

test('without the file there are no inputs; with it, each with all defaults', () => {
  expect(read().inputs).toEqual([]);
  const places = { key: undefined, from: undefined, data: [] };
  expect(read(settings(redis, rabbit, kafka)).inputs).toEqual([
    {
      ...{ kind: 'redis', name: 'orders', stream: 'orders', group: 'roomcast', body: 'data' },
      places: { ...places, room: { header: 'room' } },
      address: expect.objectContaining({
        kind: 'single',
        server: { host: 'cache', port: 6380 },
        database: 2,
        password: secret,
      }),
    },
    {
      ...{ kind: 'rabbitmq', name: 'shop', url: rabbit.url, queue: 'rooms', arguments: {} },
      places: { ...places, room: { path: ['room'] } },
    },
    {
      ...{ kind: 'kafka', name: 'events', brokers: kafka.brokers, topic: 'events', group: 'roomcast' },
      ...{ parking: 'events.parked', tls: false, sasl: undefined, places: { ...places, room: { path: ['room'] } } },
    },
  ]);
});

test('a stream is in the Redis of the nodes where no other is named; secrets may be in files', () => {
  const own = { REDIS_URL: 'redis://main:6379', ...settings(without(redis, 'url')) };
  expect(read(own).inputs[0]).toMatchObject({ address: { server: { host: 'main', port: 6379 } } });
  const other = { ...without(redis, 'url'), urlFile: file(`${redis.url}\n`) };
  expect(read(settings(other)).inputs[0]).toMatchObject({ address: { password: secret } });
  const user = { ...kafka, tls: true, mechanism: 'plain', username: 'shop', passwordFile: file(`${secret}\n`) };
  expect(read(settings(user)).inputs[0]).toMatchObject({
    tls: true,
    sasl: { mechanism: 'plain', username: 'shop', password: secret },
  });
});

test.each<[object[], string]>([
  [[without(redis, 'room')], 'inputs.0.room: must be {"header": "name"} or {"path": "$.name"}.'],
  [[{ ...redis, room: { path: '$[0]' } }], 'inputs.0.room: must have a path like "$.order.id"'],
  [[{ ...redis, data: { header: 'json' } }], 'inputs.0.data'],
  [[{ ...redis, kind: 'nats' }], 'inputs.0.kind: must have "kind": "redis", "rabbitmq" or "kafka".'],
  [[{ ...redis, name: 'two words' }], 'inputs.0.name: must be 1 to 32 characters of A-Z a-z 0-9 _ . -.'],
  [[without(redis, 'stream')], 'inputs.0.stream: must be the key of a stream.'],
  [[{ ...redis, strem: 'x' }], 'Unrecognized key: "strem"'],
  [[without(redis, 'url')], 'inputs.0.url: is missing, and GATEWAY_REDIS_URL is not set; name the Redis.'],
  [[{ ...redis, url: `http://${secret}` }], 'inputs.0.url: must be a URL that begins with redis://'],
  [[{ ...redis, url: `redis+cluster://:${secret}@a:1,b:2` }], 'inputs.0.url: a Redis Cluster cannot be read yet'],
  [[{ ...redis, urlFile: absentFile }], 'inputs.0.urlFile: url is there too; keep one.'],
  [[{ ...without(redis, 'url'), urlFile: absentFile }], 'inputs.0.urlFile: names a file that cannot be read: ENOENT'],
  [
    [{ ...rabbit, url: `https://${secret}` }],
    'inputs.0.url: must be a URL like amqps://user:password@host:5671/vhost.',
  ],
  [[without(rabbit, 'queue')], 'inputs.0.queue: must be the name of a queue.'],
  [[{ ...kafka, brokers: [`${secret}@k1:9092`] }], 'inputs.0.brokers.0: must be host:port.'],
  [[{ ...kafka, brokers: [] }], 'inputs.0.brokers: must name a broker.'],
  [[{ ...kafka, username: secret }], 'inputs.0.username: goes together with passwordFile; give both or none.'],
  [[{ ...kafka, mechanism: secret }], 'inputs.0.mechanism: must be one of plain, scram-sha-256, scram-sha-512.'],
  [[redis, { ...kafka, name: 'orders' }], 'two inputs have the name orders.'],
  [
    [redis, { ...redis, name: 'again' }],
    'two inputs read the same: {"host":"cache","port":6380} database 2, stream orders, group roomcast.',
  ],
  [[rabbit, { ...rabbit, name: 'again' }], 'two inputs read the same: mq/vhost, queue rooms.'],
  [
    [kafka, { ...kafka, name: 'again', topic: 'others' }],
    'two inputs read the same: k1:9092,k2:9092, group roomcast; give each topic a group of its own.',
  ],
])('%j is one mistake: %s', (inputs, mistake) => {
  const mistakes = mistakesOf(settings(...inputs));
  expect(mistakes).toHaveLength(1);
  expect(mistakes[0]).toMatch(/^GATEWAY_INPUTS_FILE /);
  expect(mistakes[0]).toContain(mistake);
  expect(mistakes[0]).not.toContain(secret);
});

test('a file that is not there or is not JSON is a mistake that quotes nothing of it', () => {
  expect(mistakesOf({ INPUTS_FILE: absentFile })).toEqual([
    expect.stringContaining('GATEWAY_INPUTS_FILE names a file that cannot be read: ENOENT'),
  ]);
  const [mistake = ''] = mistakesOf({ INPUTS_FILE: file(`{"inputs": [{"url": "${secret}" x]}`) });
  expect(mistake).toMatch(/^GATEWAY_INPUTS_FILE .* is not JSON at position \d+\.$/);
  expect(mistake).not.toContain(secret);
});
