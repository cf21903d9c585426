/**
 * The dashboard of a cluster of twenty nodes with 100,000 rooms: what it is told stays small and complete, and the nodes go on
 * while they are asked.
 */
import { expect, test } from 'vitest';
import { apiKey } from '../integration/api.ts';
import { LiveStream } from '../integration/dashboard-streams.ts';
import { join, names, randomRoom } from '../integration/people.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const nodeNames = names('node-', 20);
const roomsPerPerson = 250;
const peoplePerNode = 20;
const allRooms = nodeNames.length * peoplePerNode * roomsPerPerson;
const countedMs = 60_000;
/** Of a tick: what a browser reads each second. */
const mostTickBytes = 65_536;
const tenTicksMs = 60_000;

/** As exact as gateway/operations/cluster/distinct.ts promises. */
const isAbout = (count: number, exact: number) => Math.abs(count - exact) <= 0.05 * exact;

test('with 20 nodes and 100,000 rooms every tick tells of all nodes, and is small', { timeout: 300_000 }, async () => {
  const redis = await ownRedis();
  const settings = {
    ...{ REDIS_URL: redis.url, API_KEY: apiKey, REQUEST_RATE: 0, PUBLISH_RATE: 0 },
    MAX_ROOMS_PER_CONNECTION: roomsPerPerson + 1,
  };
  const nodes = [];
  for (const NODE_ID of nodeNames) nodes.push(await spawnNode({ ...settings, NODE_ID }));
  const [first] = nodes;
  if (first === undefined) throw new Error('no node');
  const busy = randomRoom('busy');
  const people = [];
  for (const node of nodes) {
    for (const user of names(`${node.port}-`, peoplePerNode)) {
      const person = await join(node, user, busy);
      people.push(person);
      await Promise.all(names(`${user}:`, roomsPerPerson).map((room) => person.subscribe(room)));
    }
  }

  const live = await LiveStream.open(first);
  const complete = await live.until(
    'all rooms are counted',
    ({ distinct, nodes: told }) => told.length === nodeNames.length && isAbout(distinct?.rooms ?? 0, allRooms + 1),
    countedMs,
  );
  expect(complete.point.connections).toBe(people.length);
  expect(isAbout(complete.distinct?.users ?? 0, people.length)).toBe(true);

  const from = live.ticks.length;
  let said = 0;
  // Of every node, in every round.
  const speakers = people.filter((_, index) => index % peoplePerNode === 0);
  await until(
    async () => {
      await Promise.all(speakers.map((speaker) => speaker.publish(busy, said++)));
      return live.ticks.length >= from + 10;
    },
    tenTicksMs,
    'ten more ticks',
  );
  const ticks = live.ticks.slice(from);
  expect(ticks.flatMap(({ missing }) => missing)).toEqual([]);
  expect(ticks.flatMap(({ trouble }) => trouble ?? [])).toEqual([]);
  for (const tick of ticks) {
    expect(tick.nodes).toHaveLength(nodeNames.length);
    expect(Buffer.byteLength(JSON.stringify(tick))).toBeLessThan(mostTickBytes);
    expect(tick.busiest.length).toBeLessThanOrEqual(50);
  }
  // A sketch of 256 rooms at each node finds the busy one among 5,000 that are quiet.
  expect(ticks.at(-1)?.busiest[0]).toMatchObject({ room: busy, members: people.length });
});
