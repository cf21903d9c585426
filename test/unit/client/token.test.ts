/** Tokens: from where, when the next one, and never two calls at a time. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FakeGateway } from './fake-gateway.ts';

const startedAt = 1_800_000_000_000;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'], now: startedAt });
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.mocked(Math.random).mockRestore();
  vi.useRealTimers();
});

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** An issuer whose answers the test gives. */
function issuer() {
  const calls: { resolve(token: string): void; reject(error: Error): void }[] = [];
  const getToken = () => new Promise<string>((resolve, reject) => calls.push({ resolve, reject }));
  return { calls, getToken };
}

/** Gives tokens at once: t1, t2, ... */
function quick() {
  let count = 0;
  return { getToken: () => `t${++count}`, count: () => count };
}

test('the token is the second subprotocol; without one the client is anonymous', async () => {
  const gateway = new FakeGateway({ token: 'a.b.c' });
  const anonymous = new FakeGateway();
  await passes(0);
  expect(gateway.last.protocols).toEqual(['roomcast.v1.json', 'roomcast.token.a.b.c']);
  expect(anonymous.last.protocols).toEqual(['roomcast.v1.json']);
});

test('getToken that fails is called again with backoff, and the application is told', async () => {
  const { calls, getToken } = issuer();
  const gateway = new FakeGateway({ getToken });
  const errors: string[] = [];
  gateway.client.on('error', ({ message }) => errors.push(message));
  calls[0]?.reject(new Error('the backend is away'));
  await passes(0);
  calls[1]?.resolve('not a token');
  await passes(0);
  calls[2]?.resolve('t3');
  await passes(0);
  expect(errors).toEqual(['the backend is away', 'getToken must return a JWT']);
  expect(gateway.sockets.map(({ token }) => token)).toEqual(['t3']);
});

test('getToken that throws, or returns a string at once, will do', async () => {
  const getToken = vi
    .fn(() => 't2')
    .mockImplementationOnce(() => {
      throw new Error('thrown');
    });
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  await passes(0);
  expect(gateway.last.token).toBe('t2');
});

test('getToken that hangs is given up after 10 s, and only then called again; what it returns later is ignored', async () => {
  const { calls, getToken } = issuer();
  const gateway = new FakeGateway({ getToken });
  await passes(9_999);
  expect(calls).toHaveLength(1);
  await passes(1);
  await passes(1);
  expect(calls).toHaveLength(2);
  calls[0]?.resolve('late');
  await passes(0);
  expect(gateway.sockets).toHaveLength(0);
  calls[1]?.resolve('t2');
  await passes(0);
  expect(gateway.last.token).toBe('t2');
});

test('a token is renewed on the open connection after 80 % of its time, by the clock of the gateway', async () => {
  const { getToken, count } = quick();
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  const socket = gateway.last.welcome({ now: 5_000_000, expiresAt: 5_100_000, pingIntervalMs: 1_000_000 });
  await passes(79_999);
  expect(count()).toBe(1);
  await passes(1);
  expect(socket.sentOf('auth')).toMatchObject([{ token: 't2' }]);
  socket.answer('auth', { expiresAt: 5_180_000 });
  await passes(79_999);
  expect(count()).toBe(2);
  await passes(1);
  expect(socket.sentOf('auth')).toMatchObject([{ token: 't2' }, { token: 't3' }]);
  expect(gateway.sockets).toHaveLength(1);
});

test('tokens that end at once are renewed once a second, not without a pause', async () => {
  const { getToken, count } = quick();
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  const socket = gateway.last.welcome({ now: 5_000_000, expiresAt: 5_000_010, pingIntervalMs: 1_000_000 });
  for (let renewed = 1; renewed <= 3; renewed++) {
    await passes(999);
    expect(count()).toBe(renewed);
    await passes(1);
    expect(socket.sentOf('auth')).toHaveLength(renewed);
    socket.answer('auth', { expiresAt: 5_000_000 });
  }
});

test('a renewal that fails is tried again, and the application is told; no second call while one is under way', async () => {
  const { calls, getToken } = issuer();
  const gateway = new FakeGateway({ getToken });
  const errors: string[] = [];
  gateway.client.on('error', ({ message }) => errors.push(message));
  calls[0]?.resolve('t1');
  await passes(0);
  gateway.last.welcome({ now: 0, expiresAt: 100_000, pingIntervalMs: 1_000_000 });
  await passes(80_000);
  calls[1]?.reject(new Error('away'));
  await passes(5_000);
  expect(calls).toHaveLength(3);
  // The connection is lost while the call is under way: the next attempt waits for the same call.
  gateway.last.end(1006);
  await passes(1_000);
  expect(calls).toHaveLength(3);
  calls[2]?.resolve('t3');
  await passes(0);
  expect(gateway.sockets.map(({ token }) => token)).toEqual(['t1', 't3']);
  gateway.last.welcome({ now: 0, expiresAt: 100_000, pingIntervalMs: 1_000_000 });
  await passes(80_000);
  calls[3]?.resolve('t4');
  await passes(0);
  gateway.last.refuse('auth', 'unauthorized');
  expect(errors).toEqual(['away', 'unauthorized']);
  await passes(5_000);
  expect(calls).toHaveLength(5);
});

test('a token that is still good is used again after a loss; one that is not is replaced first', async () => {
  const { getToken } = quick();
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  const welcome = { now: 0, expiresAt: 100_000, pingIntervalMs: 1_000_000 };
  gateway.last.welcome(welcome).end(1006);
  await passes(0);
  expect(gateway.last.token).toBe('t1');
  vi.setSystemTime(startedAt + 90_000);
  gateway.last.end(1006);
  await passes(0);
  expect(gateway.last.token).toBe('t2');
});

test('after 4002 a new token is asked for; after 4501 once, if the token was not new', async () => {
  const { getToken } = quick();
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  gateway.last.welcome().end(4002);
  await passes(0);
  expect(gateway.last.token).toBe('t2');
  gateway.last.welcome().end(1006);
  await passes(0);
  expect(gateway.last.token).toBe('t2');
  gateway.last.end(4501);
  await passes(0);
  expect(gateway.last.token).toBe('t3');
  gateway.last.end(4501);
  expect(gateway.client.state).toBe('closed');
});

test('a token for years is no timer that fires at once', async () => {
  const { getToken, count } = quick();
  const gateway = new FakeGateway({ getToken });
  await passes(0);
  gateway.last.welcome({ now: 0, expiresAt: 1e12 });
  await passes(20_000);
  expect(count()).toBe(1);
});
