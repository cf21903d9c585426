/**
 * gateway/protocol/msgpack: frames of clients, and what members get, judged by the library of npm, which reads and writes
 * MessagePack on the other side.
 */
import { type DecoderOptions, decode, Encoder, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { msgpack } from '../../../gateway/protocol/msgpack/dialect.ts';
import type { Reply } from '../../../gateway/protocol/reply.ts';
import { readFrame } from '../../../gateway/protocol/roomcast/decode.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import { Random } from '../random.ts';
import { randomJsonText } from '../random-json.ts';

const bigints = new Encoder({ useBigInt64: true });
const bytes = (...values: (number | string)[]) =>
  Buffer.concat(values.map((value) => (typeof value === 'string' ? Buffer.from(value) : Buffer.from([value]))));
const received = (message: Uint8Array) => msgpack.decode(Uint8Array.from(message).buffer);
const publishOf = (data: unknown) => received(encode({ id: 1, type: 'publish', room: 'a', data }));
const textOf = (data: unknown) => (publishOf(data) as { data: string }).data;

/** A member's view of `data` given as JSON text. */
function toldOf(data: string, options?: DecoderOptions): unknown {
  const { prefix, suffix } = new MessageStamper().stamp({ room: 'a', data, key: undefined }, 'ann', undefined);
  const frame = msgpack.message(Buffer.from(prefix + suffix), undefined) as Uint8Array;
  return (decode(frame, options) as { data: unknown }).data;
}

const plain = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
  fc.string({ unit: 'grapheme' }),
  fc.uint8Array({ maxLength: 300 }),
);
const keys = fc.oneof(
  fc.string().filter((key) => key !== '__proto__'),
  fc.constantFrom('$bytes', '$$bytes', 'bytes', '$'),
);
const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    plain,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;

test('whatever a client publishes, bytes anywhere and every key included, a member gets back unchanged', () => {
  fc.assert(
    fc.property(values, (data) => {
      expect(toldOf(textOf(data))).toEqual(data);
    }),
    { numRuns: 500 },
  );
});

test('every byte value and length around the limits of the types arrives unchanged, and as base64 in JSON', () => {
  for (const length of [0, 1, 2, 3, 31, 32, 255, 256, 65_535, 65_536]) {
    const data = Uint8Array.from({ length }, (_, index) => index % 256);
    const text = textOf(data);
    expect(JSON.parse(text)).toEqual({ $bytes: Buffer.from(data).toString('base64') });
    expect(toldOf(text)).toEqual(data);
  }
});

test.each([
  ['{"$bytes":"AAEC"}', Uint8Array.of(0, 1, 2)],
  ['{"$bytes":""}', new Uint8Array()],
  ['{"\\u0024bytes":"/w=="}', Uint8Array.of(255)],
  ['[{"a":{"$bytes":"AA=="}}]', [{ a: Uint8Array.of(0) }]],
  ['{"$$bytes":"AAEC"}', { $bytes: 'AAEC' }],
  ['{"$$$bytes":1}', { $$bytes: 1 }],
  ['{"$$bytes":{"$bytes":"AA=="}}', { $bytes: Uint8Array.of(0) }],
  ['{"$bytes":5}', { $bytes: 5 }],
  ['{"$bytes":"AAE"}', { $bytes: 'AAE' }],
  ['{"$bytes":"AB=="}', { $bytes: 'AB==' }],
  ['{"$bytes":"_w=="}', { $bytes: '_w==' }],
  ['{"$bytes":"AAEC\\n"}', { $bytes: 'AAEC\n' }],
  ['{"$bytes":"AAEC","more":1}', { $bytes: 'AAEC', more: 1 }],
  ['{"$$bytes":1,"$bytes":2}', { $$bytes: 1, $bytes: 2 }],
  ['["$bytes","AAEC"]', ['$bytes', 'AAEC']],
])('of JSON, %s is told as %j', (json, data) => {
  expect(toldOf(json)).toEqual(data);
  // And said by MessagePack, it comes to the same.
  expect(toldOf(textOf(data))).toEqual(data);
});

test.each([
  ['9007199254740993', 9007199254740993n],
  ['-9007199254740993', -9007199254740993n],
  ['18446744073709551615', 18446744073709551615n],
  ['-9223372036854775808', -9223372036854775808n],
  ['9223372036854776000', 9223372036854776000n],
  ['18446744073709551616', 2 ** 64],
  ['1e20', 1e20],
  [`1${'0'.repeat(300)}`, 1e300],
  ['9007199254740993.5', 9007199254740994],
  ['[1234567890123456,-3000000000,4294967296,1,-1,0.5]', [1234567890123456n, -3000000000n, 4294967296n, 1, -1, 0.5]],
  [
    '{"9007199254740993":"9007199254740993 \\" 9007199254740993"}',
    { '9007199254740993': '9007199254740993 " 9007199254740993' },
  ],
])('the number %s of JSON keeps its digits', (json, data) => {
  expect(toldOf(json, { useBigInt64: true })).toEqual(data);
});

test('a float beyond 2^53 is still the same float behind JSON', () => {
  for (const float of [2 ** 53, 2 ** 63, -(2 ** 64), 1.5e300, 5e-324, 2 ** 53 + 2]) {
    expect(toldOf(textOf(float), { useBigInt64: true })).toBe(float);
  }
});

test('a byte order mark is a character like any other', () => {
  for (const text of ['\ufeff', '\ufeffa'.repeat(40)]) expect(toldOf(textOf(text))).toBe(text);
});

test('one half of a surrogate pair, which UTF-8 cannot hold, is U+FFFD in strings and keys', () => {
  expect(toldOf('{"\\ud800a":["\\udc00","\\ud83d\\ude00"]}')).toEqual({ '\ufffda': ['\ufffd', '😀'] });
});

test('any JSON is told as JSON.parse reads it, where that loses nothing', () => {
  const random = new Random(14);
  for (let round = 0; round < 500; round++) {
    const json = randomJsonText(random);
    if (/\d{16}|\\ud800|"__proto__"|-0/.test(json)) continue;
    expect(toldOf(json), json).toEqual(JSON.parse(json));
  }
});

const nested = (levels: number) => bytes(...Array.from({ length: levels }, () => 0x91), 0xc0);
const frame = (...data: (number | string)[]) =>
  bytes(0x84, 0xa2, 'id', 7, 0xa4, 'type', 0xa7, 'publish', 0xa4, 'room', 0xa1, 'a', 0xa4, 'data', ...data);

test.each([
  ['NaN', frame(0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0), 'not finite'],
  ['an infinity of 32 bits', frame(0xca, 0x7f, 0x80, 0, 0), 'not finite'],
  ['an integer of 2^53', frame(...bigints.encode(9007199254740992n)), '2^53'],
  ['an integer of 2^64-1', frame(...bigints.encode(18446744073709551615n)), '2^53'],
  ['an integer of -2^53', frame(...bigints.encode(-9007199254740992n)), '2^53'],
  ['a timestamp', frame(...encode(new Date(0))), 'extension type'],
  ['an extension type', frame(0xc7, 1, 5, 0), 'extension type'],
  ['a number as a key', frame(0x81, 1, 1), 'not a string'],
  ['bytes as a key', frame(0x81, 0xc4, 1, 0, 1), 'not a string'],
  ['nil as a key', frame(0x81, 0xc0, 1), 'not a string'],
  ['a key twice', frame(0x82, 0xa1, 'k', 1, 0xa1, 'k', 2), 'twice'],
  ['invalid UTF-8', frame(0xa2, 0xc3, 0x28), 'not UTF-8'],
  ['a surrogate in UTF-8', frame(0xa3, 0xed, 0xa0, 0x80), 'not UTF-8'],
  ['64 levels in the frame', frame(...nested(64)), 'nested more than 64'],
  ['bytes at level 64', frame(...nested(63).subarray(0, 63), 0xc4, 0), 'nested more than 64'],
  ['60,000 levels', frame(...nested(60_000)), 'nested more than 64'],
  ['the byte 0xc1', frame(0xc1), '0xc1'],
  ['a string cut off', frame(0xd9, 200, 'short'), 'ends in the middle'],
  ['an array of 2^32-1 that is not there', frame(0xdd, 0xff, 0xff, 0xff, 0xff), 'ends in the middle'],
  ['bytes of 2^32-1 that are not there', frame(0xc6, 0xff, 0xff, 0xff, 0xff), 'ends in the middle'],
  ['a second frame behind it', frame(1, 0x80), 'goes on'],
  ['no data', bytes(0x83, 0xa2, 'id', 7, 0xa4, 'type', 0xa7, 'publish', 0xa4, 'room', 0xa1, 'a'), 'needs data'],
])('%s is a `bad_request` that says why, with the id', (_, message, why) => {
  expect(received(message)).toMatchObject({ type: 'rejected', id: 7, code: 'bad_request' });
  expect(received(message)).toHaveProperty('message', expect.stringContaining(why));
});

test.each([
  ['nothing', bytes()],
  ['a number', bytes(1)],
  ['an array', bytes(0x91, 1)],
  ['JSON', bytes('{"type":"ping"}')],
  ['an id that is no id', encode({ id: -1, type: 'ping' })],
  ['bytes for a token', encode({ type: 'auth', token: Uint8Array.of(1) })],
  ['a map with an empty key', encode({ '': 1 })],
])('a frame that is %s is a `bad_request` without an id', (_, message) => {
  expect(received(message)).toMatchObject({ type: 'rejected', id: undefined, code: 'bad_request' });
});

test('63 levels are not too deep, and `__proto__` is a key like any other', () => {
  expect(received(frame(...nested(63)))).toMatchObject({ type: 'publish' });
  const proto = frame(0x81, 0xa9, '__proto__', 1);
  expect(received(proto)).toMatchObject({ data: '{"__proto__":1}' });
  const told = msgpack.message(Buffer.from('{"type":"message","data":{"__proto__":{"$bytes":"AA=="}}}'), undefined);
  expect(Buffer.from(told as Uint8Array).includes(bytes(0x81, 0xa9, '__proto__', 0xc4, 1, 0))).toBe(true);
});

test('whatever bytes come, the answer is a request or a rejection', () => {
  const heads = fc.constantFrom(0x80, 0x81, 0x82, 0x91, 0xa1, 0xc4, 0xc7, 0xca, 0xcf, 0xd9, 0xdc, 0xdd, 0xde, 0xdf);
  const noise = fc.array(fc.oneof(heads, fc.nat(255)), { maxLength: 60 }).map((list) => Uint8Array.from(list));
  fc.assert(
    fc.property(noise, (message) => {
      expect(received(message)).toHaveProperty('type');
    }),
    { numRuns: 2_000 },
  );
});

test('arrays in arrays that announce more than there is cost no memory for it', () => {
  const levels = 13_000;
  const message = Buffer.concat(Array.from({ length: levels }, () => bytes(0xdd, 0, 0, 0xff, 0xff)));
  const before = process.memoryUsage().heapUsed;
  for (let round = 0; round < 20; round++) received(Buffer.concat([bytes(0x81, 0xa1, 'a'), message]));
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
});

test('every request is what it is in JSON', () => {
  const requests = [
    { id: 1, type: 'subscribe', room: 'a', since: { epoch: 'e', offset: 9007199254740991 } },
    { id: 'x', type: 'history', room: 'a', after: 4294967296, before: 5e12, limit: 5 },
    { id: 2, type: 'presence', room: 'a', after: 'n-1' },
    { type: 'ping' },
    { type: 'auth', token: 'a.b.c', id: 0 },
    { type: 'publish', room: 'a', data: { n: [1.5, -7, 'é'] }, key: 'k', id: 3 },
    { id: 4, type: 'sing' },
  ];
  for (const request of requests) expect(received(encode(request))).toEqual(readFrame(JSON.stringify(request)));
});

test('every reply is what it is in JSON', () => {
  const message = Buffer.from('{"type":"message","room":"a","offset":1,"data":[null],"at":1764288000000}');
  const members = [{ connection: 'n-1', user: 'ann', info: '{"deep":[1]}' }];
  const replies: Reply[] = [
    { type: 'ok', id: 1, room: 'a', epoch: 'e', offset: 9007199254740991, recovered: undefined },
    { type: 'error', id: undefined, code: 'bad_request', message: 'é' },
    { type: 'history', id: 1, epoch: 'e', offset: 1, first: 1, messages: [message, message], more: true },
    { type: 'presence', id: 1, count: 1, users: 1, members, more: false } as Reply,
    { type: 'gap', room: 'a', reason: 'slow', count: 0 },
    { type: 'reconnect', afterMs: 0, reason: 'draining' },
  ];
  for (const reply of replies) {
    expect(decode(msgpack.encode(reply) as Uint8Array)).toEqual(JSON.parse(String(roomcast.encode(reply))));
  }
});

test('a `join` names everybody but its reader, however many there are', () => {
  for (const count of [1, 2, 20]) {
    const members = Array.from({ length: count }, (_, index) => ({ user: `user-${index}`, info: { index } }));
    const [ours, theirs] = [msgpack, roomcast].map((dialect) =>
      dialect.joinOfOthers({ type: 'join', room: 'a', members }),
    );
    for (let index = 0; index < count; index++) {
      expect(decode(ours?.(index) as Uint8Array)).toEqual(JSON.parse(String(theirs?.(index))));
    }
  }
});

test('a frame that is not JSON, which only a stranger at Redis can write, is told as a gap of its room', () => {
  const told = msgpack.message(Buffer.from('{"type":"message","room":"a","data":oh'), undefined) as Uint8Array;
  expect(decode(told)).toEqual({ type: 'gap', room: 'a', reason: 'backplane' });
});
