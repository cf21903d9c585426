/**
 * Rooms with history: the positions in answers; and the `history` frame: the messages it returns, who may send it, and bad
 * requests. Over memory and over Redis.
 */
import { describe, expect, inject, test } from 'vitest';
import type { GatewayFrame, MessageFrame, OkFrame } from '../../shared/protocol.ts';
import { type Client, connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { publishNumbers, range } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { enter, everywhere, join, randomRoom } from './people.ts';

const rules = roomsFile(
  { match: 'kept:*', history: { size: 10 } },
  { match: 'long:*', history: { size: 10_000, maxBytes: 16_777_216 } },
  { match: 'fleeting:*', history: { ttlSeconds: 1 } },
  { match: 'server:*', subscribe: 'server', publish: 'user', history: {} },
  { match: '@*', history: {} },
);
const settings = { ROOMS_FILE: rules, PUBLISH_RATE: 0, REQUEST_RATE: 0, MAX_MESSAGE_BYTES: 400_000 };

const ask = (client: Client, room: string, more: object = {}) => client.request({ type: 'history', room, ...more });
const read = async (client: Client, room: string, more: object = {}) => okOf(await ask(client, room, more));
const offsetsOf = ({ messages = [] }: OkFrame) => messages.map(({ offset }) => offset);

describe.each([
  ['memory', () => ({})],
  ['Redis', () => ({ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') })],
])('over %s', async (name, backplane) => {
  const node = await startNode({ ...settings, ...backplane() });

  test('offsets rise by one from 1, in the answers to publish and in the messages alike', async () => {
    const room = randomRoom('kept');
    const [ann, bob] = [await enter(node, 'ann'), await enter(node, 'bob')];
    const { epoch, offset } = await bob.subscribe(room);
    expect(offset).toBe(0);
    expect(epoch).toMatch(/^\S{1,64}$/);
    for (const data of [1, 2, 3]) {
      expect(await ann.publish(room, data)).toEqual({ type: 'ok', id: expect.anything(), epoch, offset: data });
    }
    for (const data of [1, 2, 3]) {
      const { at, ...message } = await bob.next('message');
      expect(message).toEqual({ type: 'message', room, offset: data, data, from: 'ann' });
      expect(Math.abs(at - Date.now())).toBeLessThan(60_000);
    }
  });

  test('subscribe answers the newest position, so that the next message is one above it', async () => {
    const room = randomRoom('kept');
    const ann = await enter(node, 'ann');
    await publishNumbers(ann, room, 0, 15);
    const bob = await enter(node, 'bob');
    const { epoch, ...answer } = await bob.subscribe(room);
    expect(answer).toEqual({ type: 'ok', id: expect.anything(), room, offset: 15 });
    expect(await ann.publish(room, 15)).toMatchObject({ epoch, offset: 16 });
    expect(await bob.next('message')).toMatchObject({ offset: 16 });
  });

  test('a duplicate gets the position of the first one, and is delivered once and kept once', async () => {
    const room = randomRoom('kept');
    const [ann, bob] = [await enter(node, 'ann'), await join(node, 'bob', room)];
    const first = await ann.publish(room, 'once', { key: 'k' });
    await ann.publish(room, 'another');
    const { epoch, offset } = first;
    for (const client of [ann, await enter(node, 'ann')]) {
      const again = await client.publish(room, 'once more', { key: 'k' });
      expect(again).toEqual({ type: 'ok', id: expect.anything(), epoch, offset, duplicate: true });
    }
    // The same key of another user is another message.
    expect(await bob.publish(room, 'of bob', { key: 'k' })).toMatchObject({ epoch, offset: 3 });
    const { messages } = await read(bob, room);
    expect(messages?.map(({ data, key }) => [data, key])).toEqual([
      ['once', 'k'],
      ['another', undefined],
      ['of bob', 'k'],
    ]);
    await bob.next(
      ({ type }) => type === 'message' && bob.frames.filter((frame) => frame.type === 'message').length === 3,
    );
  });

  test('a duplicate of a message that is no longer kept still gets its position', async () => {
    const room = randomRoom('kept');
    const ann = await enter(node, 'ann');
    const { epoch } = await ann.publish(room, ['first'], { key: 'k' });
    await publishNumbers(ann, room, 0, 15);
    expect(await ann.publish(room, 'again', { key: 'k' })).toMatchObject({ epoch, offset: 1, duplicate: true });
  });

  describe('history', () => {
    test('returns messages as members got them, byte for byte', async () => {
      const room = randomRoom('kept');
      const ann = await join(node, 'ann', room);
      const texts: string[] = [];
      ann.socket.on('message', (bytes) => texts.push(String(bytes)));
      ann.send(
        `{"type":"publish","id":1,"room":"${room}","data": {"a" :1.0, "ä":"\\u00e9💥","__proto__":[1e2]} ,"key":"k"}`,
      );
      await ann.next('message');
      await read(ann, room);
      const live = texts.find((text) => text.startsWith('{"type":"message"')) ?? '?';
      expect(live).toContain('"data":{"a" :1.0, "ä":"\\u00e9💥","__proto__":[1e2]}');
      expect(texts.at(-1)).toContain(`"messages":[${live}]`);
    });

    test('of a room to which nothing was published is empty, at the start of its epoch', async () => {
      const room = randomRoom('kept');
      const ann = await enter(node, 'ann');
      const { epoch } = await ann.subscribe(room);
      const empty = { type: 'ok', id: expect.anything(), epoch, offset: 0, first: 1, messages: [] };
      expect(await read(ann, room)).toEqual(empty);
      expect(await read(ann, room, { after: 0 })).toEqual(empty);
    });

    // Ten are kept of twenty: 11 to 20.
    test.each<[object, number[], true | undefined]>([
      [{}, range(11, 21), undefined],
      [{ limit: 3 }, [18, 19, 20], true],
      [{ limit: 10 }, range(11, 21), undefined],
      [{ before: 15 }, range(11, 15), undefined],
      [{ before: 15, limit: 2 }, [13, 14], true],
      [{ before: 11 }, [], undefined],
      [{ before: 0 }, [], undefined],
      [{ before: 1 }, [], undefined],
      [{ before: 2 ** 53 - 1, limit: 1 }, [20], true],
      [{ after: 0 }, range(11, 21), undefined],
      [{ after: 0, limit: 4 }, range(11, 15), true],
      [{ after: 16 }, range(17, 21), undefined],
      [{ after: 16, limit: 4 }, range(17, 21), undefined],
      [{ after: 16, limit: 3 }, range(17, 20), true],
      [{ after: 20 }, [], undefined],
      [{ after: 2 ** 53 - 1 }, [], undefined],
      [{ after: 12, before: 16 }, [13, 14, 15], undefined],
      [{ after: 12, before: 16, limit: 2 }, [13, 14], true],
      [{ after: 12, before: 13 }, [], undefined],
      [{ after: 16, before: 12 }, [], undefined],
      [{ after: 0, before: 0 }, [], undefined],
      [{ after: 0, before: 1_000, limit: 1_000 }, range(11, 21), undefined],
    ])('%o of ten that are kept', async (query, offsets, more) => {
      const room = randomRoom('kept');
      const ann = await join(node, 'ann', room);
      await publishNumbers(ann, room, 0, 20);
      const { epoch } = await read(ann, room);
      for (const extra of [{}, { epoch }]) {
        const answer = await read(ann, room, { ...query, ...extra });
        expect(answer).toMatchObject({ type: 'ok', epoch, offset: 20, first: 11 });
        expect([offsetsOf(answer), answer.more]).toEqual([offsets, more]);
      }
    });

    test.each([[{}], [{ after: 3 }], [{ before: 5 }]])('of another epoch there is nothing: %o', async (query) => {
      const room = randomRoom('kept');
      const ann = await join(node, 'ann', room);
      await publishNumbers(ann, room, 0, 5);
      const { epoch } = await read(ann, room);
      const answer = { type: 'ok', id: expect.anything(), epoch, offset: 5, first: 1, messages: [] };
      for (const other of ['another', '']) expect(await read(ann, room, { ...query, epoch: other })).toEqual(answer);
    });

    test('returns 100 messages without a limit, and a thousand at most', async () => {
      const room = randomRoom('long');
      const ann = await join(node, 'ann', room);
      await publishNumbers(ann, room, 0, 1_200);
      expect(offsetsOf(await read(ann, room))).toEqual(range(1_101, 1_201));
      expect(offsetsOf(await read(ann, room, { after: 0, limit: 1_000 }))).toEqual(range(1, 1_001));
      expect(errorOf(await ask(ann, room, { limit: 1_001 })).code).toBe('bad_request');
    });

    test('ends a page at 256 KiB with more, and the pages are complete, upwards and downwards', async () => {
      const room = randomRoom('long');
      const ann = await join(node, 'ann', room);
      await publishNumbers(ann, room, 0, 40, 30_000);
      const bytes: number[] = [];
      ann.socket.on('message', (text: Buffer) => {
        if (text.includes('"messages":[')) bytes.push(text.length);
      });
      const up: MessageFrame[] = [];
      for (let more: true | undefined = true; more; ) {
        const page: OkFrame = await read(ann, room, { after: up.at(-1)?.offset ?? 0, limit: 1_000 });
        expect(page.messages?.length).toBeGreaterThan(0);
        up.push(...(page.messages ?? []));
        more = page.more;
      }
      const down: MessageFrame[] = [];
      for (let more: true | undefined = true; more; ) {
        const before = down[0]?.offset;
        const page: OkFrame = await read(ann, room, { limit: 1_000, ...(before !== undefined && { before }) });
        expect(page.messages?.length).toBeGreaterThan(0);
        down.unshift(...(page.messages ?? []));
        more = page.more;
      }
      expect(up.map(({ offset }) => offset)).toEqual(range(1, 41));
      expect(down).toEqual(up);
      expect(Math.max(...bytes)).toBeLessThanOrEqual(262_144);
      // Eight of them fit.
      expect(bytes).toHaveLength(10);
    });

    test('returns a single message that is larger', async () => {
      const room = randomRoom('long');
      const ann = await join(node, 'ann', room);
      for (const number of [0, 1]) await ann.publish(room, [number, 'x'.repeat(300_000)]);
      const upwards = await read(ann, room, { after: 0 });
      expect([offsetsOf(upwards), upwards.more]).toEqual([[1], true]);
      const newest = await read(ann, room);
      expect([offsetsOf(newest), newest.more]).toEqual([[2], true]);
    });

    test('returns no expired messages, and the offsets continue', async () => {
      const room = randomRoom('fleeting');
      const ann = await join(node, 'ann', room);
      await publishNumbers(ann, room, 0, 3);
      const { epoch } = await read(ann, room);
      await until(async () => (await read(ann, room)).first === 4, 5_000, 'the messages expire');
      expect(await read(ann, room)).toMatchObject({ epoch, offset: 3, first: 4, messages: [] });
      expect((await read(ann, room)).more).toBeUndefined();
      expect(await ann.publish(room, [3])).toMatchObject({ epoch, offset: 4 });
      expect(await read(ann, room, { after: 0 })).toMatchObject({
        epoch,
        offset: 4,
        first: 4,
        messages: [{ offset: 4 }],
      });
    });

    test('sent together with subscribe and unsubscribe takes effect between them', async () => {
      const room = randomRoom('kept');
      const [ann, bob] = [await enter(node, 'ann'), await enter(node, 'bob')];
      await publishNumbers(ann, room, 0, 5);
      bob.send({ type: 'subscribe', id: 's', room });
      bob.send({ type: 'history', id: 'h', room });
      bob.send({ type: 'unsubscribe', id: 'u', room });
      bob.send({ type: 'history', id: 'late', room });
      const ids = ['s', 'h', 'u', 'late'];
      const answers = await Promise.all(ids.map((id) => bob.next((frame) => 'id' in frame && frame.id === id)));
      expect(answers.slice(0, 3)).toMatchObject([{ offset: 5 }, { messages: { length: 5 } }, { type: 'ok' }]);
      expect(errorOf(answers[3] as GatewayFrame).code).toBe('forbidden');
    });
  });

  describe('history is answered to those who may read it, and forbidden to all others', () => {
    const granted = (rooms: Record<string, string[]>) => async () => {
      return connectWelcomed(node.url, await mintToken({ sub: 'user', rooms }));
    };
    const stranger = granted(everywhere);
    const reader = granted({ '*': ['history'] });
    const member = (room: string) => join(node, 'user', room);

    test.each<[who: string, topic: string, enters: (room: string) => Promise<Client>, allowed: boolean]>([
      ['a member', 'kept', member, true],
      ['who may subscribe, but has not', 'kept', stranger, false],
      ['a token that grants history, without membership', 'kept', reader, true],
      ['a token that grants it for other rooms', 'kept', granted({ 'other:*': ['history'] }), false],
      ['a member, in a plain room', 'plain', member, false],
      ['a token that grants history, in a plain room', 'plain', reader, false],
      ['a token that grants history, in a room of the server', 'server', reader, false],
    ])('%s (%s)', async (_, topic, enters, allowed) => {
      const room = randomRoom(topic);
      const client = await enters(room);
      const answer = await ask(client, room);
      if (allowed) expect(okOf(answer)).toMatchObject({ offset: 0, messages: [] });
      else expect(errorOf(answer).code).toBe('forbidden');
    });

    test('of a personal room: its user as a member, and nobody by a grant', async () => {
      const user = randomRoom('user');
      const owner = await connectWelcomed(node.url, await mintToken({ sub: user }));
      const room = `@${user}`;
      expect(errorOf(await ask(owner, room)).code).toBe('forbidden');
      await owner.subscribe(room);
      expect(await read(owner, room)).toMatchObject({ offset: 0 });
      const other = await connectWelcomed(node.url, await mintToken({ sub: 'other', rooms: { '@*': ['history'] } }));
      expect(errorOf(await ask(other, room)).code).toBe('forbidden');
    });

    test('not any more to a client whose membership ended with a refresh', async () => {
      const room = randomRoom('kept');
      const client = await connectWelcomed(node.url, await mintToken({ sub: 'user', rooms: everywhere }));
      await client.subscribe(room);
      okOf(await client.request({ type: 'auth', token: await mintToken({ sub: 'user' }) }));
      expect(errorOf(await ask(client, room)).code).toBe('forbidden');
    });
  });

  const bad = [-1, 1.5, 2 ** 53, 1e300, '1e3', '5', '', null, true, [1], {}];
  test.each([
    ['after', bad],
    ['before', bad],
    ['limit', [...bad, 0, 1_001, 1e9]],
    ['epoch', [7, null, {}, 'e'.repeat(65)]],
    ['room', [7, null, '', 'a b', '*', 'x'.repeat(201)]],
  ])('a bad %s is bad_request, whatever it is', async (field, values) => {
    const room = randomRoom('kept');
    for (const value of values) {
      // Ten of them in a row would close the connection.
      const ann = await join(node, `${name}${field}`, room);
      expect(errorOf(await ask(ann, room, { [field]: value })).code).toBe('bad_request');
      await ann.close();
    }
  });
});

test('a page ends at half of MAX_BUFFERED_BYTES if that is less than 256 KiB, and the pages are complete', async () => {
  const node = await startNode({ ...settings, MAX_BUFFERED_BYTES: 65_536, MAX_MESSAGE_BYTES: 32_768 });
  const room = randomRoom('long');
  const ann = await join(node, 'ann', room);
  await publishNumbers(ann, room, 0, 60, 4_000);
  await publishNumbers(ann, room, 60, 61, 32_000);
  const bytes: number[] = [];
  ann.socket.on('message', (text: Buffer) => {
    if (text.includes('"messages":[')) bytes.push(text.length);
  });
  const offsets: (number | undefined)[] = [];
  for (let more: true | undefined = true; more; ) {
    const page: OkFrame = await read(ann, room, { after: offsets.at(-1) ?? 0, limit: 1_000 });
    offsets.push(...offsetsOf(page));
    more = page.more;
  }
  expect(offsets).toEqual(range(1, 62));
  // Seven of them fit, and the last one is there though it is larger.
  expect(bytes).toHaveLength(10);
  expect(Math.max(...bytes.slice(0, -1))).toBeLessThanOrEqual(32_768);
});

test('while Redis is away, history is answered by unavailable', async () => {
  const node = await startNode({ ...settings, REDIS_URL: `redis://127.0.0.1:${await freePort()}` });
  const client = await connectWelcomed(node.url, await mintToken({ sub: 'user', rooms: { '*': ['history'] } }));
  expect(errorOf(await ask(client, randomRoom('kept'))).code).toBe('unavailable');
});
