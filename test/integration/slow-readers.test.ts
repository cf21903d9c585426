/**
 * Readers that stop reading lose messages or their connection, as the rule of the room says; others notice nothing. A
 * gap counts exactly what they missed.
 *
 * Nodes are processes, because a mistake here can crash one. The kernel buffers some megabytes per reader before the
 * buffer of the gateway fills, so each test publishes until that shows.
 */
import { describe, expect, inject, test } from 'vitest';
import { type Client, okOf } from '../support/client.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { CountingMember, publishNumbers, range } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { enter, names, randomRoom } from './people.ts';

const hardLimit = 65_536;
const padding = 12_000;
const settings: NodeSettings = {
  MAX_BUFFERED_BYTES: hardLimit,
  MAX_MESSAGE_BYTES: 16_384,
  PUBLISH_RATE: 0,
  REQUEST_RATE: 0,
};
const closedSlow = 'gateway_connections_closed_total{code="4003"}';

async function joinStopped(node: SpawnedNode, users: string[], rooms: string[]): Promise<CountingMember[]> {
  const readers = await Promise.all(users.map((user) => CountingMember.join(node, user, rooms)));
  for (const reader of readers) reader.stopReading();
  return readers;
}

/** Publishes numbers, `step` at a time, until the condition holds; returns the next number. */
async function publishUntil(
  publisher: Client,
  room: string,
  condition: () => Promise<boolean>,
  bytes = padding,
): Promise<number> {
  const step = 40;
  for (let next = 0; next < 4_000; next += step) {
    if (await condition()) return next;
    await publishNumbers(publisher, room, next, next + step, bytes);
  }
  throw new Error('4000 messages did not fill a stopped reader');
}

/**
 * Checks that messages and gaps, in their order, account for every number up to `end`; returns how many were missed.
 */
function missedOf(reader: CountingMember, room: string, end: number): number {
  let next = 0;
  let missed = 0;
  for (const heard of reader.heard(room)) {
    if (typeof heard === 'number') {
      expect(heard).toBe(next);
      next++;
    } else {
      expect(heard).toEqual({ reason: 'slow', count: expect.any(Number) });
      missed += heard.count ?? 0;
      next += heard.count ?? 0;
    }
  }
  expect(next).toBe(end);
  return missed;
}

test('fifty stopped readers: buffers stay bounded, others miss nothing, and each gets a gap with exactly what it missed', async () => {
  const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };
  const node = await spawnNode({ ...settings, ...redis });
  const [room, side] = [randomRoom(), randomRoom()];
  const good = await CountingMember.join(node, 'good', [room, side]);
  const readers = await joinStopped(node, names('stopped', 50), [room, side]);
  const publisher = await enter(node, 'publisher');
  const buffered = async () => {
    const bytes = await metric(node, 'gateway_buffered_bytes');
    expect(bytes).toBeLessThanOrEqual(50 * hardLimit);
    return bytes;
  };

  const allAside = async () =>
    (await buffered()) > 0 && (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 50;
  const stalledAt = await publishUntil(publisher, room, allAside);
  await publishNumbers(publisher, side, 0, 30);
  const memory = await metric(node, 'process_resident_memory_bytes');
  const end = stalledAt + 300;
  await publishNumbers(publisher, room, stalledAt, end, padding);
  await buffered();
  expect((await metric(node, 'process_resident_memory_bytes')) - memory).toBeLessThan(64 * 1_048_576);
  await good.untilHeard(room, end - 1, 10_000);

  for (const reader of readers) reader.readAgain();
  await until(
    async () => (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 0,
    15_000,
    'all are live again',
  );
  await publishNumbers(publisher, side, 30, 31);
  await publishNumbers(publisher, room, end, end + 1);
  await Promise.all([good, ...readers].map((member) => member.untilHeard(room, end, 15_000)));

  expect(good.heard(room)).toEqual(range(0, end + 1));
  expect(good.heard(side)).toEqual(range(0, 31));
  let missed = 0;
  for (const reader of readers) {
    const ofRoom = missedOf(reader, room, end + 1);
    expect(ofRoom).toBeGreaterThanOrEqual(300);
    expect(reader.heard(side)[0]).toEqual({ reason: 'slow', count: 30 });
    missed += ofRoom + missedOf(reader, side, 31);
  }
  expect(await metric(node, 'gateway_messages_dropped_total{reason="slow"}')).toBe(missed);
  expect(await metric(node, closedSlow)).toBe(0);
}, 60_000);

describe('slow: close', () => {
  test('closes stopped readers with 4003, after all that they had received, and others notice nothing', async () => {
    const rules = roomsFile({ match: 'strict:*', slow: 'close' });
    const node = await spawnNode({ ...settings, ROOMS_FILE: rules });
    const room = randomRoom('strict');
    const good = await CountingMember.join(node, 'good', [room]);
    const publisher = await enter(node, 'publisher');
    const readers = await joinStopped(node, names('stopped', 10), [room]);
    const end = await publishUntil(publisher, room, async () => (await metric(node, closedSlow)) === 10);
    expect(await metric(node, 'gateway_subscriptions')).toBe(1);
    await publishNumbers(publisher, room, end, end + 1);
    await good.untilHeard(room, end, 5_000);
    expect(good.heard(room)).toEqual(range(0, end + 1));

    for (const reader of readers) reader.readAgain();
    for (const reader of readers) {
      expect(await reader.closed).toMatchObject({ code: 4003 });
      const received = reader.heard(room);
      expect(received.length).toBeGreaterThan(0);
      expect(received).toEqual(range(0, received.length));
    }
  }, 30_000);

  test('does not touch members of rooms with another rule', async () => {
    const rules = roomsFile({ match: 'strict:*', slow: 'close' });
    const node = await spawnNode({ ...settings, ROOMS_FILE: rules });
    const [strict, lenient] = [randomRoom('strict'), randomRoom('lenient')];
    const [dropped] = await joinStopped(node, ['dropped'], [lenient]);
    await joinStopped(node, ['closed'], [lenient, strict]);
    const publisher = await enter(node, 'publisher');
    const end = await publishUntil(publisher, lenient, async () => (await metric(node, closedSlow)) === 1);
    await publishNumbers(publisher, lenient, end, end + 40, padding);
    dropped?.readAgain();
    const untilLive = async () => (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 0;
    await until(untilLive, 10_000, 'the stalled reader is live again');
    await publishNumbers(publisher, lenient, end + 40, end + 41);
    await dropped?.untilHeard(lenient, end + 40, 5_000);
    expect(dropped && missedOf(dropped, lenient, end + 41)).toBeGreaterThan(0);
    expect(await metric(node, closedSlow)).toBe(1);
  }, 30_000);
});

describe('answers that nobody reads', async () => {
  const node = await spawnNode(settings);

  test.each<[what: string, send: (client: Client) => void, codes: string[]]>([
    ['to ping frames', (client) => client.send({ type: 'ping', id: '💥'.repeat(64) }), ['4003']],
    ['to forbidden publishes', (client) => client.send('{"type":"publish","room":"@a","data":0}'), ['4003']],
    ['to WebSocket pings', (client) => client.socket.ping('x'.repeat(125)), ['4003', '4007']],
  ])(
    '%s end the connection, with memory bounded',
    async (_what, send, codes) => {
      const other = await enter(node, 'other');
      const client = await enter(node, 'user');
      const closed = async () => {
        expect(await metric(node, 'gateway_buffered_bytes')).toBeLessThanOrEqual(2 * hardLimit);
        const counts = codes.map((code) => metric(node, `gateway_connections_closed_total{code="${code}"}`));
        return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
      };
      const before = await closed();
      client.socket.pause();
      for (let sent = 0; sent < 200_000 && (await closed()) === before; sent += 1_000) {
        // Few enough that a busy node executes them meanwhile: it refuses what is 10,000 frames ahead.
        for (let index = 0; index < 1_000; index++) send(client);
        okOf(await other.request({ type: 'unsubscribe', room: 'a' }));
      }
      expect(await closed()).toBe(before + 1);
    },
    30_000,
  );
});

test('over GATEWAY_MAX_BUFFERED_TOTAL_BYTES the fullest are closed with 4003, and those that read miss nothing', async () => {
  const total = 196_608;
  // One message to all members is less than an eighth of the total limit, the share between two checks.
  const small = 2_500;
  const node = await spawnNode({ ...settings, MAX_BUFFERED_TOTAL_BYTES: total });
  const room = randomRoom();
  const good = await CountingMember.join(node, 'good', [room]);
  const readers = await joinStopped(node, names('stopped', 8), [room]);
  const publisher = await enter(node, 'publisher');
  let most = 0;
  const settled = async () => {
    most = Math.max(most, await metric(node, 'gateway_buffered_bytes'));
    const aside = await metric(node, 'gateway_slow_connections{policy="drop"}');
    const closed = await metric(node, closedSlow);
    return closed > 0 && aside + closed === readers.length;
  };
  const end = await publishUntil(publisher, room, settled, small);
  await publishNumbers(publisher, room, end, end + 20, small);
  expect(await settled()).toBe(true);
  // Between two checks at most an eighth of the limit is sent, and a reader evicted at one check is destroyed at the
  // next.
  expect(most).toBeLessThanOrEqual(1.25 * total);
  expect(most).toBeGreaterThan(0);
  expect(await metric(node, closedSlow)).toBeLessThan(readers.length);
  await good.untilHeard(room, end + 19, 5_000);
  expect(good.heard(room)).toEqual(range(0, end + 20));
}, 30_000);
