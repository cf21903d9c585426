/** The clock of a client's machine is set, an hour ahead or an hour back. Timers and performance.now go on as before. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FakeGateway } from './fake-gateway.ts';

const startedAt = 1_800_000_000_000;
const hourMs = 3_600_000;
const steps = [
  ['ahead', hourMs],
  ['back', -hourMs],
] as const;
/** By the clock of the gateway, which is right. */
const welcome = { now: 5_000_000, expiresAt: 5_100_000, pingIntervalMs: 20_000 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'], now: startedAt });
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.mocked(Math.random).mockRestore();
  vi.useRealTimers();
});

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const clockSteps = (ms: number) => vi.setSystemTime(Date.now() + ms);

/** A client with tokens t1, t2, ... that is welcome. */
async function welcomed() {
  let count = 0;
  const gateway = new FakeGateway({ getToken: () => `t${++count}` });
  await passes(0);
  gateway.last.welcome(welcome);
  return { gateway, tokens: () => count };
}

test.each(steps)(
  'an hour %s, the connection stays, pings go on, and the token is renewed when it is time',
  async (_, ms) => {
    const { gateway, tokens } = await welcomed();
    clockSteps(ms);
    for (let passed = 0; passed < 80_000; passed += 1_000) {
      expect(tokens()).toBe(1);
      await passes(1_000);
      if (gateway.last.sentOf('ping').length > 0) gateway.last.answer('ping');
    }
    expect(gateway.last.sentOf('ping').length).toBeGreaterThan(1);
    expect(gateway.last.sentOf('auth')).toMatchObject([{ token: 't2' }]);
    expect(gateway.sockets).toHaveLength(1);
    expect(gateway.client.state).toBe('open');
  },
);

test.each(steps)('an hour %s, requests under way are neither given up early nor kept for ever', async (_, ms) => {
  const { gateway } = await welcomed();
  const room = gateway.client.room('chat');
  const asked = room.publish('hello');
  const outcome = vi.fn();
  asked.then(outcome, outcome);
  await passes(0);
  clockSteps(ms);
  await passes(1_000);
  expect(outcome).not.toHaveBeenCalled();
  gateway.last.answer('publish');
  await passes(0);
  expect(outcome).toHaveBeenCalledOnce();
});

test.each(steps)(
  'an hour %s, a client that loses its connection is in again, at worst with one token more',
  async (_, ms) => {
    const { gateway, tokens } = await welcomed();
    clockSteps(ms);
    await passes(10_000);
    gateway.last.end(1006);
    await passes(1_000);
    expect(gateway.sockets).toHaveLength(2);
    // Ahead, the token seems to have ended. Back, it seems to be good for longer: then the gateway says that it is not.
    expect([gateway.last.token, tokens()]).toEqual(ms > 0 ? ['t2', 2] : ['t1', 1]);
    gateway.last.end(4002);
    await passes(1_000);
    expect(gateway.sockets).toHaveLength(3);
    expect(gateway.last.token).toBe(`t${tokens()}`);
    gateway.last.welcome(welcome);
    expect(gateway.client.state).toBe('open');
  },
);
