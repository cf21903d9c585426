/**
 * Ten thousand forged positions: each is answered, none changes the position of the room, and the load on other members
 * and on Redis stays low.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { ErrorFrame, GatewayFrame, OkFrame } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric, readiness } from './admin.ts';
import { publishNumbers } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { enter, randomRoom } from './people.ts';
import { expectWhole, PlacedMember } from './placed-member.ts';
import { SteadyPublisher } from './steady-publisher.ts';

const questions = 10_000;
const batch = 200;

test('10,000 forged positions from one connection: all are answered, none is recovered, and others get every message in time', async () => {
  const redis = await ownRedis();
  const rooms = roomsFile({ match: 'long:*', history: { size: 100_000 } });
  const settings = { REDIS_URL: redis.url, ROOMS_FILE: rooms, REQUEST_RATE: 0, PUBLISH_RATE: 0 };
  const [node, other] = await Promise.all([spawnNode(settings), spawnNode(settings)]);
  const room = randomRoom('long');
  const members = await Promise.all(
    [node, node, other].map((each, index) => PlacedMember.join(each, `member${index}`, room)),
  );
  const publisher = await enter(node, 'publisher');
  await publishNumbers(publisher, room, 1_000_000, 1_000_050);
  const { epoch = '' } = await publisher.publish(room, [1_000_050]);
  // Three rooms: a busy one with members, an idle one, and one that was never used.
  const asked = [room, randomRoom('long'), randomRoom('long')];
  await publishNumbers(publisher, asked[1] ?? '', 0, 5);
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const calls = async (command: string) => {
    const statistics = await admin.info('commandstats');
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(statistics)?.[1] ?? 0);
  };

  const wellFormed = [
    { epoch: 'another', offset: 3 },
    { epoch: '', offset: 0 },
    { epoch, offset: 9_007_199_254_740_991 },
    { epoch: 'e'.repeat(64), offset: 1 },
    { epoch: `${epoch}\u0000`, offset: 1 },
    { epoch: '"]}\r\n', offset: 1 },
  ];
  const malformed = [
    { epoch, offset: -1 },
    { epoch, offset: 1.5 },
    { epoch, offset: 2 ** 53 },
    { epoch, offset: '1e3' },
    { epoch: 'e'.repeat(30_000), offset: 1 },
    { epoch: ['another'], offset: 1 },
    [epoch, 1],
    null,
  ];
  const abuser = await enter(node, 'abuser');
  const answers = new Map<string, GatewayFrame>();
  abuser.socket.on('message', (bytes) => {
    const frame = JSON.parse(String(bytes)) as GatewayFrame;
    if ('id' in frame && frame.type !== 'message') answers.set(String(frame.id), frame);
  });
  const steady = new SteadyPublisher(await enter(other, 'steady'), room);
  const [readsBefore, subscribesBefore] = [await calls('evalsha'), await calls('subscribe')];
  for (let sent = 0; sent < questions; sent += batch) {
    for (let index = sent; index < sent + batch; index++) {
      const name = asked[index % asked.length];
      // The tenth malformed frame in a row would close the connection.
      const bad = index % 2 === 0;
      const since = bad ? malformed[(index / 2) % malformed.length] : wellFormed[index % wellFormed.length];
      abuser.send({ type: 'subscribe', id: `${bad ? 'bad' : 'well'} ${index}`, room: name, since });
      if (!bad) abuser.send({ type: 'unsubscribe', id: `out ${index}`, room: name });
    }
    const due = (sent + batch) * 1.5;
    await until(() => answers.size === due, 15_000, `${due} answers`);
  }
  const during = steady.outcomes.length;
  await steady.stop();
  // A publish is a script, too.
  const reads = (await calls('evalsha')) - readsBefore - steady.outcomes.length;
  const subscribes = (await calls('subscribe')) - subscribesBefore;

  const of = (kind: string) => [...answers].filter(([id]) => id.startsWith(kind)).map(([, frame]) => frame);
  expect(new Set(of('bad').map((frame) => (frame as ErrorFrame).code))).toEqual(new Set(['bad_request']));
  expect(new Set(of('well').map((frame) => (frame as OkFrame).recovered))).toEqual(new Set([false]));
  expect(new Set(of('out').map(({ type }) => type))).toEqual(new Set(['ok']));
  process.stdout.write(`resume abuse: ${reads} reads for ${questions / 2} positions, ${during} messages meanwhile\n`);
  // At most one read per well-formed position, plus the other reads of the nodes.
  expect(reads).toBeLessThan(questions / 2 + 500);
  expect(subscribes).toBeLessThan(20);
  expect(steady.slowestMs).toBeLessThan(1_000);
  const last = steady.outcomes.findLast(({ position }) => position !== undefined)?.position;
  expect(last?.epoch).toBe(epoch);
  for (const member of members) {
    await member.untilAt(room, last ?? { epoch, offset: 0 }, 10_000);
    expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
    expectWhole(member.story(room), steady);
  }
  expect(await readiness(node)).toBe(200);
  expect(await metric(node, 'gateway_slow_connections{policy="catch-up"}')).toBe(0);
  const late = await PlacedMember.join(node, 'late', room, { epoch, offset: 0 });
  expect(late.story(room).answer.recovered).toBe(true);
}, 60_000);
