/** When a client connects, how long it waits, and when it stops for good. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { connect } from '../../../shared/client/client.ts';
import { useFakeClock } from '../fake-clock.ts';
import { FakeGateway, FakeSocket, intervalMs } from './fake-gateway.ts';

useFakeClock();
const random = vi.spyOn(Math, 'random');
beforeEach(() => void random.mockReturnValue(0.999));
afterEach(() => {
  vi.unstubAllGlobals();
});

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);

async function started(options = {}) {
  const gateway = new FakeGateway(options);
  await passes(0);
  return gateway;
}

test.each<[string, (gateway: FakeGateway) => void]>([
  ['error, followed by close', ({ last }) => [last.fail(), last.end(1006)]],
  ['close during the handshake', ({ last }) => last.end(1006)],
  ['close, followed by error', ({ last }) => [last.end(1006), last.fail()]],
  ['close after the welcome', ({ last }) => last.welcome().end(1006)],
])('one loss is one next attempt: %s', async (_, lose) => {
  const gateway = await started();
  lose(gateway);
  expect(gateway.client.state).toBe('waiting');
  await passes(5_000);
  expect(gateway.sockets).toHaveLength(2);
  await passes(14_000);
  expect(gateway.sockets).toHaveLength(2);
});

test('a constructor that throws is an attempt that failed', async () => {
  const gateway = await started();
  gateway.throws = new Error('blocked');
  gateway.last.end(1006);
  await passes(2_500);
  expect(gateway.sockets).toHaveLength(2);
  gateway.throws = undefined;
  await passes(5_000);
  expect(gateway.sockets).toHaveLength(3);
  gateway.last.welcome();
  expect(gateway.client.state).toBe('open');
});

test('a handshake without a welcome is given up after 15 s, and its socket is closed', async () => {
  const gateway = await started();
  await passes(14_999);
  expect(gateway.client.state).toBe('connecting');
  await passes(1);
  expect(gateway.client.state).toBe('waiting');
  expect(gateway.last.closedWith).toBe(1000);
});

test('the wait is anything up to a bound that doubles to 30 s', async () => {
  const gateway = await started();
  for (const bound of [2_500, 5_000, 10_000, 20_000, 30_000, 30_000]) {
    const count = gateway.sockets.length;
    gateway.last.end(1006);
    await passes(bound * 0.998);
    expect(gateway.sockets).toHaveLength(count);
    await passes(bound * 0.001 + 1);
    expect(gateway.sockets).toHaveLength(count + 1);
  }
  random.mockReturnValue(0.1);
  gateway.last.end(1006);
  await passes(3_001);
  expect(gateway.sockets).toHaveLength(8);
});

test('also the clients of a node that dies as soon as they have come are spread over 5 s', async () => {
  const gateway = await started();
  gateway.last.welcome().end(1006);
  await passes(4_990);
  expect(gateway.sockets).toHaveLength(1);
  await passes(10);
  expect(gateway.sockets).toHaveLength(2);
});

test('the backoff begins anew after 10 s of a stable connection, not before', async () => {
  const gateway = await started();
  for (const bound of [2_500, 5_000, 10_000]) {
    gateway.last.end(1006);
    await passes(bound);
  }
  gateway.last.welcome();
  await passes(9_999);
  gateway.last.end(1006);
  await passes(9_000);
  expect(gateway.sockets).toHaveLength(4);
  await passes(1_001 + 10_000);
  expect(gateway.sockets).toHaveLength(5);
  gateway.last.welcome();
  await passes(10_000);
  gateway.last.end(1006);
  // The clients of a node that died come back over 5 s, not all in the first one.
  await passes(4_900);
  expect(gateway.sockets).toHaveLength(5);
  await passes(100);
  expect(gateway.sockets).toHaveLength(6);
});

test.each([1000, 1002, 1003, 1007, 1009, 4501, 4502, 4503, 4504, 4506, 4999])(
  'after %i the client does not come back, and says so',
  async (code) => {
    const gateway = await started();
    const errors: Error[] = [];
    gateway.client.on('error', (error) => errors.push(error));
    const publishing = gateway.client.room('room').publish('x');
    gateway.last.welcome();
    gateway.last.end(code, 'because');
    await expect(publishing).rejects.toMatchObject({ code: 'closed', closeCode: code });
    expect(errors).toMatchObject([{ code: 'closed', closeCode: code }]);
    expect(gateway.client.state).toBe('closed');
    await passes(600_000);
    expect(gateway.sockets).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  },
);

test.each([1001, 1006, 1011, 4000, 4001, 4003, 4004, 4005, 4006, 4499])('after %i it comes back', async (code) => {
  const gateway = await started();
  gateway.last.welcome();
  gateway.last.end(code);
  await passes(5_000);
  expect(gateway.sockets).toHaveLength(2);
});

test('after 4007 it waits 30 s at the least, also when the network comes back', async () => {
  const listeners = stubPage();
  const gateway = await started();
  gateway.last.welcome();
  gateway.last.end(4007);
  await passes(1_000);
  listeners.get('online')?.();
  await passes(28_900);
  expect(gateway.sockets).toHaveLength(1);
  await passes(1_200);
  expect(gateway.sockets).toHaveLength(2);
});

test('close ends it for good: no attempt, no timer, no listener, and what waits is rejected', async () => {
  const listeners = stubPage();
  const gateway = await started();
  const room = gateway.client.room('room');
  const joining = room.subscribe();
  const publishing = room.publish('x');
  gateway.last.welcome();
  const closing = gateway.client.close();
  await expect(joining).rejects.toMatchObject({ code: 'closed' });
  await expect(publishing).rejects.toMatchObject({ code: 'closed' });
  await expect(room.publish('y')).rejects.toMatchObject({ code: 'closed' });
  await expect(room.subscribe()).rejects.toMatchObject({ code: 'closed' });
  expect(gateway.last.closedWith).toBe(1000);
  gateway.last.end(1000);
  await closing;
  await passes(600_000);
  expect(gateway.sockets).toHaveLength(1);
  expect(vi.getTimerCount()).toBe(0);
  expect(listeners.size).toBe(0);
});

test('a client that is closed while a constructor fails makes no other attempt', async () => {
  class WebSocket extends FakeSocket {
    constructor(_url: string, protocols: string[]) {
      super(protocols);
      void client.close();
      throw new Error('blocked');
    }
  }
  const client = connect('ws://gateway.example/ws', { WebSocket });
  await passes(0);
  expect(vi.getTimerCount()).toBe(0);
});

test('a gateway that does not answer the close holds it up for a second at most', async () => {
  const gateway = await started();
  gateway.last.welcome();
  const closing = gateway.client.close();
  await passes(1_000);
  await closing;
});

test.each([0, 0.5, 1])('a line that goes silent is found within two intervals (%f after the welcome)', async (part) => {
  const gateway = await started();
  const [socket] = gateway.sockets;
  socket?.welcome();
  await passes(intervalMs * part);
  socket?.tell({ type: 'pong' });
  expect(socket?.closedWith).toBeUndefined();
  await passes(2 * intervalMs);
  expect(socket?.closedWith).toBe(1000);
});

test('a line on which anything comes stays', async () => {
  const gateway = await started();
  gateway.last.welcome();
  for (let count = 0; count < 20; count++) {
    await passes(intervalMs / 2);
    gateway.last.tell({ type: 'message', room: 'room', data: 1, at: 1 });
  }
  expect(gateway.client.state).toBe('open');
  expect(gateway.last.sentOf('ping').length).toBeGreaterThan(8);
});

test('when the page comes back, its line must show within 5 s that it lives, and a wait ends', async () => {
  const listeners = stubPage();
  const gateway = await started();
  const [socket] = gateway.sockets;
  socket?.welcome();
  listeners.get('visibilitychange')?.();
  expect(socket?.sentOf('ping')).toHaveLength(1);
  socket?.tell({ type: 'pong' });
  await passes(5_000);
  expect(gateway.client.state).toBe('open');
  listeners.get('resume')?.();
  await passes(5_000);
  expect(gateway.client.state).toBe('waiting');
  listeners.get('online')?.();
  await passes(1_000);
  expect(gateway.sockets).toHaveLength(2);
});

test.each(['online', 'pageshow', 'visibilitychange', 'resume'])(
  '%s makes a waiting client try within a second',
  async (name) => {
    const listeners = stubPage();
    const gateway = await started();
    gateway.last.end(1006);
    await passes(0);
    listeners.get(name)?.();
    await passes(1_000);
    expect(gateway.sockets).toHaveLength(2);
  },
);

test.each(['online', 'offline', 'pageshow', 'visibilitychange', 'resume'])(
  '%s puts an open line in doubt',
  async (name) => {
    const listeners = stubPage();
    const gateway = await started();
    gateway.last.welcome();
    listeners.get(name)?.();
    expect(gateway.last.sentOf('ping')).toHaveLength(1);
    await passes(5_000);
    expect(gateway.client.state).toBe('waiting');
  },
);

test('a page that is being hidden doubts nothing', async () => {
  const listeners = stubPage('hidden');
  const gateway = await started();
  gateway.last.welcome();
  listeners.get('visibilitychange')?.();
  expect(gateway.last.sentOf('ping')).toHaveLength(0);
});

test('a sign that the page is back never makes a wait longer, however often it comes', async () => {
  const listeners = stubPage();
  const gateway = await started();
  gateway.last.end(1006);
  for (const half of [500, 499]) {
    listeners.get('online')?.();
    await passes(half);
  }
  expect(gateway.sockets).toHaveLength(2);
});

test('a timer that was held up does not end a line that answers', async () => {
  const gateway = await started();
  gateway.last.welcome();
  await passes(intervalMs);
  expect(gateway.last.sentOf('ping')).toHaveLength(1);
  // The machine slept: the clock goes on, and no frame could come.
  const { now } = performance;
  vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 10 * intervalMs);
  await passes(intervalMs);
  expect(gateway.client.state).toBe('open');
  expect(gateway.last.sentOf('ping')).toHaveLength(2);
  await passes(5_000);
  expect(gateway.client.state).toBe('waiting');
  vi.mocked(performance.now).mockRestore();
});

test('without a WebSocket, or with a URL or a token that is none, it says so at once', () => {
  vi.stubGlobal('WebSocket', undefined);
  expect(() => new FakeGateway({ WebSocket: undefined as never })).toThrow(TypeError);
  expect(() => new FakeGateway({ token: 'not a token' })).toThrow('token must be a JWT');
  expect(() => connect('ftp://gateway.example/ws', { WebSocket: FakeSocket as never })).toThrow('url must begin with');
});

/** The events of a browser: the listeners that are there now, by name. */
function stubPage(visibilityState = 'visible'): Map<string, () => void> {
  const listeners = new Map<string, () => void>();
  const addEventListener = (name: string, listener: () => void) => void listeners.set(name, listener);
  const removeEventListener = (name: string) => void listeners.delete(name);
  vi.stubGlobal('addEventListener', addEventListener);
  vi.stubGlobal('removeEventListener', removeEventListener);
  vi.stubGlobal('document', { visibilityState, addEventListener, removeEventListener });
  return listeners;
}
