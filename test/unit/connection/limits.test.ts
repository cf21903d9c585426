/**
 * gateway/connection/limits.ts: token buckets with a simulated clock, clients that ignore refusals, connections per
 * address and per user.
 */
import { describe, expect, test } from 'vitest';
import { Rates, TokenBucket, UserConnections, WaitingFrames } from '../../../gateway/connection/limits.ts';
import { AddressCount } from '../../../gateway/http/client-address.ts';
import { Random } from '../random.ts';

describe('a token bucket', () => {
  test('lets the burst through at once, then returns the time until the next token', () => {
    const bucket = new TokenBucket(10, 3, 1_000);
    expect([1, 2, 3].map(() => bucket.take(1_000))).toEqual([0, 0, 0]);
    expect(bucket.take(1_000)).toBe(100);
    expect(bucket.take(1_060)).toBe(40);
    expect(bucket.take(1_100)).toBe(0);
    expect(bucket.take(1_100)).toBe(100);
  });

  test('has a token exactly when the returned time has passed', () => {
    const random = new Random(30);
    for (let round = 0; round < 500; round++) {
      const bucket = new TokenBucket(random.pick([0.5, 1, 3, 7, 50, 999]), 1, 0);
      let now = 0;
      expect(bucket.take(now)).toBe(0);
      for (let step = 0; step < 5; step++) {
        const wait = bucket.take(now);
        expect(wait).toBeGreaterThan(0);
        expect(Number.isInteger(wait)).toBe(true);
        now += wait;
        expect(bucket.take(now)).toBe(0);
      }
    }
  });

  test('never holds more than its burst, after any pause', () => {
    const bucket = new TokenBucket(10, 3, 0);
    expect([1, 2, 3, 4].map(() => bucket.take(86_400_000) === 0)).toEqual([true, true, true, false]);
  });

  test('lets through exactly burst + rate x time, in any rhythm', () => {
    const random = new Random(31);
    for (let round = 0; round < 50; round++) {
      const [rate, burst] = [random.integer(1, 100), random.integer(1, 50)];
      const bucket = new TokenBucket(rate, burst, 0);
      let [now, passed] = [0, 0];
      while (now < 20_000) {
        now += random.chance(0.5) ? 0 : random.next() * 20;
        if (bucket.take(now) === 0) passed += 1;
      }
      const most = burst + (rate * now) / 1000;
      expect(passed).toBeLessThanOrEqual(most);
      // About 100 calls of `take` per second use up any lower rate.
      if (rate <= 40 && burst >= 3) expect(passed).toBeGreaterThan(most - 3);
    }
  });
});

describe('the rates of a connection', () => {
  const settings = { publishRate: 50, publishBurst: 100, requestRate: 100, maxRoomsPerConnection: 10 };
  const take = (rates: Rates, times: number, publish: boolean, now: number) =>
    Array.from({ length: times }, () => rates.takeFrame(publish, now));

  test('let the burst of messages and twice the request rate through, independently', () => {
    const rates = new Rates(settings);
    expect(take(rates, 100, true, 0).every((wait) => wait === 0)).toBe(true);
    expect(rates.takeFrame(true, 0)).toBe(20);
    expect(take(rates, 200, false, 0).every((wait) => wait === 0)).toBe(true);
    expect(rates.takeFrame(false, 0)).toBe(10);
  });

  test.each([
    [128, 100 + 3 * 128],
    [1_000, 100 + 3 * 1_000],
    [1, 200],
    [0, 100 + 3 * 10_000],
  ])('let the requests for %i rooms (0: no limit) through at once, and no more', (maxRoomsPerConnection, burst) => {
    const rates = new Rates({ ...settings, maxRoomsPerConnection });
    expect(take(rates, burst, false, 0).every((wait) => wait === 0)).toBe(true);
    expect(rates.takeFrame(false, 0)).toBe(10);
  });

  test('report a client that ignores refusals after exactly 100 refusals in a row', () => {
    const rates = new Rates(settings);
    take(rates, 100, true, 0);
    take(rates, 99, true, 0);
    expect(rates.ignoresRefusals).toBe(false);
    take(rates, 1, true, 0);
    expect(rates.ignoresRefusals).toBe(true);
  });

  test('reset the refusals with the first frame that passes', () => {
    const rates = new Rates(settings);
    take(rates, 199, true, 0);
    expect(rates.takeFrame(false, 0)).toBe(0);
    take(rates, 99, true, 0);
    expect(rates.ignoresRefusals).toBe(false);
    take(rates, 1, true, 0);
    expect(rates.ignoresRefusals).toBe(true);
  });

  test('that are off never refuse', () => {
    const rates = new Rates({ ...settings, publishRate: 0, publishBurst: 1, requestRate: 0 });
    expect([...take(rates, 1_000, true, 0), ...take(rates, 1_000, false, 0)].every((wait) => wait === 0)).toBe(true);
  });

  test('stop a flood of control frames, but not 10,000 pings', () => {
    const rates = new Rates(settings);
    const passed = Array.from({ length: 30_000 }, () => rates.takeControl(0));
    expect(passed.slice(0, 10_000).every(Boolean)).toBe(true);
    expect(passed.at(-1)).toBe(false);
    expect(rates.takeControl(1_000)).toBe(true);
    expect(rates.ignoresRefusals).toBe(false);
  });
});

describe('connections by address', () => {
  test('are counted up to the limit and down again, for each address on its own', () => {
    const addresses = new AddressCount(2);
    expect([addresses.add('a'), addresses.add('a'), addresses.add('a'), addresses.add('b')]).toEqual([
      true,
      true,
      false,
      true,
    ]);
    addresses.remove('a');
    expect([addresses.add('a'), addresses.add('a')]).toEqual([true, false]);
  });

  test('are counted per /64 for IPv6, because one host has all of it', () => {
    const addresses = new AddressCount(2);
    expect(addresses.add('2001:db8:1:2::1')).toBe(true);
    expect(addresses.add('2001:db8:1:2:ffff:ffff:ffff:ffff')).toBe(true);
    expect(addresses.add('2001:db8:1:2:3:4:5:6')).toBe(false);
    expect(addresses.add('2001:db8:1:2::')).toBe(false);
    for (const other of [
      '2001:db8:1:3::1',
      '2001:db8:1::2',
      '2001:db8::1:2:1',
      '2001:db8:1:20::1',
      '::1',
      '10.0.0.1',
    ]) {
      expect(addresses.add(other), other).toBe(true);
    }
    expect([addresses.add('10.0.0.2'), addresses.add('10.0.0.1'), addresses.add('10.0.0.1')]).toEqual([
      true,
      true,
      false,
    ]);
    // Any address of the block may leave.
    addresses.remove('2001:db8:1:2::1');
    expect([addresses.add('2001:db8:1:2::7'), addresses.add('2001:db8:1:2::8')]).toEqual([true, false]);
  });

  test.each([
    ['1:2::', '1:2:0:0:9::'],
    ['::', '::1'],
    ['1::2:3:4:5:6:7', '1:0:2:3::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::'],
  ])('of one /64 are counted together in any notation: %s and %s', (one, other) => {
    const addresses = new AddressCount(1);
    expect([addresses.add(one), addresses.add(other)]).toEqual([true, false]);
  });

  test('are unlimited with 0', () => {
    const addresses = new AddressCount(0);
    for (let round = 0; round < 100; round++) expect(addresses.add('a')).toBe(true);
    addresses.remove('a');
    expect(addresses.add('a')).toBe(true);
  });

  test('never count below 0: a second removal frees no place', () => {
    const addresses = new AddressCount(1);
    addresses.remove('a');
    addresses.remove('__proto__');
    expect([addresses.add('a'), addresses.add('a')]).toEqual([true, false]);
    addresses.remove('a');
    addresses.remove('a');
    expect([addresses.add('a'), addresses.add('a')]).toEqual([true, false]);
  });
});

describe('connections by user', () => {
  test('beyond the limit return the oldest open one', () => {
    const users = new UserConnections<string>(2);
    expect([users.add('ann', 'a1'), users.add('ann', 'a2'), users.add('bob', 'b1')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(users.add('ann', 'a3')).toBe('a1');
    users.remove('ann', 'a1');
    users.remove('ann', 'a2');
    expect(users.add('ann', 'a4')).toBeUndefined();
    expect(users.add('ann', 'a5')).toBe('a3');
  });

  test('never exceed the limit when the returned one is closed (random users)', () => {
    const random = new Random(32);
    const users = new UserConnections<number>(3);
    const open = new Map<string, number[]>();
    for (let connection = 0; connection < 5_000; connection++) {
      const user = random.pick(['ann', 'bob', '__proto__']);
      const connections = open.get(user) ?? [];
      open.set(user, connections);
      if (connections.length > 0 && random.chance(0.45)) {
        const gone = random.pick(connections);
        connections.splice(connections.indexOf(gone), 1);
        users.remove(user, gone);
        continue;
      }
      connections.push(connection);
      const oldest = users.add(user, connection);
      expect(oldest).toBe(connections.length > 3 ? connections[0] : undefined);
      if (oldest === undefined) continue;
      connections.shift();
      users.remove(user, oldest);
    }
  });

  test('are unlimited with 0, and removing an unknown one does nothing', () => {
    const users = new UserConnections<number>(0);
    for (let round = 0; round < 100; round++) expect(users.add('ann', round)).toBeUndefined();
    const limited = new UserConnections<number>(1);
    limited.remove('ann', 1);
    expect([limited.add('ann', 1), limited.add('ann', 2)]).toEqual([undefined, 1]);
  });
});

describe('frames that wait', () => {
  const unlimited = { requestWaits: () => true, requestsLeft: () => undefined };
  const frame = { type: 'unsubscribe', id: 1, room: 'room' } as const;
  const add = (waiting: WaitingFrames, list: 'line' | 'rooms', isForTurn: boolean) => {
    let added = 0;
    while (waiting.add(frame, list, unlimited, isForTurn)) added++;
    return added;
  };

  test('1,000 wait for earlier ones of their rooms, however many wait for their turn', () => {
    const waiting = new WaitingFrames(100, 1_000_000);
    expect(add(waiting, 'line', true)).toBe(10_000);
    expect(add(waiting, 'rooms', false)).toBe(1_000);
    waiting.remove(frame, 'rooms', unlimited);
    expect(add(waiting, 'rooms', false)).toBe(1);
  });

  test('10,000 wait for their turn, however many wait for their rooms', () => {
    const waiting = new WaitingFrames(100, 1_000_000);
    expect(add(waiting, 'rooms', false)).toBe(1_000);
    expect(add(waiting, 'line', true)).toBe(10_000);
  });

  test('a hundred that one list refuses in a row are that many, whatever the other list takes meanwhile', () => {
    const waiting = new WaitingFrames(100, 1_000_000);
    add(waiting, 'rooms', false);
    for (let refused = 1; refused < 100; refused++) {
      expect(waiting.ignoresRefusals('rooms')).toBe(false);
      expect(waiting.add(frame, 'line', unlimited, true)).toBe(true);
      waiting.remove(frame, 'line', unlimited);
      expect(waiting.add(frame, 'rooms', unlimited, false)).toBe(false);
    }
    expect([waiting.ignoresRefusals('rooms'), waiting.ignoresRefusals('line')]).toEqual([true, false]);
  });

  test('the node is told of all that leave', () => {
    let onNode = 0;
    const node = {
      requestWaits: () => ++onNode > 0,
      requestsLeft: (requests: number) => {
        onNode -= requests;
      },
    };
    const waiting = new WaitingFrames(100, 1_000_000);
    for (const list of ['line', 'rooms', 'rooms'] as const) waiting.add(frame, list, node, false);
    waiting.remove(frame, 'rooms', node);
    expect(onNode).toBe(2);
    waiting.end(node);
    expect(onNode).toBe(0);
    waiting.remove(frame, 'line', node);
    expect(onNode).toBe(0);
  });
});
