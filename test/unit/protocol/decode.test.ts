/**
 * gateway/protocol/roomcast/decode.ts: the hand-written check of client frames, compared with zod schemas on random
 * input; and the slicing of `data`, compared with the text from which the frame was built.
 */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { readFrame } from '../../../gateway/protocol/roomcast/decode.ts';
import { maxDepth } from '../../../gateway/protocol/roomcast/object-text.ts';
import { isRoomName } from '../../../shared/room.ts';
import { Random } from '../random.ts';
import { randomJsonText } from '../random-json.ts';

const text = JSON.stringify;
const emoji = '😀';

const idTexts = [
  ...['0', '7', '-0', '1e3', '9007199254740991', '""', text('a'.repeat(64)), text(emoji.repeat(64)), '"\\ud800"'],
  ...['9007199254740992', '-1', '1.5', '1e309', text('a'.repeat(65)), text(emoji.repeat(65)), '{}', '["a"]', 'null'],
  ...['true', '{"length":3}', '[]'],
];
const roomTexts = [
  ...[text('chat:1'), text('@ann'), text('a'.repeat(200)), text('__proto__'), text('constructor'), '"\\u0061"'],
  ...[text(''), text('a'.repeat(201)), text('a/../b'), text('a b'), text('é'), text(`a\n`), 'null', '5', '["chat:1"]'],
];
const keyTexts = [
  ...[
    text('k'),
    text('a'.repeat(128)),
    text('é'.repeat(64)),
    text(emoji.repeat(32)),
    text('a"\\\n'),
    text('__proto__'),
  ],
  ...[text(''), text('a'.repeat(129)), text('é'.repeat(65)), text(`${emoji.repeat(32)}a`), '"\\ud800"', '"\\udc00a"'],
  ...['null', '1', '{}', '[]', 'false'],
];
const sinceTexts = [
  ...[
    '{"epoch":"e","offset":0}',
    '{"offset":9007199254740991,"epoch":"","x":1}',
    `{"epoch":${text('a'.repeat(64))},"offset":7}`,
  ],
  ...[
    'null',
    '[]',
    '{}',
    '"e"',
    '{"epoch":"e"}',
    '{"offset":1}',
    '{"epoch":1,"offset":1}',
    '{"epoch":"e","offset":"1"}',
  ],
  ...['{"epoch":"e","offset":-1}', '{"epoch":"e","offset":1.5}', '{"epoch":"e","offset":9007199254740992}'],
  ...['{"epoch":"e","offset":1e309}', `{"epoch":${text('a'.repeat(65))},"offset":7}`],
];
const offsetTexts = ['0', '7', '9007199254740991', '-1', '1.5', '9007199254740992', '"7"', 'null'];
const connectionTexts = [text('node-1'), text('a'.repeat(200)), text('a'.repeat(201)), '7', 'null'];
const epochTexts = [text('e'), text('a'.repeat(64)), text('a'.repeat(65)), '7'];
const limitTexts = ['1', '100', '1000', '0', '1001', '1.5', '"7"'];
const tokenTexts = [text('a.b.c'), text(''), 'null', '1', '{}', '["a.b.c"]'];
const typeTexts = [
  ...[
    'auth',
    'subscribe',
    'unsubscribe',
    'publish',
    'ping',
    'history',
    'presence',
    'kick',
    '__proto__',
    'toString',
    '',
  ].map((t) => text(t)),
  ...['null', '5', '["ping"]', '{"type":"ping"}'],
];

const frameId = z.union([
  z.number().refine((id) => Number.isInteger(id) && id >= 0 && id <= 2 ** 53 - 1),
  z.string().refine((id) => Array.from(id).length <= 64),
]);
const room = z.string().refine(isRoomName);
const loneSurrogate = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const key = z.string().refine((value) => {
  const bytes = new TextEncoder().encode(value).length;
  return bytes >= 1 && bytes <= 128 && !loneSurrogate.test(value);
});
const offset = z.int().min(0);
const limit = z.int().min(1).max(1000);
const position = z.object({ epoch: z.string().max(64), offset });
const anyFrame = z.object({ type: z.string(), id: frameId.optional() });
const schemas: Record<string, z.ZodType> = Object.assign(Object.create(null), {
  auth: z.object({ token: z.string() }),
  subscribe: z.object({
    id: frameId,
    room,
    since: position.optional(),
  }),
  unsubscribe: z.object({ id: frameId, room }),
  publish: z
    .looseObject({ room, key: key.optional() })
    .refine((frame) => Object.hasOwn(frame, 'data'), { error: 'data is missing' }),
  ping: z.object({}),
  history: z.object({
    id: frameId,
    room,
    after: offset.optional(),
    before: offset.optional(),
    epoch: z.string().max(64).optional(),
    limit: limit.optional(),
  }),
  presence: z.object({ id: frameId, room, limit: limit.optional(), after: z.string().max(200).optional() }),
});

type Outcome = 'frame' | 'bad_request' | 'unsupported';

/** The result of the schemas for a frame that is valid JSON, not too deep, and without duplicate keys. */
function expectedOutcome(value: object): Outcome {
  const head = anyFrame.safeParse(value);
  if (!head.success) return 'bad_request';
  const schema = schemas[head.data.type];
  if (schema === undefined) return 'unsupported';
  return schema.safeParse(value).success ? 'frame' : 'bad_request';
}

function outcomeOf(frame: ReturnType<typeof readFrame>): Outcome {
  return frame.type === 'rejected' ? frame.code : 'frame';
}

/** A key in a random spelling: any character may be an escape. */
function spell(random: Random, name: string): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return `"${[...name].map((character) => (random.chance(0.1) ? escaped(character) : character)).join('')}"`;
}

function space(random: Random): string {
  return random.chance(0.3) ? random.text([' ', '\t', '\n', '\r'], random.integer(1, 3)) : '';
}

/** Builds a frame from the texts of its fields, with random order, white space and spelling of keys. */
function assemble(random: Random, fields: [name: string, value: string][]): string {
  const s = () => space(random);
  const members = random
    .shuffled(fields)
    .map(([name, value]) => `${s()}${spell(random, name)}${s()}:${s()}${value}${s()}`);
  return `${s()}{${members.length === 0 ? s() : members.join(',')}}${s()}`;
}

const unknownFields = ['x', 'Data', 'data ', '__proto__', 'constructor', 'hasOwnProperty'];

function randomFields(random: Random): [string, string][] {
  const fields: [string, string][] = [];
  const maybe = (name: string, probability: number, value: () => string) => {
    if (random.chance(probability)) fields.push([name, value()]);
  };
  const mostlyGood = (texts: readonly string[], good: number) =>
    random.chance(0.75) ? random.pick(texts.slice(0, good)) : random.pick(texts);
  maybe('type', 0.98, () => mostlyGood(typeTexts, 7));
  maybe('id', 0.8, () => mostlyGood(idTexts, 9));
  maybe('since', 0.3, () => mostlyGood(sinceTexts, 3));
  maybe('room', 0.85, () => mostlyGood(roomTexts, 6));
  maybe('token', 0.5, () => mostlyGood(tokenTexts, 2));
  maybe('data', 0.8, () => randomJsonText(random));
  // Depends on the type: `after` of `history` is an offset, `after` of `presence` a connection.
  const isPresence = fields.some(([, value]) => value === text('presence'));
  maybe('after', 0.3, () => (isPresence ? mostlyGood(connectionTexts, 2) : mostlyGood(offsetTexts, 3)));
  maybe('before', 0.3, () => mostlyGood(offsetTexts, 3));
  maybe('epoch', 0.3, () => mostlyGood(epochTexts, 2));
  maybe('limit', 0.3, () => mostlyGood(limitTexts, 3));
  maybe('key', 0.4, () => mostlyGood(keyTexts, 6));
  for (const name of unknownFields) maybe(name, 0.08, () => randomJsonText(random));
  return fields;
}

test('a frame is accepted exactly if its schema accepts it, with every field unchanged (6,000 frames)', () => {
  const random = new Random(1);
  const seen: Record<string, number> = {};
  for (let round = 0; round < 6_000; round++) {
    const fields = randomFields(random);
    const wire = assemble(random, fields);
    const value = JSON.parse(wire) as Record<string, unknown>;
    const frame = readFrame(wire);
    const expected = expectedOutcome(value);
    seen[`${outcomeOf(frame)} ${frame.type}`] = (seen[`${outcomeOf(frame)} ${frame.type}`] ?? 0) + 1;

    if (outcomeOf(frame) !== expected) expect.fail(`${outcomeOf(frame)} instead of ${expected}: ${wire}`);
    if (frame.id !== frameId.safeParse(value.id).data) expect.fail(`the id ${frame.id} for ${wire}`);
    if (frame.type === 'rejected') continue;
    const { type, id, room, token, key } = value;
    const since = position.optional().parse(frame.type === 'subscribe' ? value.since : undefined);
    const data = fields.find(([name]) => name === 'data')?.[1];
    const sent = {
      auth: { token },
      subscribe: { room, since },
      unsubscribe: { room },
      publish: { room, data, key },
      ping: {},
      pong: undefined,
      renew: undefined,
      call: undefined,
      history: { room, after: value.after, before: value.before, epoch: value.epoch, limit: value.limit ?? 100 },
      presence: { room, after: value.after, limit: value.limit ?? 100 },
    };
    expect(frame, wire).toEqual({ type, id, ...sent[frame.type] });
  }
  // The input produced every possible result.
  const kinds = ['auth', 'subscribe', 'unsubscribe', 'publish', 'ping', 'history', 'presence'].map(
    (type) => `frame ${type}`,
  );
  for (const kind of [...kinds, 'bad_request rejected', 'unsupported rejected']) expect(seen[kind]).toBeGreaterThan(30);
});

test.each([
  ['a brace in a string', '"}{"'],
  ['a quote and a backslash', '"\\"\\\\"'],
  ['a backslash before the closing quote', '"a\\\\"'],
  ['a string like the end of the frame', '"\\"},\\"data\\":1"'],
  ['a nested key data', '{"data":{"data":[1,{"data":2}]},"type":"ping"}'],
  ['a number that would be written differently', '1.50e+2'],
  ['a number beyond any double', '1e999'],
  ['escapes that need not be', '"\\u0061\\/\\ud83d\\ude00"'],
  ['white space inside', '[ 1 ,\n\t2 ]'],
  ['keys in an order of their own', '{"b":1,"10":2,"a":3,"b":4}'],
  ['null', 'null'],
  ['false', 'false'],
  ['an empty string', '""'],
])('data is kept byte for byte: %s', (_, data) => {
  const head = '"type":"publish","room":"r"';
  for (const wire of [
    `{${head},"data":${data}}`,
    `{"data" :\t${data}\r\n, ${head}}`,
    `{"\\u0064at\\u0061":${data},${head}}`,
  ]) {
    expect(readFrame(wire)).toMatchObject({ type: 'publish', data });
  }
});

test('a duplicate top-level key is bad_request in any spelling and place; nested duplicates are data', () => {
  const random = new Random(2);
  for (let round = 0; round < 2_000; round++) {
    const fields = new Map(randomFields(random))
      .set('type', '"publish"')
      .set('room', '"r"')
      .set('data', '{"a":1,"a":2}');
    for (const name of ['key', 'since']) fields.delete(name);
    fields.set('id', '5');
    const once = assemble(random, [...fields]);
    const taken = readFrame(once);
    if (taken.type !== 'publish' || taken.data !== '{"a":1,"a":2}') expect.fail(once);
    const again = random.pick([...fields]);
    const twice = assemble(random, [...fields, again]);
    const refused = readFrame(twice);
    if (outcomeOf(refused) !== 'bad_request' || refused.id !== 5) expect.fail(twice);
  }
});

test('64 levels pass, 65 and 100,000 are bad_request with the id of the frame', () => {
  const nested = (levels: number, open: string, close: string) => `${open.repeat(levels)}1${close.repeat(levels)}`;
  const frame = (levels: number, open: string, close: string) =>
    readFrame(`{"type":"publish","id":1,"room":"r","data":${nested(levels - 1, open, close)}}`);
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ] as const) {
    expect(frame(maxDepth, open, close)).toMatchObject({ type: 'publish', data: nested(63, open, close) });
    expect(frame(maxDepth + 1, open, close)).toMatchObject({ type: 'rejected', code: 'bad_request', id: 1 });
    expect(frame(100_000, open, close)).toMatchObject({ type: 'rejected', code: 'bad_request' });
  }
  expect(maxDepth).toBe(64);
  expect(readFrame(`{"type":"publish","room":"r","data":${'[[],'.repeat(62)}[]${']'.repeat(62)}}`).type).toBe(
    'publish',
  );
  expect(readFrame('['.repeat(100_000)).type).toBe('rejected');
});

test.each([
  '',
  ' ',
  'null',
  'true',
  '1',
  '"ping"',
  '[]',
  '[{"type":"ping"}]',
  '{',
  '{}',
  '{"type":"ping"',
  '{"type":"ping"}x',
  '{"type":"ping"}{"type":"ping"}',
  '{"type":"ping",}',
  "{'type':'ping'}",
  '{type:"ping"}',
  '{"type":"ping","id":01}',
  '{"type":"ping","id":NaN}',
  '{"type":"ping","id":"\u0000"}',
  '\ufeff{"type":"ping"}',
  '/**/{"type":"ping"}',
])('what is no JSON object with a type is bad_request: %j', (wire) => {
  expect(readFrame(wire)).toMatchObject({ type: 'rejected', code: 'bad_request', id: undefined });
});

test('fields are read from the frame, never from a prototype, and no prototype changes', () => {
  expect(readFrame('{"type":"subscribe","id":1,"__proto__":{"room":"r"}}')).toMatchObject({ code: 'bad_request' });
  expect(readFrame('{"__proto__":{"type":"ping"}}')).toMatchObject({ code: 'bad_request' });
  expect(readFrame('{"type":"publish","room":"r","constructor":{"prototype":{"data":1}}}').type).toBe('rejected');
  expect(readFrame('{"type":"ping","__proto__":1,"constructor":2,"toString":3}').type).toBe('ping');
  expect(readFrame('{"type":"ping","__proto__":1,"__proto__":2}')).toMatchObject({ code: 'bad_request' });
  expect(({} as Record<string, unknown>).room).toBeUndefined();
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test('mutated frames never make it throw, and only valid JSON becomes a request', () => {
  const random = new Random(3);
  let taken = 0;
  const parts = ['{', '}', '[', ']', '"', '\\', ',', ':', '0', ' ', '\u0000', '\ud800', emoji, 'data', '\\u0064'];
  for (let round = 0; round < 5_000; round++) {
    let wire = assemble(random, randomFields(random));
    for (let changes = random.integer(1, 4); changes > 0; changes--) {
      const at = random.integer(0, wire.length);
      wire = wire.slice(0, at) + (random.chance(0.5) ? random.pick(parts) : '') + wire.slice(at + random.integer(0, 2));
    }
    const frame = readFrame(wire);
    if (outcomeOf(frame) !== 'bad_request') JSON.parse(wire);
    if (frame.type === 'publish') expect(JSON.parse(frame.data), wire).toEqual(JSON.parse(wire).data);
    taken += Number(frame.type !== 'rejected');
  }
  expect(taken).toBeGreaterThan(100);
});
