/**
 * What the gateway sends compressed, RFC 7692: messages of rooms, each on its own, to those who agreed to it. Never what
 * holds the words of several people, and never more than the node has time for.
 *
 * The target has GATEWAY_COMPRESSION=shared and lets `testSecret` publish and subscribe to `chat:*`, with a history and presence.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { opcode, type ReceivedFrame } from '../support/raw-frame.ts';
import type { RawSocket } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { compressed, inflated, openWithDeflate } from './deflate.ts';
import { expectJson, nextFrame, open, type Target } from './target.ts';

const leastBytes = 512;

/** The rules of the rooms used here. */
export const deflateRooms = {
  rooms: [
    {
      match: 'chat:*',
      subscribe: 'user',
      publish: 'user',
      presence: true,
      history: { size: 1_000, maxBytes: 16_777_216 },
    },
  ],
};

const textOf = ({ payload, rsv }: ReceivedFrame) => (rsv === compressed ? inflated(payload) : payload.toString());

/** The next answer or message of this type; others are passed over. */
async function next(socket: RawSocket, type: string) {
  for (;;) {
    const frame = await nextFrame(socket);
    expect(frame).toMatchObject({ opcode: opcode.text, fin: true });
    const value = JSON.parse(textOf(frame));
    if (value.type === type) return { ...frame, value };
  }
}

export function deflateSendingSuite(target: Target): void {
  const headers = async (user: string) => ({ Authorization: `Bearer ${await mintToken({ sub: user })}` });
  const enter = async (room: string, socket: RawSocket) => {
    await expectJson(socket, { type: 'welcome' });
    await socket.send({ payload: JSON.stringify({ type: 'subscribe', id: 1, room }) });
    await next(socket, 'ok');
    return socket;
  };
  const member = async (room: string, user = 'alice') =>
    enter(room, await openWithDeflate(target, await headers(user)));
  const plainMember = async (room: string) => enter(room, await open(target, { headers: await headers('bob') }));
  const publish = (socket: RawSocket, room: string, data: string) =>
    socket.send({ payload: JSON.stringify({ type: 'publish', room, data }) });
  const someRoom = () => `chat:${randomUUID()}`;

  describe('messages of a room', () => {
    test('RFC 7692 7.2.1: from 512 bytes on they are compressed, each to be read alone; smaller ones never', async () => {
      const room = someRoom();
      const [reader, plain] = await Promise.all([member(room), plainMember(room)]);
      for (let size = 1; size < 40_000; size = Math.ceil(size * 1.3)) {
        for (const data of ['x'.repeat(size), randomBytes(size).toString('base64').slice(0, size)]) {
          await publish(plain, room, data);
          const bare = await next(plain, 'message');
          expect(bare.rsv, 'without the agreement').toBe(0);
          const received = await next(reader, 'message');
          expect(received.value, `${size}`).toEqual(bare.value);
          expect(received.value.data).toBe(data);
          expect(received.rsv, `${bare.payload.length} bytes`).toBe(bare.payload.length >= leastBytes ? compressed : 0);
        }
      }
    });

    test('RFC 7692 6: they come compressed to those who agreed, in the order and with the words of all others', async () => {
      const room = someRoom();
      const [reader, plain] = await Promise.all([member(room), plainMember(room)]);
      const sent = Array.from({ length: 200 }, (_, index) => `${index} ${'word '.repeat((index * 37) % 400)}`);
      for (const data of sent) await publish(plain, room, data);
      for (const data of sent) {
        expect((await next(reader, 'message')).value.data).toBe(data);
        expect((await next(plain, 'message')).value.data).toBe(data);
      }
    });

    test('a member that resumes gets the messages it missed compressed as well', async () => {
      const room = someRoom();
      const publisher = await plainMember(room);
      await publish(publisher, room, 'first');
      const { value } = await next(publisher, 'message');
      await socketSend(publisher, { type: 'history', id: 2, room });
      const { epoch } = (await next(publisher, 'ok')).value;
      await publish(publisher, room, 'y'.repeat(5_000));
      await next(publisher, 'message');
      const reader = await openWithDeflate(target, await headers('alice'));
      await socketSend(reader, { type: 'subscribe', id: 1, room, since: { epoch, offset: value.offset } });
      const missed = await next(reader, 'message');
      expect(missed).toMatchObject({ rsv: compressed, value: { data: 'y'.repeat(5_000) } });
    });
  });

  describe('what is never compressed', () => {
    test('answers that hold the words of several people: history and presence', async () => {
      const room = someRoom();
      const reader = await member(room);
      const others = await Promise.all(Array.from({ length: 12 }, (_, index) => member(room, `a-user-${index}`)));
      for (const [index, other] of others.entries()) await publish(other, room, `${index}`.repeat(100));
      for (const _ of others) await next(reader, 'message');
      for (const type of ['history', 'presence']) {
        await socketSend(reader, { type, id: type, room });
        const answer = await next(reader, 'ok');
        expect(answer.payload.length, type).toBeGreaterThan(leastBytes);
        expect(answer.rsv, type).toBe(0);
      }
    });

    test('a message to more members than the node has time to compress it for', async () => {
      const room = someRoom();
      const readers = await Promise.all(Array.from({ length: 40 }, () => member(room)));
      const [first] = readers as [RawSocket];
      await publish(first, room, 'z'.repeat(20_000));
      for (const reader of readers) expect((await next(reader, 'message')).rsv).toBe(compressed);
      await publish(first, room, 'z'.repeat(30_000));
      for (const reader of readers) expect((await next(reader, 'message')).rsv).toBe(0);
    });
  });
}

const socketSend = (socket: RawSocket, frame: object) => socket.send({ payload: JSON.stringify(frame) });
