/**
 * A node whose wall clock jumps an hour ahead, an hour back, and to where it was: nothing depends on it but the ends of
 * tokens and the times that messages show.
 *
 * The node is the built program with flags that move its `Date` by a signal; the node beside it keeps good time.
 */
import { expect, inject, test } from 'vitest';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { metric, readiness, scrape } from '../integration/admin.ts';
import { publishNumbers, range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { everywhere, messagesOf, names, randomRoom } from '../integration/people.ts';
import { presenceOf, story } from '../integration/presence-members.ts';
import { type Client, connectWelcomed, okOf } from '../support/client.ts';
import { type SpawnedNode, spawnNode, usualFlags } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { wrongClock } from '../support/wrong-clock.ts';

const hourMs = 3_600_000;

async function enterFor(hours: number, node: SpawnedNode, user: string): Promise<Client> {
  const exp = Math.floor(Date.now() / 1000) + hours * 3_600;
  return connectWelcomed(node.url, await mintToken({ sub: user, rooms: everywhere, exp }));
}

async function joinFor(hours: number, node: SpawnedNode, user: string, room: string): Promise<Client> {
  const client = await enterFor(hours, node, user);
  await client.subscribe(room);
  return client;
}

const offsetsOf = (client: Client, room: string) => messagesOf(client, room).map(({ offset }) => offset);
const cpuSeconds = (node: SpawnedNode) => metric(node, 'process_cpu_seconds_total');

/** Three pings of the gateway to this client; they come once a second. */
async function threePings(client: Client): Promise<void> {
  let pings = 0;
  client.socket.on('ping', () => pings++);
  await until(() => pings >= 3, 15_000, 'three pings');
}

test('offsets, order, resume, keys, presence and heartbeats go on as before; only tokens whose time is over end', async () => {
  const settings = {
    REDIS_URL: inject('redisUrl'),
    REDIS_PREFIX: inject('redisPrefix'),
    PUBLISH_RATE: 0,
    PING_INTERVAL_MS: 1_000,
    ROOMS_FILE: roomsFile({ match: 'team:*', presence: true, joinLeave: true, history: { size: 10_000 } }),
  };
  const shifts = [hourMs, -hourMs, 0];
  const jumping = await spawnNode(settings, undefined, [...usualFlags, ...wrongClock(0, ...shifts)]);
  const steady = await spawnNode(settings);
  const room = randomRoom('team');
  const watcher = await joinFor(5, steady, 'watcher', room);
  const members = await Promise.all(names('m', 10).map((user) => joinFor(5, jumping, user, room)));
  const short = await joinFor(0.5, jumping, 'short', room);
  const publishers = await Promise.all([jumping, steady].map((node, index) => enterFor(5, node, `publisher${index}`)));
  const [here, there] = publishers as [Client, Client];
  const first = await here.publish(room, 'first', { key: 'k' });
  const present = async (count: number) => (await presenceOf(watcher, room)).count === count;
  await until(() => present(12), 5_000, 'all are there');
  let top = 1;

  for (const shift of shifts) {
    const underWay = publishers.map((publisher, index) =>
      publishNumbers(publisher, room, index * 1_000, index * 1_000 + 400),
    );
    jumping.kill('SIGUSR2');
    await Promise.all(underWay);
    top += 800;
    const late = await until(() => enterFor(5, jumping, `late${shift}`), 5_000, 'somebody comes');
    const [welcome] = late.frames as [Extract<GatewayFrame, { type: 'welcome' }>];
    expect(Math.abs(welcome.now - Date.now() - shift)).toBeLessThan(60_000);
    expect(await here.publish(room, 'again', { key: 'k' })).toMatchObject({ duplicate: true, offset: first.offset });

    const since = { epoch: first.epoch, offset: 0 };
    expect(okOf(await late.request({ type: 'subscribe', room, since }))).toMatchObject({ ...since, recovered: true });
    for (const member of [late, watcher, ...members]) {
      await until(() => offsetsOf(member, room).at(-1) === top, 10_000, `offset ${top}`);
      expect(offsetsOf(member, room)).toEqual(range(1, top + 1));
    }
    expect((await short.closed).code).toBe(4002);
    await until(() => present(12), 5_000, 'the late one is there, the short one is not');

    // Now that nothing happens: timers go at their pace.
    const [began, cpu] = [performance.now(), await cpuSeconds(jumping)];
    await threePings(late);
    const tookMs = performance.now() - began;
    expect(tookMs).toBeGreaterThan(1_900);
    expect((await cpuSeconds(jumping)) - cpu).toBeLessThan(tookMs / 2_000);
    await late.close();
    await until(() => present(11), 5_000, 'the late one is gone');
  }
  await there.publish(room, 'last');
  for (const member of [watcher, ...members])
    await until(() => offsetsOf(member, room).at(-1) === top + 1, 5_000, 'the last one');

  const left = story(watcher, room).filter((line) => line.startsWith('leave'));
  expect(left).toEqual(['leave short', ...shifts.map((shift) => `leave late${shift}`)]);
  for (const member of [watcher, ...members]) expect(member.frames.filter(({ type }) => type === 'gap')).toEqual([]);
  expect(await readiness(jumping)).toBe(200);
  const seen = await scrape(jumping);
  const closed = [...seen].filter(([series, value]) => series.startsWith('gateway_connections_closed') && value > 0);
  expect(Object.fromEntries(closed)).toEqual({
    'gateway_connections_closed_total{code="1000"}': 3,
    'gateway_connections_closed_total{code="4002"}': 1,
  });
  const never = ['gateway_freezes_total', 'gateway_backplane_reconnects_total', 'gateway_members_reaped_total'];
  for (const series of never) expect([series, seen.get(series)]).toEqual([series, 0]);
}, 60_000);
