/**
 * Size limits and floods: what one connection may send before it is told, cut, or simply served (RFC 6455 sections
 * 5.2, 5.5.2, 7.4.1 and 10.4).
 *
 * `maxMessageBytes` is 65536 here; up to twice that the client is told, beyond it the transport cuts.
 */
import { describe, expect, test } from 'vitest';
import { buildFrame, fragments, opcode } from '../support/raw-frame.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import {
  expectClosed,
  expectCutWithoutClose,
  expectJson,
  expectServed,
  nextFrame,
  open,
  pingOfSize,
  pingText,
  type Target,
} from './target.ts';

const maxMessageBytes = 65_536;
const maxTransportBytes = 2 * maxMessageBytes;

export function limitsSuite(target: Target): void {
  describe('size', () => {
    test.each([[maxMessageBytes + 1], [maxTransportBytes]])(
      'RFC 6455 10.4: a text of %i bytes is told to be too large, and the connection goes on',
      async (bytes) => {
        const socket = await open(target);
        await socket.send({ payload: pingOfSize(1, bytes) });
        await expectJson(socket, { type: 'error', code: 'too_large' });
        await expectServed(socket);
      },
    );

    test('RFC 6455 10.4: the limit counts bytes, not characters', async () => {
      const socket = await open(target);
      await socket.send({ payload: JSON.stringify({ type: 'ping', pad: '€'.repeat(maxMessageBytes / 2) }) });
      await expectJson(socket, { type: 'error', code: 'too_large' });
    });

    test.each<[string, bigint]>([
      ['one byte beyond the limit of the transport', BigInt(maxTransportBytes + 1)],
      ['2^32', 2n ** 32n],
      ['2^63 - 1', 2n ** 63n - 1n],
      ['2^63, which section 5.2 forbids', 2n ** 63n],
      ['2^64 - 1', 2n ** 64n - 1n],
    ])('RFC 6455 10.4: a frame that announces %s is cut at its header (deviation: no 1009)', async (_, announced) => {
      const socket = await open(target);
      await socket.send({ announced });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 10.4: fragments are counted together: told up to the limit of the transport, cut beyond it', async () => {
      const socket = await open(target);
      const told = Buffer.from(pingOfSize(1, maxTransportBytes));
      await socket.send(...fragments(told, [40_000, 40_000, 40_000]));
      await expectJson(socket, { type: 'error', code: 'too_large' });
      await socket.send(...fragments(Buffer.concat([told, Buffer.from(' ')]), [40_000, 40_000, 40_000]));
      await expectCutWithoutClose(socket);
    });
  });

  describe('kind', () => {
    test.each([[0], [1], [100]])('RFC 6455 7.4.1: a binary frame of %i bytes is answered by 1003', async (bytes) => {
      const socket = await open(target);
      await socket.send({ opcode: opcode.binary, payload: Buffer.alloc(bytes, 0xff) });
      await expectClosed(socket, 1003);
    });

    test('RFC 6455 7.4.1: a binary frame is answered by 1003 even when it holds JSON', async () => {
      const socket = await open(target);
      await socket.send({ opcode: opcode.binary, payload: pingText(1) });
      await expectClosed(socket, 1003);
    });
  });

  describe('floods', () => {
    test('RFC 6455 5.5.2: 10,000 pings at once are answered in order, and frames are still served', async () => {
      const socket = await open(target);
      const pings = Array.from({ length: 10_000 }, (_, index) =>
        buildFrame({ opcode: opcode.ping, payload: `${index}` }),
      );
      await socket.send(...pings);
      for (const index of pings.keys()) {
        const { opcode: code, payload } = await nextFrame(socket);
        expect([code, payload.toString()]).toEqual([opcode.pong, `${index}`]);
      }
      await expectServed(socket);
    });

    test('RFC 6455 10.4: a flood of 100,000 pongs is cut off with 4007, and nobody waits for it', async () => {
      const [flooding, other] = await Promise.all([open(target), open(target)]);
      const sent = flooding.write(Buffer.concat(Array<Buffer>(100_000).fill(buildFrame({ opcode: opcode.pong }))));
      await expectServed(other);
      await expectClosed(flooding, 4007);
      await sent;
    });

    test('RFC 6455 10.4: a flood of 1-byte texts is told ten times and cut off with 4504', async () => {
      const [flooding, other] = await Promise.all([open(target), open(target)]);
      const sent = flooding.write(Buffer.concat(Array<Buffer>(100_000).fill(buildFrame({ payload: '{' }))));
      await expectServed(other);
      for (let count = 1; count <= 10; count++) await expectJson(flooding, { type: 'error', code: 'bad_request' });
      await expectClosed(flooding, 4504);
      await sent;
    });

    test('RFC 6455 10.4: a text after 100,000 empty fragments is served, and nobody waits for it', async () => {
      const [flooding, other] = await Promise.all([open(target), open(target)]);
      const sent = flooding.send(...fragments(Buffer.from(pingText(1)), Array<number>(100_000).fill(0)));
      await expectServed(other);
      await sent;
      await expectJson(flooding, { type: 'pong', id: 1 });
    });

    test('RFC 6455 10.4: a message of 65,536 fragments of one byte each is served', async () => {
      const socket = await open(target);
      const payload = Buffer.from(pingOfSize(1, maxMessageBytes));
      await socket.send(...fragments(payload, Array<number>(maxMessageBytes - 1).fill(1)));
      await expectJson(socket, { type: 'pong', id: 1 });
    });
  });

  describe('outside of the conversation', () => {
    test('RFC 6455 5.5.1: bytes that are no frames, after a Close, are ignored', async () => {
      const socket = await open(target);
      await socket.send({ opcode: opcode.close }, Buffer.alloc(100_000, 0xff));
      await expectClosed(socket, null);
    });

    test('RFC 6455 4.1: HTTP on an upgraded connection is no request', async () => {
      const socket = await open(target);
      await socket.write(handshake());
      await expectCutWithoutClose(socket);
    });
  });
}

/** A client that never finishes its handshake costs a socket for `mostSeconds` at most. */
export function slowHandshakeSuite(target: Target, mostSeconds: number): void {
  const mostMs = mostSeconds * 1_000;
  const title = `RFC 6455 10: a client that is silent, or drips its handshake, is cut within ${mostSeconds} s`;
  test(title, { timeout: mostMs + 5_000 }, async () => {
    const [silent, dripping] = await Promise.all([RawSocket.connect(target.port), RawSocket.connect(target.port)]);
    await dripping.write(handshake().subarray(0, -2));
    const drip = setInterval(() => dripping.write(Buffer.from('X')), 200);
    await Promise.all([silent.ended(mostMs), dripping.ended(mostMs)]).finally(() => clearInterval(drip));
  });
}
