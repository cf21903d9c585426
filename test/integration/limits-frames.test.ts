/**
 * Limits on the frames of one connection: size, rate, malformed frames, rooms, control frames. A refusal gives its
 * reason; a client that ignores refusals is closed; others notice nothing.
 */
import { describe, expect, inject, test } from 'vitest';
import { connect, errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { buildFrame, opcode, type ReceivedFrame } from '../support/raw-frame.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { roomsFile } from './files.ts';
import { carrying, dataOf, enter, join, names, randomRoom, tokenOf } from './people.ts';

const node = await startNode({ MAX_MESSAGE_BYTES: 1024, MAX_ROOMS_PER_CONNECTION: 3 });
const paced = await startNode({ PUBLISH_RATE: 20, PUBLISH_BURST: 5, REQUEST_RATE: 10, MAX_ROOMS_PER_CONNECTION: 3 });
const unpaced = await startNode({ PUBLISH_RATE: 0, REQUEST_RATE: 0 });

describe('GATEWAY_MAX_MESSAGE_BYTES', () => {
  /** A publish of exactly the given size in UTF-8 bytes. */
  function publishOf(bytes: number, room: string, filler = 'x'): string {
    const [before = '', after = ''] = JSON.stringify({ type: 'publish', id: 'big', room, data: '|' }).split('|');
    const left = bytes - Buffer.byteLength(before + after);
    const wide = filler.repeat(Math.floor(left / Buffer.byteLength(filler)));
    return before + wide + 'x'.repeat(left - Buffer.byteLength(wide)) + after;
  }

  test.each(['x', 'ü', '€', '💥'])(
    'counts UTF-8 bytes of the whole frame: exactly as many of %s pass',
    async (filler) => {
      const room = randomRoom();
      const client = await join(node, 'user', room);
      client.send(publishOf(1024, room, filler));
      okOf(await client.next((frame) => 'id' in frame && frame.id === 'big'));
      client.send(publishOf(1025, room, filler));
      expect(await client.next('error')).toMatchObject({
        id: 'big',
        code: 'too_large',
        message: expect.stringContaining('1024'),
      });
      await client.publish(room, 'end');
      await client.next(carrying(room, 'end'));
      expect(dataOf(client, room)).toHaveLength(2);
    },
  );

  test('up to twice the limit is answered with too_large, beyond that the transport closes', async () => {
    const client = await enter(node, 'user');
    for (const bytes of [1025, 1500, 2048]) {
      client.send(publishOf(bytes, 'room'));
      expect((await client.next('error')).code).toBe('too_large');
    }
    client.send(publishOf(2049, 'room'));
    expect(await client.closed).toMatchObject({ code: 1006 });
  });

  test('a frame that is too large does not count as malformed', async () => {
    const client = await enter(node, 'user');
    for (let index = 0; index < 15; index++) client.send(publishOf(2000, 'room'));
    expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    expect(client.frames.filter(({ type }) => type === 'error')).toHaveLength(15);
  });
});

describe('GATEWAY_MAX_ROOMS_PER_CONNECTION', () => {
  test('a room over the limit is limit_exceeded, until another one is left', async () => {
    const rooms = names(randomRoom(), 4);
    const client = await enter(node, 'user');
    for (const room of rooms.slice(0, 3)) await client.subscribe(room);
    const fourth = { type: 'subscribe', room: rooms[3] };
    expect(errorOf(await client.request(fourth)).code).toBe('limit_exceeded');
    okOf(await client.request({ type: 'subscribe', room: rooms[0] }));
    okOf(await client.request({ type: 'unsubscribe', room: rooms[0] }));
    okOf(await client.request(fourth));
  });

  test('rooms that are still being joined count', async () => {
    const client = await enter(node, 'user');
    const answers = await Promise.all(
      names(randomRoom(), 10).map((room) => client.request({ type: 'subscribe', room })),
    );
    expect(answers.filter(({ type }) => type === 'ok')).toHaveLength(3);
  });
});

describe('GATEWAY_PUBLISH_RATE', () => {
  test('the burst passes; the next one is rate_limited with the time to wait, and is not delivered', async () => {
    const room = randomRoom();
    const member = await join(paced, 'member', room);
    const client = await enter(paced, 'user');
    const answers = await Promise.all(names('', 8).map((data) => client.request({ type: 'publish', room, data })));
    const taken = answers.filter(({ type }) => type === 'ok').length;
    expect(taken).toBeGreaterThanOrEqual(5);
    expect(taken).toBeLessThan(8);
    const refused = errorOf(answers.find(({ type }) => type === 'error') ?? { type: 'pong' });
    expect(refused).toMatchObject({ code: 'rate_limited', retryAfterMs: expect.any(Number) });
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(50);

    const again = performance.now() + (refused.retryAfterMs ?? 0);
    await until(() => performance.now() > again, 1_000, 'retryAfterMs is over');
    await client.publish(room, 'end');
    await member.next(carrying(room, 'end'));
    expect(dataOf(member, room)).toHaveLength(taken + 1);
  });

  test('a hundred refusals in a row close with 4007, and only that connection', async () => {
    const room = randomRoom();
    const [client, other] = [await enter(paced, 'user'), await join(paced, 'other', room)];
    for (let index = 0; index < 1000; index++) client.send({ type: 'publish', room, data: index });
    expect(await client.closed).toMatchObject({ code: 4007 });
    expect(client.frames.filter(({ type }) => type === 'error').length).toBeGreaterThanOrEqual(99);
    await other.publish(room, 'mine');
    await other.next(carrying(room, 'mine'));
  });
});

describe('GATEWAY_REQUEST_RATE', () => {
  test('all other frames have a rate of their own, also those of unknown types and malformed ones', async () => {
    const client = await enter(paced, 'user');
    const rush = ['{"type":"ping"}', '{"type":"future"}', '{"type":"subscribe","id":"r","room":"r"}', '{}'];
    for (let index = 0; index < 40; index++) client.send(rush[index % rush.length] ?? '');
    const limited = await client.next((frame) => frame.type === 'error' && frame.code === 'rate_limited');
    expect(errorOf(limited).retryAfterMs).toBeGreaterThan(0);
    await client.publish(randomRoom(), 'publishes are counted apart');
  });

  test.each([
    [128, {}],
    [1_000, { MAX_ROOMS_PER_CONNECTION: 1_000 }],
  ])(
    'all requests that a client with %i rooms sends at once when it reconnects are answered',
    async (rooms, settings) => {
      const keeping = await startNode({
        REDIS_URL: inject('redisUrl'),
        REDIS_PREFIX: inject('redisPrefix'),
        ROOMS_FILE: roomsFile({ match: 'room:*', presence: true, history: {} }),
        ...settings,
      });
      const client = await connect(keeping.url);
      client.send({ type: 'auth', token: await tokenOf('user') });
      const types = ['subscribe', 'history', 'presence'];
      const requests = names(randomRoom(), rooms).flatMap((room) => types.map((type) => ({ type, room })));
      const answers = await Promise.all(requests.map((frame) => client.request(frame, 15_000)));
      for (const answer of answers) okOf(answer);
    },
  );

  test('ten thousand pings at once close with 4007 after a hundred refusals', async () => {
    const [client, other] = [await enter(paced, 'user'), await enter(paced, 'other')];
    for (let id = 0; id < 10_000; id++) client.send({ type: 'ping', id });
    expect(await client.closed).toMatchObject({ code: 4007 });
    const pongs = client.frames.filter(({ type }) => type === 'pong').length;
    expect(pongs).toBeGreaterThanOrEqual(20);
    expect(client.frames.filter(({ type }) => type === 'error').length).toBeGreaterThanOrEqual(99);
    expect(await other.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });
});

describe('malformed frames', () => {
  test('the tenth in a row closes with 4504', async () => {
    const client = await enter(unpaced, 'user');
    for (let index = 0; index < 10; index++) client.send('{');
    expect(await client.closed).toMatchObject({ code: 4504 });
    expect(client.frames.filter(({ type }) => type === 'error')).toHaveLength(10);
  });

  test('nine malformed frames and a good one, repeated, never close; nor do unknown types', async () => {
    const client = await enter(unpaced, 'user');
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 9; index++) client.send('nonsense');
      expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    }
    for (let id = 0; id < 50; id++) {
      expect(errorOf(await client.request({ type: 'future' })).code).toBe('unsupported');
    }
  });

  test('they also count before welcome', async () => {
    const socket = await RawSocket.connect(unpaced.port);
    await socket.send(handshake());
    await socket.response();
    await socket.send(...Array.from({ length: 10 }, () => ({ payload: '[]' })));
    const frames = await socket.framesToEnd();
    expect(frames.at(-1)?.opcode).toBe(opcode.close);
    expect(frames.at(-1)?.payload.readUInt16BE(0)).toBe(4504);
  });
});

describe('control frames', () => {
  async function rawUser(): Promise<RawSocket> {
    const socket = await RawSocket.connect(unpaced.port);
    await socket.write(handshake({ headers: { Authorization: `Bearer ${await tokenOf('user')}` } }));
    await socket.response();
    await answerTo(socket);
    return socket;
  }

  /** The next frame that is not a heartbeat of the gateway. */
  async function answerTo(socket: RawSocket): Promise<ReceivedFrame> {
    const frame = await socket.frame();
    return frame.opcode === opcode.ping ? answerTo(socket) : frame;
  }

  test('ten thousand WebSocket pings are answered in order, and then the connection is served', async () => {
    const socket = await rawUser();
    const pings = names('', 10_000);
    await socket.write(Buffer.concat(pings.map((payload) => buildFrame({ opcode: opcode.ping, payload }))));
    for (const payload of pings) {
      const pong = await answerTo(socket);
      expect([pong.opcode, String(pong.payload)]).toEqual([opcode.pong, payload]);
    }
    await socket.send({ payload: '{"type":"ping","id":1}' });
    expect(JSON.parse(String((await answerTo(socket)).payload))).toEqual({ type: 'pong', id: 1 });
  });

  test.each(['ping', 'pong'] as const)(
    'a hundred thousand %ss at once close the connection, and others notice nothing',
    async (kind) => {
      const [socket, other] = [await rawUser(), await enter(unpaced, 'other')];
      const flood = Buffer.concat(
        Array.from({ length: 1_000 }, () => buildFrame({ opcode: opcode[kind], payload: 'x' })),
      );
      for (let part = 0; part < 100; part++) await socket.write(flood);
      const frames = await socket.framesToEnd(10_000);
      expect(frames.at(-1)?.payload.readUInt16BE(0)).toBe(4007);
      expect(await other.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    },
  );
});
