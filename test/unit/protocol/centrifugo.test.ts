/** The dialect of Centrifugo, without a socket: publications out of frames, addresses of answers, answers that depend on time. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { centrifugo } from '../../../gateway/protocol/centrifugo/dialect.ts';
import { publicationPush as protobufPush } from '../../../gateway/protocol/centrifugo/protobuf/publication.ts';
import { writeReplies } from '../../../gateway/protocol/centrifugo/protobuf/write.ts';
import {
  publicationOf,
  publicationPush,
  publicationPushValue,
} from '../../../gateway/protocol/centrifugo/publication.ts';
import { type Command, readAddress, writeAddress } from '../../../gateway/protocol/centrifugo/return-address.ts';
import { writeJson } from '../../../gateway/protocol/centrifugo/value.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import { closeCode, closeReason } from '../../../shared/codes.ts';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

const decode = (text: string) => centrifugo.decode(Uint8Array.from(Buffer.from(text)).buffer);
/** Texts that look like fields of a frame. */
const tricky = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom(',"at":1', '","at":1', ',"from":"x"', '"', '\\', '\\"', ',"data":', '}', 'x,', '"}'),
);
const json = fc
  .jsonValue({ stringUnit: 'grapheme' })
  .chain((value) =>
    fc.oneof(
      fc.constant(value),
      tricky,
      fc.record({ from: tricky, at: fc.oneof(fc.nat(), tricky), data: tricky }),
      fc.array(tricky),
    ),
  );

/** The frame of a message as a node makes it. */
function stamped(data: string, from: string | null, key: string | undefined, offset: number | undefined) {
  const history = offset === undefined ? undefined : { size: 1, maxBytes: 1_024, ttlSeconds: 1 };
  const { at, prefix, suffix } = new MessageStamper().stamp({ room: 'a:b', data, key }, from, history);
  return { at, frame: Buffer.from(`${prefix}${offset ?? ''}${suffix}`) };
}

test('every message becomes a publication with the same data, sender, offset and time', () => {
  fc.assert(
    fc.property(
      ...([
        json,
        fc.option(tricky),
        fc.option(tricky, { nil: undefined }),
        fc.option(fc.nat(2 ** 53 - 1), { nil: undefined }),
      ] as const),
      fc.constantFrom(undefined, 1, 2),
      (data, from, key, offset, indent) => {
        const text = JSON.stringify(data, undefined, indent);
        const { at, frame } = stamped(text, from, key, offset);
        const publication = writeJson(publicationOf(frame));
        expect(publication).not.toMatch(/[\r\n]/);
        expect(JSON.parse(publication)).toEqual({
          data: JSON.parse(text),
          ...(from === null ? {} : { info: { user: from, client: '' } }),
          ...(offset === undefined ? {} : { offset }),
          time: at,
        });
        expect(String(publicationPush(frame))).toBe(`{"push":{"channel":"a:b","pub":${publication}}}`);
        expect(Buffer.from(protobufPush(frame))).toEqual(Buffer.from(writeReplies([publicationPushValue(frame)])));
      },
    ),
    { numRuns: 2_000 },
  );
});

test('whatever bytes a client sends, it gets a request, or a rejection that can be answered or ends the connection', () => {
  const command = fc.record(
    {
      id: fc.oneof(fc.integer(), fc.anything()),
      subscribe: fc.oneof(
        fc.jsonValue(),
        fc.record({ channel: fc.string(), offset: fc.anything(), epoch: fc.anything() }),
      ),
      publish: fc.oneof(fc.jsonValue(), fc.record({ channel: fc.constant('a'), data: fc.jsonValue() })),
      history: fc.record({ channel: fc.constant('a'), limit: fc.anything(), since: fc.anything() }),
    },
    { requiredKeys: [] },
  );
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    command.map((value) => safeJson(value)),
  );
  fc.assert(
    fc.property(text, (sent) => {
      const request = decode(sent);
      if (request.id !== undefined) expect(readAddress(request.id)?.number).toBeGreaterThan(0);
      else expect(['rejected', 'pong']).toContain(request.type);
    }),
    { numRuns: 2_000 },
  );
});

function safeJson(value: unknown): string {
  return JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)) ?? 'null';
}

test('an address comes back as it was, whatever epoch a client names', () => {
  const commands = fc.constantFrom<Command>('history');
  fc.assert(
    fc.property(commands, fc.nat(), fc.boolean(), fc.nat(), fc.string(), (command, number, reverse, offset, epoch) => {
      const address = { command, number, reverse, since: { offset, epoch } };
      expect(readAddress(writeAddress(address))).toEqual(address);
    }),
  );
  expect(readAddress(writeAddress({ command: 'publish', number: 7 }))).toEqual({ command: 'publish', number: 7 });
  expect(readAddress(undefined)).toBeUndefined();
});

test.each([
  [3_600, 3_575],
  [60, 35],
  [10, 5],
  [1, 1],
])('a client whose token ends in %i s is told to come with a new one in %i s', (seconds, ttl) => {
  const reply = centrifugo.encode({ type: 'ok', id: 'refresh 2', expiresAt: Date.now() + seconds * 1_000 + 400 });
  expect(JSON.parse(String(reply))).toEqual({ id: 2, refresh: { version: 'roomcast', expires: true, ttl } });
});

test('the position of a resumed subscription is the one that the client asked from; a refused one has the newest', () => {
  const answer = (recovered: boolean | undefined, offset: number) =>
    JSON.parse(String(centrifugo.encode({ type: 'ok', id: 'subscribe 2', room: 'a', epoch: 'e', offset, recovered })));
  const position = { recoverable: true, positioned: true, epoch: 'e' };
  expect(answer(undefined, 0)).toEqual({ id: 2, subscribe: position });
  expect(answer(true, 3)).toEqual({
    id: 2,
    subscribe: { ...position, offset: 3, was_recovering: true, recovered: true },
  });
  expect(answer(false, 9)).toEqual({ id: 2, subscribe: { ...position, offset: 9, was_recovering: true } });
});

test('history behind a position whose next message is gone is refused with 112', () => {
  const page = { type: 'history', epoch: 'e', offset: 9, first: 5, messages: [], more: false } as const;
  const answer = (offset: number, epoch: string, reverse = false) => {
    const id = writeAddress({ command: 'history', number: 2, reverse, since: { offset, epoch } });
    return JSON.parse(String(centrifugo.encode({ ...page, id }))).error?.code;
  };
  expect([answer(3, 'e'), answer(4, 'other'), answer(10, 'e')]).toEqual([112, 112, 112]);
  expect([answer(4, 'e'), answer(4, ''), answer(3, 'e', true)]).toEqual([undefined, undefined, undefined]);
});

test('a presence that does not fit into one answer is refused: it would look complete', () => {
  const page = { type: 'presence', count: 2_000, users: 900, members: [], more: true } as const;
  const answer = (id: string) => JSON.parse(String(centrifugo.encode({ ...page, id })));
  expect(answer('presence 2').error.code).toBe(106);
  expect(answer('presence_stats 3')).toEqual({ id: 3, presence_stats: { num_clients: 2_000, num_users: 900 } });
});

test('every close code has one that says the same about connecting again, and a reason that is no JSON', () => {
  for (const code of Object.values(closeCode)) {
    const [told = 0, reason = ''] = centrifugo.closes?.[code] ?? [];
    const terminal = (told >= 3_500 && told < 4_000) || (told >= 4_500 && told < 5_000);
    const natively = code >= 4_500 || code === closeCode.unsupportedData;
    expect(terminal, closeReason[code]).toBe(natively);
    expect(reason).toMatch(/^[a-z ]{4,100}$/);
  }
});

test('a gap of join and leave only is not told: no message is missing', () => {
  expect(centrifugo.encode({ type: 'gap', room: 'a', reason: 'slow', count: 0 })).toBe('');
  expect(centrifugo.encode({ type: 'gap', room: 'a', reason: 'slow', count: 1 })).toContain('2500');
});

test('joins of several users come as one push each, without the member itself', () => {
  const members = [{ user: 'a' }, { user: 'b', info: { x: 1 } }, { connection: 'c' }];
  const lines = (frame: unknown) =>
    String(frame)
      .split('\n')
      .map((line) => JSON.parse(line).push.join.info);
  const [a, b, c] = [
    { user: 'a', client: '' },
    { user: 'b', client: '', conn_info: { x: 1 } },
    { user: '', client: 'c' },
  ];
  expect(lines(centrifugo.encode({ type: 'join', room: 'r', members }))).toEqual([a, b, c]);
  expect(lines(centrifugo.joinOfOthers({ type: 'join', room: 'r', members })(1))).toEqual([a, c]);
});

test.each([
  ['no JSON at all', 'garbage', { channel: '', unsubscribe: { code: 2500, reason: 'insufficient state' } }],
  [
    'cut off, in a plain room',
    '{"type":"message","room":"a","id":"x","da',
    { channel: 'a', unsubscribe: { code: 2500 } },
  ],
  [
    'without a time, in a plain room',
    '{"type":"message","room":"a","data":1}',
    { channel: 'a', unsubscribe: { code: 2500 } },
  ],
  [
    'cut off, in a history',
    '{"type":"message","room":"a","offset":7,"data":{',
    { channel: 'a', pub: { offset: 7, data: null } },
  ],
])('a frame at Redis that is no message (%s) ends no node: members are told of its place', (_, text, push) => {
  expect(JSON.parse(String(publicationPush(Buffer.from(text))))).toMatchObject({ push });
  expect(JSON.parse(writeJson(publicationOf(Buffer.from(text))))).toMatchObject({ data: null });
});

test('pushes that were made before stay as they are, also beyond a page, and a message of 256 KiB is one of them', () => {
  const sizes = [100, 20_000, 100, 262_144, 100, 40_000, 40_000];
  const frames = sizes.map(
    (size, index) => stamped(`"${String(index).repeat(size)}"`, 'u', undefined, index + 1).frame,
  );
  const pushes = frames.map((frame) => [publicationPush(frame), protobufPush(frame)] as const);
  for (const [index, frame] of frames.entries()) {
    expect(String(pushes[index]?.[0])).toBe(writeJson(publicationPushValue(frame)));
    expect(Buffer.from(pushes[index]?.[1] ?? [])).toEqual(Buffer.from(writeReplies([publicationPushValue(frame)])));
  }
});

test('a message that was made into pushes is not kept, nor the 64 KiB in which it came', async () => {
  const used = () => {
    const frame = Buffer.from(Uint8Array.from(stamped('"x"', 'u', undefined, 1).frame).buffer);
    for (const make of [publicationPush, protobufPush, publicationPushValue]) make(frame);
    return new WeakRef(frame.buffer);
  };
  const memory = used();
  // A WeakRef holds what it was made of for the turn.
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  expect(memory.deref()).toBeUndefined();
});

test('line breaks in long data become blanks too', () => {
  const { frame } = stamped(`[\n${'1,\r\n'.repeat(1_000)}1]`, 'u', undefined, 1);
  expect(String(publicationPush(frame))).not.toMatch(/[\r\n]/);
  expect(String(publicationPush(frame))).toBe(writeJson(publicationPushValue(frame)));
  expect(Buffer.from(protobufPush(frame))).toEqual(Buffer.from(writeReplies([publicationPushValue(frame)])));
});

test('lines are cut one by one, as they are asked for', () => {
  const message = Uint8Array.from(Buffer.from(`{"id":1}\n{}${'\n'.repeat(100_000)}`)).buffer;
  const parts = centrifugo.split?.(message)[Symbol.iterator]() as Iterator<ArrayBuffer>;
  expect(Array.isArray(centrifugo.split?.(message))).toBe(false);
  expect([parts.next(), parts.next()].map(({ value }) => Buffer.from(value).toString())).toEqual(['{"id":1}', '{}']);
});
