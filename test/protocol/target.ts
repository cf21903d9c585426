/**
 * What the protocol suite is pointed at, and the few questions every test of it asks: does the other side still serve
 * frames, and did it end the connection.
 *
 * A target is an address that may not be there yet when tests are collected. The suite knows nothing else of it, so it
 * runs the same against a node and through a load balancer.
 */
import { expect } from 'vitest';
import { closePayload, opcode, type ReceivedFrame } from '../support/raw-frame.ts';
import { handshake, httpRequest, RawSocket, type Request, type Response } from '../support/raw-socket.ts';

export interface Target {
  readonly port: number;
}

/** The answer to a handshake, on a connection that stays open until the test ends. */
export async function answerTo(target: Target, bytes: Buffer): Promise<Response> {
  const socket = await RawSocket.connect(target.port);
  await socket.write(bytes);
  return socket.response();
}

/** HEAD is answered with this status and nothing behind the header: the answer to what follows begins there. */
export async function expectNoBody(target: Target, path: string, status: number): Promise<void> {
  const socket = await RawSocket.connect(target.port);
  const headers = { Host: 'localhost' };
  await socket.write(httpRequest({ method: 'HEAD', path, headers }));
  expect((await socket.response()).status, path).toBe(status);
  await socket.write(httpRequest({ path: '/healthz', headers }));
  expect((await socket.response()).head, path).toMatch(/^HTTP\/1\.1 200 /);
}

/** A connection with its handshake behind it. */
export async function open(target: Target, request: Request = {}): Promise<RawSocket> {
  const socket = await RawSocket.connect(target.port);
  await socket.write(handshake(request));
  expect((await socket.response()).head).toMatch(/^HTTP\/1\.1 101 /);
  return socket;
}

/** A frame that is served before authentication, too; `padding` makes it longer. */
export function pingText(id: number | string, padding = 0): string {
  const text = JSON.stringify({ type: 'ping', id });
  return padding === 0 ? text : `${text.slice(0, -1)},"pad":"${'x'.repeat(padding - ',"pad":""'.length)}"}`;
}

/** A `ping` of exactly `bytes` bytes. */
export function pingOfSize(id: number, bytes: number): string {
  return pingText(id, bytes - pingText(id).length);
}

/** The next frame that is not a heartbeat: the gateway may send a ping at any time. */
export async function nextFrame(socket: RawSocket): Promise<ReceivedFrame> {
  for (;;) {
    const frame = await socket.frame();
    if (frame.opcode !== opcode.ping) return frame;
  }
}

/** What comes until the other side ends the connection, heartbeats left out. */
async function remainingFrames(socket: RawSocket) {
  return (await socket.framesToEnd()).filter((frame) => frame.opcode !== opcode.ping).map(readable);
}

/** The next frame is one unmasked, unfragmented text frame with this JSON (RFC 6455 sections 5.1 and 5.2). */
export async function expectJson(socket: RawSocket, expected: object): Promise<void> {
  const frame = await nextFrame(socket);
  expect(readable(frame)).toEqual({ opcode: opcode.text, fin: true, rsv: 0, masked: false, text: expect.any(String) });
  expect(JSON.parse(frame.payload.toString())).toMatchObject(expected);
}

/** Nothing of what came before is still in the way, and the connection works. */
export async function expectServed(socket: RawSocket, id: number | string = 'still served'): Promise<void> {
  await socket.send({ payload: pingText(id) });
  await expectJson(socket, { type: 'pong', id });
}

/**
 * A violation of the protocol ended the connection and nothing was served. RFC 6455 section 7.1.7 would have a Close
 * frame sent first where possible; uWebSockets.js ends TCP without one, so the client sees 1006.
 */
export async function expectCutWithoutClose(socket: RawSocket): Promise<void> {
  expect(await remainingFrames(socket)).toEqual([]);
}

/** Exactly one Close frame with this code (null: none inside) came, nothing else, and then the end of TCP. */
export async function expectClosed(socket: RawSocket, code: number | null): Promise<void> {
  const frames = await remainingFrames(socket);
  expect(frames).toEqual([{ opcode: opcode.close, fin: true, rsv: 0, masked: false, text: expect.any(String), code }]);
}

/** Sends a Close frame with a valid code. */
export function sendClose(socket: RawSocket, code = 1000): Promise<void> {
  return socket.send({ opcode: opcode.close, payload: closePayload(code) });
}

function readable({ payload, ...rest }: ReceivedFrame) {
  if (rest.opcode !== opcode.close) return { ...rest, text: payload.toString() };
  const code = payload.length >= 2 ? payload.readUInt16BE(0) : null;
  return { ...rest, code, text: payload.subarray(2).toString() };
}
