/**
 * Frames that somebody made to do harm: broken and monstrous JSON, names of every kind, random bytes by the ten thousand.
 *
 * Whatever is refused is refused by `bad_request`; what is delivered is delivered byte for byte; and the node serves the
 * next client as before. The framing below the JSON is the business of test/protocol.
 */
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { type Client, errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { carrying, enter, join, messagesOf, names, randomRoom } from './people.ts';

const redis = await ownRedis();
const node = await startNode({
  REDIS_URL: redis.url,
  PUBLISH_RATE: 0,
  REQUEST_RATE: 0,
  MAX_MESSAGE_BYTES: 2_000_000,
  MAX_BUFFERED_BYTES: 0,
});

/** Sends text as it is and resolves with the next answer. */
async function answer(client: Client, text: string) {
  client.send(text);
  return client.next((frame) => frame.type !== 'message');
}

const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth);
const publishing = (data: string) => `{"type":"publish","id":1,"room":"r","data":${data}}`;

describe('malformed JSON', () => {
  test.each([
    ['empty', ''],
    ['white space', ' \n'],
    ['NUL', '\0'],
    ['a byte order mark', '\ufeff{"type":"ping"}'],
    ['half a frame', '{"type":"ping"'],
    ['two frames', '{"type":"ping"}{"type":"ping"}'],
    ['a list', '[{"type":"ping"}]'],
    ['a string', '"ping"'],
    ['null', 'null'],
    ['a number beyond all numbers', '1e999'],
    ['no type', '{"id":1}'],
    ['type a number', '{"type":1}'],
    ['type a list', '{"type":["ping"]}'],
    ['single quotes', "{'type':'ping'}"],
    ['a comment', '{"type":"ping"/* */}'],
    ['NaN', '{"type":"ping","x":NaN}'],
    ['a raw line feed in a string', '{"type":"pi\nng"}'],
    ['id an object', '{"type":"ping","id":{}}'],
    ['id a list', '{"type":"ping","id":[1]}'],
    ['id 1e309', '{"type":"ping","id":1e309}'],
    ['id negative', '{"type":"ping","id":-1}'],
    ['id a fraction', '{"type":"ping","id":0.5}'],
    ['id 2^53', '{"type":"ping","id":9007199254740992}'],
    ['id null', '{"type":"ping","id":null}'],
    ['id true', '{"type":"ping","id":true}'],
    ['id of 65 characters', `{"type":"ping","id":"${'x'.repeat(65)}"}`],
    ['subscribe without an id', '{"type":"subscribe","room":"r"}'],
    ['unsubscribe without an id', '{"type":"unsubscribe","room":"r"}'],
    ['subscribe without a room', '{"type":"subscribe","id":1}'],
    ['publish without data', '{"type":"publish","id":1,"room":"r"}'],
    ['auth without a token', '{"type":"auth","id":1}'],
    ['auth with a token that is no string', '{"type":"auth","id":1,"token":{"toString":1}}'],
    ['a top-level key twice', '{"type":"publish","id":1,"room":"r","data":1,"data":2}'],
    ['type twice', '{"type":"ping","type":"ping"}'],
    ['a key twice, once escaped', '{"type":"publish","id":1,"room":"r","room":"s","data":1}'],
    ['a type only from the prototype', '{"__proto__":{"type":"ping"}}'],
    ['65 levels', publishing(nested(64, '[', ']'))],
    ['10^3 levels', publishing(nested(1_000, '{"a":', '').concat('1', '}'.repeat(1_000)))],
    ['10^5 levels', publishing(nested(100_000, '[', ']'))],
    ['10^6 levels', nested(1_000_000, '[', '')],
  ])('%s is a bad_request', async (_what, text) => {
    const client = await enter(node, 'user');
    expect(errorOf(await answer(client, text)).code).toBe('bad_request');
    expect(await client.request({ type: 'ping', id: 'alive' })).toEqual({ type: 'pong', id: 'alive' });
  });

  test('the answer names the frame where its id is good, and says what to do', async () => {
    const client = await enter(node, 'user');
    for (const text of ['{"type":"subscribe","id":7,"room":"no good"}', '{"type":"auth","id":7}', '{"id":7}']) {
      expect(await answer(client, text)).toEqual({
        type: 'error',
        id: 7,
        code: 'bad_request',
        message: expect.stringMatching(/.{15,}\./),
      });
    }
  });

  test('no input changes a prototype for the others', async () => {
    const client = await enter(node, 'user');
    await answer(
      client,
      '{"type":"ping","id":1,"__proto__":{"type":"publish","polluted":1},"constructor":{"prototype":1}}',
    );
    await answer(
      client,
      '{"type":"publish","id":2,"room":"__proto__","data":{"__proto__":{"polluted":1}},"toString":1}',
    );
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(await answer(await enter(node, 'other'), '{"id":3}')).toMatchObject({ code: 'bad_request' });
  });
});

describe('data', () => {
  const manyKeys = `{${names('"k', 100_000)
    .map((key) => `${key}":0`)
    .join(',')}}`;

  test.each([
    ['white space kept inside', '{ "a" : [ 1 ,\t2 ] }'],
    ['numbers no double can hold', '[1e999,-0,0.1000000000000000055,123456789012345678901234567890,1E5]'],
    ['escapes as they were written', '"\\u0041\\/\\u00e9é\\ud83d\\udca5💥\\n"'],
    ['a lone surrogate', '"\\ud800 \\udfff"'],
    ['the separators that end lines in old JavaScript', '"\u2028\u2029"'],
    ['control characters, escaped', '"\\u0000\\u001b[31m\\r\\n"'],
    ['keys twice below the top level', '{"a":1,"a":2,"data":{"data":1,"data":2}}'],
    ['names from the prototype', '{"__proto__":{"x":1},"constructor":1,"toString":null,"hasOwnProperty":[]}'],
    ['text that looks like a frame', '"\\"}],{\\"type\\":\\"unsubscribed\\""'],
    ['62 levels', nested(62, '[', ']')],
    ['10^5 keys', manyKeys],
    ['null', 'null'],
    ['false', 'false'],
    ['an empty string', '""'],
  ])('%s is delivered byte for byte', async (_what, data) => {
    const room = randomRoom();
    const texts: string[] = [];
    const member = await join(node, 'member', room);
    member.socket.on('message', (bytes) => texts.push(String(bytes)));
    const publisher = await enter(node, 'publisher');
    okOf(await answer(publisher, `{"data":  ${data}\n,"id":1,"type":"publish","room":"${room}"}`));
    await until(() => texts.length > 0, 5_000, 'the message');
    expect(texts[0]?.includes(`"data":${data},`)).toBe(true);
    expect(messagesOf(member, room)[0]?.data).toEqual(JSON.parse(data));
  });

  test('a key written with escapes is still that key', async () => {
    const room = randomRoom();
    const client = await join(node, 'user', room);
    client.send(`{"\\u0074ype":"publish","room":"${room}","d\\u0061ta":"hello"}`);
    expect(await client.next(carrying(room, 'hello'))).toMatchObject({ from: 'user' });
  });
});

describe('room names', () => {
  test.each([
    ['empty', ''],
    ['201 characters', 'x'.repeat(201)],
    ['a million characters', 'x'.repeat(1_000_000)],
    ['NUL', 'a\0b'],
    ['CR LF', 'a\r\nPUBLISH b c'],
    ['a star', '*'],
    ['a question mark', 'a?'],
    ['a bracket', '[a]'],
    ['a hash tag', '{tag}'],
    ['a closing brace', 'a}b'],
    ['a space', 'a b'],
    ['a backslash', 'a\\b'],
    ['a quote', 'a"b'],
    ['a greater sign', 'a>b'],
    ['emoji', '💥'],
    ['an umlaut, composed', 'ä'],
    ['an umlaut, decomposed', 'a\u0308'],
    ['right-to-left override', 'a\u202eb'],
    ['a fullwidth letter', '\uff41'],
    ['a lone surrogate', '\ud800'],
    ['one dot', '.'],
    ['two dots', '..'],
    ['a segment of two dots', 'a/../b'],
    ['ending in a dot segment', 'a/.'],
    ['a number', 1],
    ['a list', ['a']],
    ['null', null],
    ['an object', { toString: 'a' }],
  ])('%s is a bad_request in every frame, and Redis never hears of it', async (_what, room) => {
    const client = await enter(node, 'user');
    for (const type of ['subscribe', 'unsubscribe', 'publish']) {
      expect(errorOf(await client.request({ type, room, data: 1 })).code).toBe('bad_request');
    }
  });

  test.each(['__proto__', 'constructor', 'hasOwnProperty', '%', 'a%2Fb', '#', '+', '$SYS/#', 'a..b', '...', '-', ','])(
    '%s is a room like any other',
    async (name) => {
      const client = await join(node, 'user', name);
      const other = await join(node, 'other', `${name}x`);
      await client.publish(name, 'hello');
      expect(await client.next(carrying(name, 'hello'))).toMatchObject({ room: name });
      okOf(await client.request({ type: 'unsubscribe', room: name }));
      expect(other.frames.filter(({ type }) => type === 'message')).toEqual([]);
    },
  );

  test('none of this became a pattern subscription', async () => {
    const client = new Redis(redis.url);
    expect(await client.pubsub('NUMPAT')).toBe(0);
    const channels = (await client.pubsub('CHANNELS')) as string[];
    for (const channel of channels) expect(channel).not.toMatch(/[\s*?[\]\\"]/);
    client.disconnect();
  });
});

test('twenty thousand mutated frames: what is no JSON is a bad_request, and the node serves on', async () => {
  const seed = 20_240_607;
  const random = generator(seed);
  // Without rates, and with rooms enough that all of a round may wait for Redis, which other tests keep busy.
  const fuzzed = await startNode({ PUBLISH_RATE: 0, REQUEST_RATE: 0, MAX_ROOMS_PER_CONNECTION: 10_000 });
  // The last is for a Redis that other tests keep busy.
  const known = ['bad_request', 'unsupported', 'forbidden', 'limit_exceeded', 'timeout'];
  const room = randomRoom();
  const client = await enter(fuzzed, 'fuzzer');
  const templates = [
    '{"type":"subscribe","id":1,"room":"ROOM"}',
    '{"type":"publish","id":"p","room":"ROOM","data":{"a":[1,2,{"b":null}],"c":"\\u0041\\\\"},"key":"k"}',
    '{"type":"unsubscribe","id":2,"room":"ROOM"}',
    '{"type":"ping","id":3}',
    '{"type":"presence","id":4,"room":"ROOM"}',
  ].map((text) => text.replace('ROOM', room));

  for (let round = 0; round < 4; round++) {
    let unreadable = 0;
    for (let index = 0; index < 5_000; index++) {
      const text = mutate(templates[Math.floor(random() * templates.length)] ?? '', random);
      if (!isJson(text)) unreadable++;
      client.send(text);
      // Ten malformed ones in a row would end it.
      if (index % 9 === 0) client.send('{"type":"ping"}');
    }
    const last = await client.request({ type: 'ping', id: `last-${round}` }, 15_000);
    expect(last, `seed ${seed}`).toEqual({ type: 'pong', id: `last-${round}` });
    const errors = client.frames.splice(0).flatMap((frame) => (frame.type === 'error' ? [frame.code] : []));
    expect(errors.filter((code) => code === 'bad_request').length).toBeGreaterThanOrEqual(unreadable);
    for (const code of new Set(errors)) expect(known).toContain(code);
  }
  const other = await join(fuzzed, 'other', room);
  await other.publish(room, 'as before');
  await other.next(carrying(room, 'as before'));
}, 60_000);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** mulberry32: small, and the same for one seed everywhere. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const spice = ['"', '\\', '{', '}', '[', ']', ',', ':', '\0', '1e999', '-', 'null', '\\ud800', '💥', '__proto__', '\n'];

/** One to three cuts, doublings or insertions. */
function mutate(text: string, random: () => number): string {
  let result = text;
  for (let count = 1 + Math.floor(random() * 3); count > 0; count--) {
    const at = Math.floor(random() * (result.length + 1));
    const end = Math.min(result.length, at + Math.floor(random() * 6));
    const kind = random();
    const added = spice[Math.floor(random() * spice.length)] ?? '';
    const inserted = kind < 0.3 ? '' : kind < 0.5 ? result.slice(at, end).repeat(2) : added;
    result = result.slice(0, at) + inserted + result.slice(end);
  }
  return result;
}
