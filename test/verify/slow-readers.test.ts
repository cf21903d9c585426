/**
 * `npm run verify`: readers that stop in a busy room with history leave the live path, cost other clients nothing, and get
 * everything when they read again. `-- --slow-readers` runs it at full length, and compares the latency of the other clients
 * with runs without slow readers, in turn.
 */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { launchRedisProcess } from '../support/redis-process.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { readOptions } from './options.ts';
import { ReadingMember } from './reading-member.ts';

const { slowReaders: full } = readOptions(process.env);
/** The kernel alone takes 4 MB for each stopped reader: both forms publish 12 MB. */
const load = full ? { members: 200, perSecond: 200 } : { members: 100, perSecond: 400 };
const messages = 12_000;
const stopped = 50;
const paddingBytes = 900;
const hardBytes = 262_144;
const tickMs = 20;
const behind = 'gateway_slow_connections{policy="catch-up"}';

interface Run {
  /** Kept in history. */
  size: number;
  stopped: number;
}

interface Outcome {
  good: ReadingMember[];
  slow: ReadingMember[];
  /** Readers off the live path, before they read again. */
  behind: number;
  rssGrowth: number;
  mostBuffered: number;
  p99: number;
}

async function run({ size, stopped: count }: Run): Promise<Outcome> {
  const redis = await launchRedisProcess();
  onCleanup(() => redis.stop());
  const node = await spawnNode({
    REDIS_URL: redis.url,
    ROOMS_FILE: roomsFile({
      match: 'busy',
      subscribe: 'user',
      publish: 'user',
      history: { size, maxBytes: 67_108_864 },
    }),
    MAX_BUFFERED_BYTES: hardBytes,
    PUBLISH_RATE: 0,
    // A stopped reader answers no ping either.
    PING_INTERVAL_MS: 600_000,
    PONG_TIMEOUT_MS: 300_000,
    MAX_CONNECTIONS_PER_USER: 0,
  });
  const join = (name: string, number: number) =>
    Promise.all(Array.from({ length: number }, (_, index) => ReadingMember.join(node, `${name}${index}`, 'busy')));
  const [good, slow] = [await join('good', load.members - count), await join('slow', count)];
  const rss = () => metric(node, 'process_resident_memory_bytes');
  const before = await rss();
  for (const reader of slow) reader.stopReading();
  let mostBuffered = 0;
  await publishSteadily(node, async () => {
    mostBuffered = Math.max(mostBuffered, await metric(node, 'gateway_buffered_bytes'));
  });
  await until(() => good.every(({ offset }) => offset === messages), 60_000, 'those who read have everything');
  const outcome = { behind: await metric(node, behind), rssGrowth: (await rss()) - before, mostBuffered };
  for (const reader of slow) reader.readAgain();
  await until(() => slow.every(({ offset }) => offset === messages), 120_000, 'those who stopped have caught up');
  await until(async () => (await metric(node, behind)) === 0, 10_000, 'they are live again');
  await publish(node, 1);
  await until(() => [...good, ...slow].every(({ offset }) => offset === messages + 1), 10_000, 'all get what follows');
  await Promise.all([...good, ...slow].map((member) => member.leave()));
  await node.stop();
  await redis.stop();
  const sorted = good.flatMap(({ latencies }) => latencies).sort((one, other) => one - other);
  return { good, slow, ...outcome, p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN };
}

async function publisherOf(node: SpawnedNode) {
  const token = await mintToken({ sub: 'publisher', exp: Math.floor(Date.now() / 1000) + 3_600 });
  return connectWelcomed(node.url, token);
}

async function publish(node: SpawnedNode, count: number): Promise<void> {
  const publisher = await publisherOf(node);
  for (let sent = 0; sent < count; sent++) await publisher.publish('busy', [performance.now(), 'live again']);
  await publisher.close();
}

/** At a steady rate, whatever the answers: open loop. */
async function publishSteadily(node: SpawnedNode, watch: () => Promise<void>): Promise<void> {
  const publisher = await publisherOf(node);
  const padding = 'x'.repeat(paddingBytes);
  const began = performance.now();
  let sent = 0;
  let watching: Promise<void> = Promise.resolve();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(messages, Math.floor(((performance.now() - began) / 1000) * load.perSecond));
      for (; sent < due; sent++) {
        publisher.send(`{"type":"publish","room":"busy","data":[${performance.now()},"${padding}"]}`);
        if (sent % load.perSecond === 0) watching = watch();
      }
      if (sent < messages) return;
      clearInterval(timer);
      resolve();
    }, tickMs);
  });
  await watching;
  await publisher.close();
}

function expectNothingWrong(members: ReadingMember[]): void {
  expect(members.flatMap(({ faults }) => faults)).toEqual([]);
}

test('50 stopped readers leave the live path, others miss nothing, and all catch up in order, in bounded memory', {
  timeout: 400_000,
}, async () => {
  const { good, slow, ...outcome } = await run({ size: 100_000, stopped });
  process.stdout.write(`  ${JSON.stringify(outcome)}\n`);
  expect(outcome.behind).toBe(stopped);
  expectNothingWrong([...good, ...slow]);
  for (const member of [...good, ...slow]) expect([member.messages, member.gaps]).toEqual([messages + 1, []]);
  expect(outcome.mostBuffered).toBeGreaterThan(0);
  expect(outcome.mostBuffered).toBeLessThanOrEqual(stopped * hardBytes);
  expect(outcome.rssGrowth).toBeLessThanOrEqual(stopped * hardBytes + 32 * 1_048_576);
});

test('where history holds only 1,000 messages, they are told exactly which are missing, and get the rest', {
  timeout: 400_000,
}, async () => {
  const { good, slow, behind: left } = await run({ size: 1_000, stopped });
  expect(left).toBe(stopped);
  expectNothingWrong([...good, ...slow]);
  for (const member of good) expect([member.messages, member.gaps]).toEqual([messages + 1, []]);
  for (const { messages: got, gaps } of slow) {
    expect(gaps.length).toBeGreaterThan(0);
    expect(gaps.map(({ reason }) => reason)).toEqual(gaps.map(() => 'trimmed'));
    expect(got + gaps.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(messages + 1);
  }
});

if (full) {
  test('the 99th percentile of the others at most doubles (median of 5 runs, in turn with runs without slow readers)', {
    timeout: 3_600_000,
  }, async () => {
    const ratios: number[] = [];
    for (let pair = 0; pair < 5; pair++) {
      const quiet = await run({ size: 100_000, stopped: 0 });
      const { p99 } = await run({ size: 100_000, stopped });
      ratios.push(p99 / quiet.p99);
      process.stdout.write(`  p99 ${quiet.p99.toFixed(1)} ms without, ${p99.toFixed(1)} ms with slow readers\n`);
    }
    ratios.sort((one, other) => one - other);
    expect(ratios[2]).toBeLessThanOrEqual(2);
  });
}
