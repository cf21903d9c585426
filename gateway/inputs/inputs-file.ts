/**
 * GATEWAY_INPUTS_FILE: which inputs there are, or every mistake in the file. No mistake repeats a URL: it may hold a password.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { isUrlOf } from '../../shared/url.ts';
import { mistakesOf } from '../auth/grants.ts';
import { addressOf, type RedisAddress } from '../redis/connection/address.ts';
import type { TopicSettings } from './kafka-source.ts';
import type { Places } from './message.ts';
import { readPath, readPlace } from './place.ts';
import type { QueueSettings } from './rabbitmq-source.ts';
import type { StreamSettings } from './stream-source.ts';

export type InputSettings = (StreamSettings | QueueSettings | TopicSettings) & { places: Places };

const variable = 'GATEWAY_INPUTS_FILE';
const maxInputs = 50;

/** `read` throws a TypeError; its message becomes the mistake. */
const readBy = <Value>(read: (value: unknown) => Value) =>
  z.unknown().transform((value, context) => {
    try {
      return read(value);
    } catch (error) {
      context.addIssue((error as TypeError).message);
      return z.NEVER;
    }
  });

const name = (error: string, most: number) => z.string(error).min(1, error).max(most, error);
const place = readBy(readPlace);

function readData(value: unknown): readonly string[] {
  const form = 'must be {"path": "$.name"}';
  if (typeof value !== 'object' || value === null || !('path' in value)) throw new TypeError(form);
  if (Object.keys(value).length > 1) throw new TypeError(form);
  return readPath(value.path);
}

const common = {
  name: z.string('must be a name').regex(/^[\w.-]{1,32}$/, 'must be 1 to 32 characters of A-Z a-z 0-9 _ . -'),
  room: place,
  key: place.optional(),
  from: place.optional(),
  data: readBy(readData).optional().default([]),
};

const url = z.string('must be a URL, a string').optional();
const urlFile = z.string('must be the name of a file').optional();

const redisInput = z.strictObject({
  ...common,
  kind: z.literal('redis'),
  url,
  urlFile,
  stream: name('must be the key of a stream', 512),
  group: name('must be the name of a consumer group', 64).default('roomcast'),
  body: name('must be the name of a field', 200).default('data'),
});

const queueInput = z.strictObject({
  ...common,
  kind: z.literal('rabbitmq'),
  url,
  urlFile,
  queue: name('must be the name of a queue', 255),
  arguments: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]), 'must be the arguments of the queue')
    .default({}),
});

const topicName = z.string('must be the name of a topic').regex(/^[\w.-]{1,249}$/, 'must be the name of a topic');
const mechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

const topicInput = z.strictObject({
  ...common,
  kind: z.literal('kafka'),
  brokers: z
    .array(z.string().regex(/^[^\s:/@]+:\d{1,5}$/, 'must be host:port'), 'must be a list of host:port')
    .min(1, 'must name a broker')
    .max(64, 'names more than 64 brokers; a few of them are enough'),
  topic: topicName,
  group: name('must be the name of a consumer group', 200).default('roomcast'),
  parking: topicName.optional(),
  tls: z.boolean('must be true or false').default(false),
  mechanism: z.enum(mechanisms, `must be one of ${mechanisms.join(', ')}`).default('scram-sha-512'),
  username: z.string('must be a user').optional(),
  passwordFile: z.string('must be the name of a file').optional(),
});

const inputSchema = z.discriminatedUnion('kind', [redisInput, queueInput, topicInput], {
  error: 'must have "kind": "redis", "rabbitmq" or "kafka"',
});
const fileSchema = z.strictObject({
  inputs: z.array(inputSchema).max(maxInputs, `must be at most ${maxInputs}`),
});

/** Reads the file. Adds to `mistakes`, and returns no inputs, if it cannot be used. `redis`: that of the nodes. */
export function readInputsFile(file: string, redis: RedisAddress | undefined, mistakes: string[]): InputSettings[] {
  const say = (mistake: string) => mistakes.push(`${variable} ${file}: ${mistake}.`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    // The text of a syntax error quotes the file, and so perhaps a URL.
    if (error instanceof SyntaxError) mistakes.push(`${variable} ${file} is not JSON${positionIn(error)}.`);
    else mistakes.push(`${variable} names a file that cannot be read: ${(error as Error).message}.`);
    return [];
  }
  const result = fileSchema.safeParse(json);
  if (!result.success) {
    for (const mistake of mistakesOf(result.error)) say(mistake);
    return [];
  }
  const inputs = result.data.inputs.flatMap((input, index) => {
    try {
      return [settingsOf(input, redis)];
    } catch (error) {
      say(`inputs.${index}.${(error as TypeError).message}`);
      return [];
    }
  });
  for (const twice of repeated(inputs.map((input) => input.name))) say(`two inputs have the name ${twice}`);
  for (const twice of repeated(inputs.map(sourceOf))) say(`two inputs read the same: ${twice}`);
  return inputs;
}

type Input = z.infer<typeof inputSchema>;

/** Throws a TypeError; its message begins with the field. */
function settingsOf(input: Input, redis: RedisAddress | undefined): InputSettings {
  const { data, from, key, room } = input;
  const places: Places = { room, key, from, data };
  if (input.kind === 'kafka') return { ...topicOf(input), places };
  const { name, kind } = input;
  const url = input.urlFile === undefined ? input.url : secretIn(input.urlFile, 'urlFile', input.url !== undefined);
  if (kind === 'redis') {
    const { body, group, stream } = input;
    return { kind, name, stream, group, body, places, address: redisAddress(url, redis) };
  }
  if (url === undefined || !isUrlOf(url, 'amqp', 'amqps')) {
    throw new TypeError('url: must be a URL like amqps://user:password@host:5671/vhost');
  }
  return { kind, name, url, queue: input.queue, arguments: input.arguments, places };
}

function topicOf(input: Extract<Input, { kind: 'kafka' }>): TopicSettings {
  const { brokers, group, kind, mechanism, name, parking, passwordFile, tls, topic, username } = input;
  if ((username === undefined) !== (passwordFile === undefined)) {
    throw new TypeError('username: goes together with passwordFile; give both or none');
  }
  const password = passwordFile === undefined ? '' : secretIn(passwordFile, 'passwordFile', false);
  const sasl = username === undefined ? undefined : { mechanism, username, password };
  return { kind, name, brokers, topic, group, parking: parking ?? `${topic}.parked`, tls, sasl };
}

function secretIn(file: string, field: string, isTwice: boolean): string {
  if (isTwice) throw new TypeError(`${field}: url is there too; keep one`);
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new TypeError(`${field}: names a file that cannot be read: ${(error as Error).message}`);
  }
}

function redisAddress(text: string | undefined, redis: RedisAddress | undefined): RedisAddress {
  const address = text === undefined ? redis : readAddress(text);
  if (address === undefined) throw new TypeError('url: is missing, and GATEWAY_REDIS_URL is not set; name the Redis');
  if (address.kind !== 'cluster') return address;
  throw new TypeError('url: a Redis Cluster cannot be read yet; name one Redis, or Sentinel, for the stream');
}

function readAddress(text: string): RedisAddress {
  try {
    return addressOf(text);
  } catch (error) {
    throw new TypeError(`url: ${(error as TypeError).message}`);
  }
}

/** Two inputs of one source would take each other's messages. No password is in it. */
function sourceOf(settings: InputSettings): string {
  switch (settings.kind) {
    case 'redis': {
      const { address, group, stream } = settings;
      const servers = address.kind === 'single' ? address.server : address.kind === 'sentinel' ? address.sentinels : [];
      return `${JSON.stringify(servers)} database ${address.database}, stream ${stream}, group ${group}`;
    }
    case 'rabbitmq': {
      const { host, pathname } = new URL(settings.url);
      return `${host}${pathname}, queue ${settings.queue}`;
    }
    case 'kafka':
      // The library gives the partitions of its own topics to all members of a group, whatever these have subscribed to.
      return `${[...settings.brokers].sort()}, group ${settings.group}; give each topic a group of its own`;
  }
}

function positionIn({ message }: SyntaxError): string {
  return / at position \d+/.exec(message)?.[0] ?? '';
}

function repeated(names: readonly string[]): Set<string> {
  return new Set(names.filter((each, index) => names.indexOf(each) !== index));
}
