/**
 * A stream over a model of the library's response. The model buffers and reports as uWebSockets.js 20.49 does: a small
 * write is gathered and reported as sent before it is, and the buffer is sent only together with a further write.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { sse } from '../../../gateway/http/fallback/sse.ts';
import { StreamSocket } from '../../../gateway/http/fallback/stream-socket.ts';
import type { LibraryResponse } from '../../../gateway/http/response.ts';
import { Random } from '../random.ts';

const gathered = 16_384;

class ModelResponse implements LibraryResponse {
  /** What the peer has read, without the framing of chunks. */
  read = '';
  /** Bytes that the kernel takes now. */
  capacity = Number.POSITIVE_INFINITY;
  held = '';
  status = '';
  ended = false;
  headers = new Map<string, string>();
  #corked: string | undefined;
  #writable: (offset: number) => boolean = () => true;
  #aborted: () => void = () => undefined;

  writeStatus(status: string) {
    this.status = status;
  }

  writeHeader(name: string, value: string) {
    this.headers.set(name, value);
  }

  write(chunk: string | Uint8Array): boolean {
    const text = String(Buffer.from(chunk as string));
    if (this.held !== '') {
      this.#send();
      if (this.held !== '') {
        this.held += text;
        return false;
      }
    }
    if (this.#corked !== undefined && this.#corked.length + text.length <= gathered) {
      this.#corked += text;
      return true;
    }
    this.held = (this.#corked ?? '') + text;
    if (this.#corked !== undefined) this.#corked = '';
    this.#send();
    return this.held === '';
  }

  end(body = '') {
    this.ended = true;
    this.read += body;
  }

  tryEnd(): [boolean, boolean] {
    throw new Error('a stream does not know its length');
  }

  endWithoutBody() {
    this.ended = true;
  }

  close() {
    this.#aborted();
  }

  pause() {
    throw new Error('a stream has no body to read');
  }

  resume() {
    throw new Error('a stream has no body to read');
  }

  cork(write: () => void) {
    if (this.#corked !== undefined) {
      write();
      return;
    }
    this.#corked = '';
    write();
    const rest = this.#corked;
    this.#corked = undefined;
    this.held += rest;
    this.#send();
  }

  onAborted(handler: () => void) {
    this.#aborted = handler;
  }

  onWritable(handler: (offset: number) => boolean) {
    this.#writable = handler;
  }

  onData() {
    throw new Error('a stream has no body');
  }

  getWriteOffset(): never {
    throw new Error('a stream has no known length');
  }

  /** The peer reads: the kernel takes more, and the library says so if it holds anything. */
  reads(bytes: number) {
    this.capacity += bytes;
    if (this.held !== '') this.#writable(0);
  }

  #send() {
    const taken = this.held.slice(0, this.capacity);
    this.capacity -= taken.length;
    this.read += taken;
    this.held = this.held.slice(taken.length);
  }
}

function begin() {
  const res = new ModelResponse();
  const socket = new StreamSocket(res, '192.0.2.1', { vary: 'Origin' });
  const owner = { drained: vi.fn(), ponged: vi.fn(), finished: vi.fn(), closed: vi.fn() };
  socket.owner = owner;
  return { res, socket, owner };
}

const ok = () => sse.encode({ type: 'ok', id: 0, room: 'a' });
const plain = (text: string) => text.replaceAll(':\n', '');

beforeEach(() => void vi.useFakeTimers({ toFake: ['setImmediate'] }));
afterEach(() => void vi.useRealTimers());

test('whatever the peer reads, and when: all frames arrive in order, and what waits is counted but for one small write', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Random(seed);
    const { res, socket, owner } = begin();
    socket.send(ok());
    const sent: string[] = [];
    const head = res.read;
    res.capacity = 0;
    for (let step = 0; step < 300; step++) {
      if (random.chance(0.6)) {
        const frame = `[${step}${'x'.repeat(random.chance(0.1) ? random.integer(0, 40_000) : random.integer(0, 300))}]`;
        sent.push(frame);
        socket.send(Buffer.from(frame));
      } else if (random.chance(0.8)) res.reads(random.integer(0, random.chance(0.2) ? 200_000 : 2_000));
      else socket.comment();
      if (step % 20 > 0) continue;
      const unread = sent.join('').length - plain(res.read.slice(head.length)).length;
      expect(socket.bufferedBytes() + gathered, `seed ${seed}`).toBeGreaterThanOrEqual(unread);
    }
    owner.drained.mockClear();
    const waited = socket.bufferedBytes() > 0;
    for (let times = 0; times < 3; times++) res.reads(10_000_000);
    expect(plain(res.read.slice(head.length)), `seed ${seed}`).toBe(sent.join(''));
    expect(socket.bufferedBytes()).toBe(0);
    if (waited) expect(owner.drained).toHaveBeenCalled();
  }
});

test('a ping is answered once nothing waits for the peer, and comments are sent only then', () => {
  const { res, socket, owner } = begin();
  socket.send(ok());
  socket.ping('1');
  expect(owner.ponged).toHaveBeenLastCalledWith('1');
  res.capacity = 0;
  socket.send(Buffer.alloc(20_000, 'x'));
  socket.ping('2');
  const before = res.held;
  socket.comment();
  expect(res.held).toBe(before);
  res.reads(10_000);
  expect(owner.ponged).toHaveBeenCalledTimes(1);
  res.reads(20_000);
  expect(owner.ponged).toHaveBeenLastCalledWith('2');
  socket.comment();
  expect(res.read.endsWith(':\n')).toBe(true);
});

test('an error before the stream begins is an answer with its status; welcome and the like send nothing', () => {
  const { res, socket, owner } = begin();
  socket.send(sse.encode({ type: 'pong', id: undefined }));
  expect([res.status, res.read]).toEqual(['', '']);
  socket.send(sse.encode({ type: 'error', id: 0, code: 'forbidden', message: 'No.' }));
  expect(res.status).toBe('403 Forbidden');
  expect(JSON.parse(res.read)).toEqual({
    type: 'https://roomcast.dev/problems/forbidden',
    title: 'Forbidden',
    status: 403,
    detail: 'No.',
  });
  expect(res.headers.get('content-type')).toBe('application/problem+json');
  expect(owner.closed).toHaveBeenCalledTimes(1);
  socket.send(ok());
  socket.end(4001, 'late');
  socket.destroy();
  expect(owner.closed).toHaveBeenCalledTimes(1);
});

test.each([
  [4501, '401 Unauthorized'],
  [4002, '401 Unauthorized'],
  [4503, '403 Forbidden'],
  [4506, '429 Too Many Requests'],
  [4001, '503 Service Unavailable'],
  [4006, '503 Service Unavailable'],
] as const)('a close with %s before the stream begins is answered by %s', (code, status) => {
  const { res, socket, owner } = begin();
  socket.end(code, 'reason');
  expect([res.status, res.ended]).toEqual([status, true]);
  expect(owner.closed).toHaveBeenCalledWith(code);
});

test('after unsubscribed the stream has finished, once what called it has returned', () => {
  const { socket, owner } = begin();
  socket.send(ok());
  socket.send(sse.encode({ type: 'unsubscribed', room: 'a', reason: 'revoked' }));
  expect(owner.finished).not.toHaveBeenCalled();
  vi.runAllTimers();
  expect(owner.finished).toHaveBeenCalledTimes(1);
});

test('reconnect before the answer to the subscribe is 503, so that the client goes elsewhere', () => {
  const { res, socket } = begin();
  socket.send(sse.encode({ type: 'reconnect', afterMs: 0, reason: 'draining' }));
  expect([res.status, res.headers.get('retry-after')]).toEqual(['503 Service Unavailable', '5']);
});
