/**
 * Fragmentation, RFC 6455 section 5.4, and control frames between and as fragments, section 5.5.
 */
import { describe, expect, test } from 'vitest';
import { buildFrame, fragments, opcode } from '../support/raw-frame.ts';
import {
  expectClosed,
  expectCutWithoutClose,
  expectJson,
  expectServed,
  nextFrame,
  open,
  pingText,
  type Target,
} from './target.ts';

export function fragmentationSuite(target: Target): void {
  describe('fragmentation', () => {
    test.each([[1], [2], [3], [10], [100], [999], [1_000]])(
      'RFC 6455 5.4: a text in %i fragments is one message',
      async (count) => {
        const socket = await open(target);
        await socket.send(...fragments(Buffer.from(pingText(count, 2_000)), Array<number>(count - 1).fill(2)));
        await expectJson(socket, { type: 'pong', id: count });
        await expectServed(socket);
      },
    );

    test('RFC 6455 5.4: empty fragments first, between and last add nothing', async () => {
      const socket = await open(target);
      await socket.send(...fragments(Buffer.from(pingText(1)), [0, 0, 5, 0, 0, 18, 0]));
      await expectJson(socket, { type: 'pong', id: 1 });
    });

    test('RFC 6455 5.4: fragments in segments of their own are one message', async () => {
      const socket = await open(target);
      for (const frame of fragments(Buffer.from(pingText(1)), Array<number>(20).fill(1))) await socket.write(frame);
      await expectJson(socket, { type: 'pong', id: 1 });
    });

    test('RFC 6455 5.4: a ping between any two of 1,000 fragments is answered at once and in order', async () => {
      const socket = await open(target);
      const frames = fragments(Buffer.from(pingText(1, 2_000)), Array<number>(999).fill(2));
      const pings = frames.map((_, index) => buildFrame({ opcode: opcode.ping, payload: `${index}` }));
      const last = frames.pop() ?? Buffer.alloc(0);
      await socket.send(...frames.flatMap((frame, index) => [frame, pings[index] ?? frame]));
      for (const index of frames.keys()) {
        expect(await nextFrame(socket)).toMatchObject({ opcode: opcode.pong, payload: Buffer.from(`${index}`) });
      }
      await socket.send(last);
      await expectJson(socket, { type: 'pong', id: 1 });
    });

    test('RFC 6455 5.4: a pong nobody asked for between fragments changes nothing', async () => {
      const socket = await open(target);
      const [first, second] = fragments(Buffer.from(pingText(1)), [7]) as [Buffer, Buffer];
      await socket.send(first, { opcode: opcode.pong, payload: 'unasked' }, second);
      await expectJson(socket, { type: 'pong', id: 1 });
    });

    test.each([
      [true, 'the last'],
      [false, 'not the last'],
    ])('RFC 6455 5.4: a continuation with nothing to continue (fin %s, %s) ends the connection', async (fin) => {
      const socket = await open(target);
      await socket.send({ opcode: opcode.continuation, payload: pingText(1), fin }, { payload: pingText(2) });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 5.4: a continuation after a complete message ends the connection', async () => {
      const socket = await open(target);
      await expectServed(socket);
      await socket.send(...fragments(Buffer.from(pingText(1)), [7]));
      await expectJson(socket, { type: 'pong', id: 1 });
      await socket.send({ opcode: opcode.continuation, payload: pingText(2) });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 5.4: a new text inside an unfinished one ends the connection', async () => {
      const socket = await open(target);
      await socket.send({ payload: '{"type":', fin: false }, { payload: pingText(1) });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 5.4: a binary message inside an unfinished text ends the connection as any binary one does', async () => {
      const socket = await open(target);
      await socket.send({ payload: '{"type":', fin: false }, { opcode: opcode.binary, payload: pingText(1) });
      await expectClosed(socket, 1003);
    });

    test.each([[opcode.ping], [opcode.pong], [opcode.close]])(
      'RFC 6455 5.5: a fragmented control frame of opcode %i ends the connection',
      async (code) => {
        const socket = await open(target);
        await socket.send({ opcode: code, fin: false }, { opcode: opcode.continuation }, { payload: pingText(1) });
        await expectCutWithoutClose(socket);
      },
    );
  });
}
