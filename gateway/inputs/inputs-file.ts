/**
 * GATEWAY_INPUTS_FILE: which inputs there are, or every mistake in the file. No mistake repeats a URL: it may hold a password.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { mistakesOf } from '../auth/grants.ts';
import { addressOf, type RedisAddress } from '../redis/connection/address.ts';
import type { Places } from './message.ts';
import { readPath, readPlace } from './place.ts';
import type { StreamSettings } from './stream-source.ts';

export type InputSettings = StreamSettings & { places: Places };

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

const common = {
  name: z.string('must be a name').regex(/^[\w.-]{1,32}$/, 'must be 1 to 32 characters of A-Z a-z 0-9 _ . -'),
  room: place,
  key: place.optional(),
  from: place.optional(),
  data: z
    .strictObject({ path: readBy(readPath) }, 'must be {"path": "$.name"}')
    .optional()
    .transform((data) => data?.path ?? []),
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

const inputSchema = z.discriminatedUnion('kind', [redisInput], { error: 'must have "kind": "redis"' });
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
      say(`inputs.${index}.url: ${(error as TypeError).message}`);
      return [];
    }
  });
  for (const twice of repeated(inputs.map((input) => input.name))) say(`two inputs have the name ${twice}`);
  for (const twice of repeated(inputs.map(sourceOf)))
    say(`two inputs read the same: ${twice}; give each a group of its own`);
  return inputs;
}

type Input = z.infer<typeof inputSchema>;

function settingsOf(input: Input, redis: RedisAddress | undefined): InputSettings {
  const { data, from, key, room, url: inFile, urlFile: file, ...rest } = input;
  const places: Places = { room, key, from, data };
  const address = urlOf(inFile, file);
  return { ...rest, places, address: redisAddress(address, redis) };
}

/** Throws a TypeError; its message continues `url`. */
function urlOf(text: string | undefined, file: string | undefined): string | undefined {
  if (text !== undefined && file !== undefined) throw new TypeError('is there, and urlFile too; keep one');
  if (file === undefined) return text;
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new TypeError(`cannot be read from urlFile: ${(error as Error).message}`);
  }
}

function positionIn({ message }: SyntaxError): string {
  return / at position \d+/.exec(message)?.[0] ?? '';
}

function redisAddress(text: string | undefined, redis: RedisAddress | undefined): RedisAddress {
  const address = text === undefined ? redis : addressOf(text);
  if (address === undefined)
    throw new TypeError('is missing, and GATEWAY_REDIS_URL is not set; name the Redis of the stream');
  if (address.kind === 'cluster') {
    throw new TypeError('a Redis Cluster cannot be read yet; name one Redis, or Sentinel, for the stream');
  }
  return address;
}

/** Two inputs of one source would take each other's messages. */
function sourceOf({ address, group, stream }: InputSettings): string {
  const { database, kind } = address;
  const servers = kind === 'single' ? address.server : address.kind === 'sentinel' ? address.sentinels : [];
  return `${kind} ${JSON.stringify(servers)}/${database} ${stream} ${group}`;
}

function repeated(names: readonly string[]): Set<string> {
  return new Set(names.filter((each, index) => names.indexOf(each) !== index));
}
