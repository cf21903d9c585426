/** Protobuf of the client protocol of Centrifugo, held to its JSON form by the codec of the unmodified client for JavaScript. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { centrifugo } from '../../../gateway/protocol/centrifugo/dialect.ts';
import { centrifugoProtobuf } from '../../../gateway/protocol/centrifugo/protobuf/dialect.ts';
import { bytesOf, jsonOf } from '../../../gateway/protocol/centrifugo/protobuf/payload.ts';
import type { Reply } from '../../../gateway/protocol/reply.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import { closeCode } from '../../../shared/codes.ts';
import { codec, decodeReplies, readAll } from './centrifugo-codec.ts';

const room = fc.constantFrom('a', 'chat:lobby', 'no room');
const offset = fc.oneof(fc.nat(), fc.constantFrom(2 ** 32, 2 ** 49, 2 ** 53 - 1));
const payload = fc.json().map((text) => JSON.parse(text) as unknown);
const command = fc.oneof(
  fc.record({ connect: fc.record({ token: fc.string(), name: fc.string(), version: fc.string() }) }),
  fc.record({
    subscribe: fc.record(
      { channel: room, recover: fc.boolean(), offset, epoch: fc.string(), flag: fc.constantFrom(0, 1, 3), token: room },
      { requiredKeys: ['channel'] },
    ),
  }),
  fc.record({ publish: fc.record({ channel: room, data: payload }) }),
  ...['unsubscribe', 'presence', 'presence_stats'].map((name) =>
    fc.record({ channel: room }).map((fields) => ({ [name]: fields })),
  ),
  fc.record({
    history: fc.record(
      {
        channel: room,
        limit: fc.constantFrom(-1, 0, 5, 1_000),
        reverse: fc.boolean(),
        since: fc.record({ offset, epoch: fc.string() }),
      },
      { requiredKeys: ['channel'] },
    ),
  }),
  fc.record({ refresh: fc.record({ token: fc.string() }) }),
  fc.record({ ping: fc.constant({}) }),
  fc.record({ send: fc.record({ data: payload }) }),
  fc.record({ rpc: fc.record({ method: fc.string(), data: payload }) }),
  fc.record({ sub_refresh: fc.record({ channel: room, token: fc.string() }) }),
);

/** With bytes where JSON has a value. */
function asBytes(fields: Record<string, object>): Record<string, object> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, each]) =>
      'data' in each ? [name, { ...each, data: Buffer.from(JSON.stringify(each.data)) }] : [name, each],
    ),
  );
}

test('every command is read as the same request as its JSON, several in a frame in their order', () => {
  const commands = fc.array(fc.tuple(fc.integer({ min: 1, max: 2 ** 32 - 1 }), command), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(commands, (made) => {
      const inJson = made.map(([id, fields]) =>
        centrifugo.decode(Uint8Array.from(Buffer.from(JSON.stringify({ id, ...fields }))).buffer),
      );
      const inProtobuf = codec.encodeCommands(made.map(([id, fields]) => ({ id, ...asBytes(fields) })));
      expect(readAll(inProtobuf)).toEqual(inJson);
    }),
    { numRuns: 1_000 },
  );
});

const frame = (data: string, position: number | undefined) => {
  const history = { size: 1, maxBytes: 1_024, ttlSeconds: 1 };
  const made = new MessageStamper().stamp({ room: 'a:b', data, key: undefined }, 'me', position ? history : undefined);
  return Buffer.from(`${made.prefix}${position ?? ''}${made.suffix}`);
};
const replies: Reply[] = [
  ...([undefined, 0, 7, 2 ** 53 - 1].map((offset) => ({
    ...{ type: 'ok', id: 'subscribe 2', room: 'a', epoch: 'e', offset, recovered: offset === 7 ? true : undefined },
  })) as Reply[]),
  ...['publish 3', 'unsubscribe 4'].map((id): Reply => ({ type: 'ok', id })),
  { type: 'ok', id: 'refresh 5', expiresAt: Date.now() + 3_600_400 },
  {
    ...{ type: 'welcome', id: 'connect 1', version: 1, connection: 'node-1', user: 'ä', node: 'node', now: 1 },
    ...{ expiresAt: null, pingIntervalMs: 25_000, maxMessageBytes: 1, maxRooms: 1, dedupeMs: 1, features: [] },
  },
  { type: 'expired', id: 'connect 1' },
  { type: 'error', id: 'publish 9', code: 'unavailable', message: 'again' },
  { type: 'gap', room: 'a', reason: 'slow', count: 3 },
  { type: 'unsubscribed', room: 'a', reason: 'kicked' },
  { type: 'subscribed', room: 'a', epoch: 'e', offset: 4 },
  { type: 'join', room: 'a', members: [{ user: 'a', info: { b: 1 } }, { connection: 'c' }] },
  { type: 'leave', room: 'a', members: [{ user: 'a' }] },
  { type: 'reconnect', afterMs: 0, reason: 'draining' },
  {
    ...{ type: 'history', id: 'history 6', epoch: 'e', offset: 2 ** 40, first: 1, more: false },
    messages: [frame('{"a":[1.0,12345678901234567890]}', 6), frame('"x"', 7)],
  },
  {
    ...{ type: 'presence', id: 'presence 7', count: 2, users: 1, more: false },
    members: [
      { connection: 'n-1', user: 'a', info: '{"b":1}' },
      { connection: 'n-2', user: null, info: undefined },
    ],
  },
  { type: 'presence', id: 'presence_stats 8', count: 300, users: 0, members: [], more: true },
];

test.each(replies.map((reply): [string, Reply] => [`${reply.type} ${'id' in reply ? reply.id : ''}`, reply]))(
  'the client reads %s as in JSON',
  (_, reply) => {
    const lines = String(centrifugo.encode(reply)).split('\n').filter(Boolean);
    const told = decodeReplies(centrifugoProtobuf.encode(reply));
    const inJson = lines.map((line) => JSON.parse(line, keepText(line)));
    expect(withoutEmpty(told)).toEqual(withoutEmpty(inJson));
  },
);

/** Payloads are bytes for a client of Protobuf: their text is compared. */
function keepText(line: string): (this: unknown, key: string, value: unknown) => unknown {
  return (key, value) => {
    if (key === 'data')
      return line.includes('1.0,') && typeof value === 'object'
        ? '{"a":[1.0,12345678901234567890]}'
        : JSON.stringify(value);
    return key === 'conn_info' ? JSON.stringify(value) : value;
  };
}

/** Zero values are not sent; a list or a map is always there for the client of Protobuf. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== 'object' || value === null) return value;
  const isEmpty = (each: unknown) => ['""', '0', '[]', '{}'].includes(JSON.stringify(each));
  const mayBeEmpty = /tags|subs$|offset|client|user|num|publications|state/;
  const fields = Object.entries(value).filter(([name, each]) => !(isEmpty(each) && mayBeEmpty.test(name)));
  return Object.fromEntries(fields.map(([name, each]) => [name, withoutEmpty(each)]));
}

test('any bytes and any JSON text come back as they were; text of JSON stays text in JSON', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(Buffer.from(bytesOf(jsonOf(Buffer.from(bytes)))).equals(bytes)).toBe(true);
    }),
  );
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(jsonOf(Buffer.from(text))).toBe(text);
    }),
  );
  expect(jsonOf(Buffer.from('\uFEFF1'))).toMatch(/^\{"\$bytes":/);
  expect(jsonOf(Buffer.from('1},"x":{'))).toMatch(/^\{"\$bytes":/);
});

test.each<[string, string | Uint8Array]>([
  ['{ "\\u0024bytes" : "AQI=" }', Uint8Array.of(1, 2)],
  ['{"$bytes":"AQI"}', '{"$bytes":"AQI"}'],
  ['{"$bytes":"AQI=","a":1}', '{"$bytes":"AQI=","a":1}'],
  ['{"$$bytes":"AQI="}', '{"$$bytes":"AQI="}'],
  ['[{"$bytes":"AQI="}]', '[{"$bytes":"AQI="}]'],
  ['{"$bytes":1}', '{"$bytes":1}'],
])('of %s a client of Protobuf gets the bytes, or else the text', (json, expected) => {
  const given = bytesOf(json);
  expect(typeof given === 'string' ? given : Uint8Array.from(given)).toEqual(expected);
});

test('a push is the same as in JSON, whatever its size', () => {
  for (const size of [0, 100, 127, 128, 16_383, 16_384, 200_000, 3_000_000]) {
    const data = JSON.stringify('ä'.repeat(size / 2));
    const [told] = decodeReplies(centrifugoProtobuf.message(frame(data, 2 ** 45), undefined)) as [
      { push: { channel: string; pub: { data: string; offset: number; info: object } } },
    ];
    expect(told.push.pub.data === data).toBe(true);
    expect(told.push).toMatchObject({ channel: 'a:b', pub: { offset: 2 ** 45, info: { user: 'me', client: '' } } });
  }
  expect(decodeReplies(centrifugoProtobuf.message(Buffer.from('garbage'), undefined))).toEqual([
    { push: { channel: '', unsubscribe: { code: 2500, reason: 'insufficient state' } } },
  ]);
});

test('a join comes without the member itself, and a ping is an empty reply', () => {
  const join = centrifugoProtobuf.joinOfOthers({ type: 'join', room: 'r', members: [{ user: 'a' }, { user: 'b' }] });
  expect(decodeReplies(join(0))).toEqual([{ push: { channel: 'r', join: { info: { user: 'b', client: '' } } } }]);
  expect(decodeReplies(centrifugoProtobuf.ping)).toEqual([{}]);
  expect(centrifugoProtobuf.closes?.[closeCode.draining]).toEqual([3001, 'shutdown']);
});

const head = [8, 1];
test.each<[string, number[], object]>([
  [
    'unknown fields of every type',
    [...head, 160, 1, 5, 161, 1, ...Array(8).fill(1), 162, 1, 2, 9, 9, 165, 1, 1, 2, 3, 4, 74, 3, 10, 1, 97],
    { type: 'presence', room: 'a' },
  ],
  [
    'a field twice, of which the last one counts',
    [...head, 8, 2, 66, 6, 10, 1, 97, 10, 1, 98],
    { type: 'presence', id: 'presence 2', room: 'b' },
  ],
  [
    'a varint of ten bytes',
    [...head, 82, 14, 10, 1, 97, 56, ...Array(9).fill(255), 1],
    { type: 'history', limit: 300 },
  ],
  ['a map, which is not needed', [...head, 34, 12, 26, 10, 10, 1, 97, 18, 5, 10, 1, 97, 24, 1], { type: 'auth' }],
  [
    'a filter, however deep',
    [...head, 42, 9, 10, 1, 97, 106, 4, 50, 2, 50, 0],
    { type: 'rejected', code: 'unsupported' },
  ],
])('%s is read', (_, bytes, expected) => {
  expect(readAll(Uint8Array.of(bytes.length, ...bytes))).toEqual([expect.objectContaining(expected)]);
});

test.each<[string, number[]]>([
  ['an empty frame', []],
  ['a length beyond the frame', [9, ...head]],
  ['a length that never ends', Array(11).fill(255)],
  ['a varint of eleven bytes', [12, 8, ...Array(11).fill(128)]],
  ['a string beyond its message', [6, ...head, 74, 3, 10, 9]],
  ['a string beyond its message, but not beyond the frame', [6, ...head, 74, 2, 10, 4, 97, 97, 97, 97]],
  ['a group', [4, ...head, 163, 1]],
  ['the end of a group', [4, ...head, 164, 1]],
  ['a type that does not exist', [4, ...head, 166, 1]],
  ['field 0', [4, ...head, 2, 0]],
  ['a string that is not UTF-8', [7, ...head, 74, 3, 10, 1, 255]],
  ['a field of another type', [4, ...head, 72, 1]],
  ['a number beyond 2^32 as the id', [7, 8, 255, 255, 255, 255, 255, 1]],
])('%s ends the connection: it cannot be answered', (_, bytes) => {
  const [last] = readAll(Uint8Array.from(bytes)).slice(-1);
  expect(last).toMatchObject({ type: 'rejected', id: undefined, code: 'bad_request', message: /^.{20,}$/s });
});
