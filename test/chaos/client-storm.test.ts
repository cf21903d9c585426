/**
 * 500 clients of the library whose node is killed: all are back on other nodes within 15 s, have missed nothing, and never
 * make more than 150 handshakes in one second, whether they had been connected for long or had just come.
 */
import { expect, test } from 'vitest';
import { connect } from '../../shared/client/client.ts';
import { roomsFile } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { startBalancer } from '../verify/balancer.ts';
import { Sockets } from '../verify/library/sockets.ts';
import { LibraryMember } from './library-member.ts';

const count = 500;
const roomNames = ['kept:0', 'kept:1', 'kept:2', 'kept:3', 'kept:4'];
const atOnce = 100;
const backMs = 15_000;
const mostInASecond = 150;
const publishEveryMs = 100;
/** After this time a connection counts as stable (docs/client.md). */
const stableMs = 10_000;
const deadlineMs = 30_000;

/** How late timers come. A second in which this process stood still for 0.2 s has the handshakes of 1.2 s, and is as long. */
class Lateness {
  readonly #late: { at: number; ms: number }[] = [];

  constructor() {
    let last = performance.now();
    const everyMs = 10;
    const timer = setInterval(() => {
      const at = performance.now();
      this.#late.push({ at, ms: at - last - everyMs });
      last = at;
    }, everyMs);
    onCleanup(() => clearInterval(timer));
  }

  in(from: number, to: number): number {
    return this.#late.reduce((sum, { at, ms }) => (at >= from && at <= to ? sum + Math.max(0, ms) : sum), 0);
  }
}

/** Three nodes behind a balancer, which uses only the first one until `open`. */
async function threeNodes() {
  const redis = await ownRedis();
  const ROOMS_FILE = roomsFile({ match: 'kept:*', subscribe: 'user', publish: 'user', history: { size: 10_000 } });
  const start = () => spawnNode({ REDIS_URL: redis.url, ROOMS_FILE });
  const [first, second, third] = await Promise.all([start(), start(), start()]);
  const balancer = await startBalancer();
  const add = async (...nodes: (typeof first)[]) => {
    balancer.targets.push(...nodes);
    const ready = () => balancer.targets.every((_, index) => balancer.ready[index]);
    await until(ready, deadlineMs, 'the balancer uses the nodes');
  };
  await add(first);
  return { first, second, url: balancer.url, open: () => add(second, third) };
}

async function gather(url: string): Promise<LibraryMember[]> {
  const members: LibraryMember[] = [];
  while (members.length < count) {
    const token = await mintToken({ sub: `user-${members.length}` });
    members.push(new LibraryMember(url, token, roomNames[members.length % roomNames.length] ?? ''));
    if (members.length % atOnce > 0) continue;
    await until(() => members.every(({ isIn }) => isIn), deadlineMs, `${members.length} members are in`);
  }
  return members;
}

/** Numbers, to every room in turn, one after the other. `stop` resolves with what each room got. */
async function publisher(url: string) {
  const { WebSocket } = new Sockets({ misbehaved: () => undefined, asked: () => undefined });
  const client = connect(url, { token: await mintToken({ sub: 'publisher' }), WebSocket });
  onCleanup(() => client.close());
  const published = new Map<string, number[]>(roomNames.map((name) => [name, []]));
  let going = true;
  const done = (async () => {
    for (let number = 0; going; number++) {
      const name = roomNames[number % roomNames.length] ?? '';
      await client.room(name).publish(number);
      published.get(name)?.push(number);
      await new Promise((resolve) => setTimeout(resolve, publishEveryMs));
    }
  })();
  return {
    async stop() {
      going = false;
      await done;
      return published;
    },
  };
}

test.each([
  ['have just come', 0],
  ['have been there for long', stableMs],
])(
  '500 clients that %s are back within 15 s after a kill of their node, with at most 150 handshakes in a second',
  async (_, ageMs) => {
    const nodes = await threeNodes();
    const members = await gather(nodes.url);
    const inAt = performance.now();
    const publishing = await publisher(nodes.second.url);
    await nodes.open();
    await until(() => performance.now() - inAt > ageMs, ageMs + deadlineMs, 'the connections are old enough');
    const lateness = new Lateness();
    const killedAt = performance.now();
    nodes.first.kill('SIGKILL');
    // The first may be back before the last one has noticed.
    const hasLost = ({ isIn, sockets }: LibraryMember) => !isIn || sockets.attempts.some((at) => at > killedAt);
    await until(() => members.every(hasLost), deadlineMs, 'all have lost their connection');
    await until(() => members.every(({ isIn }) => isIn), deadlineMs, 'all are back').finally(() => {
      const back = members.filter(({ isIn }) => isIn).length;
      process.stdout.write(`${back} are back after ${Math.round(performance.now() - killedAt)} ms, `);
    });
    const backAt = performance.now();
    expect(backAt - killedAt - lateness.in(killedAt, backAt)).toBeLessThan(backMs);

    const attempts = members
      .flatMap(({ sockets }) => sockets.attempts.filter((at) => at > killedAt))
      .sort((a, b) => a - b);
    const busiest = attempts.map((from) => {
      const inOne = attempts.filter((at) => at >= from && at < from + 1_000).length;
      return { inOne, fair: inOne / (1 + lateness.in(from - 50, from + 1_050) / 1_000) };
    });
    const most = Math.max(...busiest.map(({ inOne }) => inOne));
    process.stdout.write(`${attempts.length} handshakes, at most ${most} in a second\n`);
    expect(Math.max(...busiest.map(({ fair }) => fair))).toBeLessThanOrEqual(mostInASecond);

    const published = await publishing.stop();
    for (const { room, told, gaps, faults } of members) {
      const all = published.get(room.name) ?? [];
      await until(() => told.length >= all.length, deadlineMs, `all of ${room.name} is told`);
      expect({ told, gaps, faults }).toEqual({ told: all, gaps: [], faults: [] });
    }
  },
  120_000,
);
