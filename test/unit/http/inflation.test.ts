/** gateway/http/websocket.ts: what a client sends beyond its bytes, also after its connection was closed. */
import { expect, test } from 'vitest';
import { TokenBucket } from '../../../gateway/connection/limits.ts';
import { type LibrarySocket, type UserData, WebSockets } from '../../../gateway/http/websocket.ts';
import { closeCode } from '../../../shared/codes.ts';

test('a client that sends too much is closed with 4007; if it goes on, of whatever type, its socket is destroyed', () => {
  const closes: number[] = [];
  let destroyed = 0;
  const connection = {
    closing: false,
    dialect: { binary: false },
    receive: () => undefined,
    close: (code: number) => {
      closes.push(code);
      connection.closing = true;
    },
  };
  const inflation = new TokenBucket(1, 1_000, performance.now());
  const data = { connection, inflation } as unknown as UserData;
  const socket = { getUserData: () => data, close: () => destroyed++ } as unknown as LibrarySocket;
  const { message } = new WebSockets({} as never, { on: true } as never, {} as never).handlers;
  message(socket, new ArrayBuffer(900), false);
  expect([closes, destroyed]).toEqual([[], 0]);
  message(socket, new ArrayBuffer(900), false);
  expect([closes, destroyed]).toEqual([[closeCode.rateLimited], 0]);
  message(socket, new ArrayBuffer(900), true);
  expect([closes, destroyed]).toEqual([[closeCode.rateLimited], 1]);
});
