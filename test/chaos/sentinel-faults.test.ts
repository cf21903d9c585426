/**
 * Sentinels that hang, are away, or do not know the master; and addresses that lead to something
 * else: a node waits no longer than it must, says what to do, and is back by itself.
 */
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { outcome, publication } from '../contract/recorder.ts';
import { deadlineMs, redisNode } from '../contract/redis-node.ts';
import { capturedLog } from '../support/captured-log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { masterName, sentinelStack } from '../support/sentinels.ts';
import { until } from '../support/until.ts';

const stack = await sentinelStack();
const [one, two] = stack.sentinels.map(({ port }) => `127.0.0.1:${port}`);

/** A node that cannot come up with this URL, and why it says so. */
async function troubleOf(url: string): Promise<{ trouble: string; lines: string }> {
  const { log, lines } = capturedLog();
  const node = await redisNode(url, { log }).start();
  expect(node.backplane.up).toBe(false);
  expect(await outcome(node.backplane.publish(publication('a')))).toBe('unavailable');
  return { trouble: node.backplane.trouble ?? '', lines: lines.join('') };
}

describe.concurrent('a URL that cannot work says what to write instead', () => {
  test.each([
    [
      'another name',
      `redis+sentinel://${one},${two}/other`,
      /knows no master "other"; GATEWAY_REDIS_URL has to end in/,
    ],
    [
      'a Redis in place of a sentinel',
      `redis+sentinel://127.0.0.1:${stack.servers[0].redis.port}/${masterName}`,
      /is no sentinel; .*26379/,
    ],
    [
      'a sentinel in place of a Redis',
      `redis://${one}`,
      /is a sentinel; GATEWAY_REDIS_URL has to be redis\+sentinel:\/\//,
    ],
    ['a replica', stack.servers[1].redis.url, /it is a replica/],
  ])('%s', async (_, url, mistake) => {
    const { trouble, lines } = await troubleOf(url);
    expect(trouble).toMatch(mistake);
    expect(lines).toContain('"role":"history"');
  });

  test('no sentinel at all, told with its address', async () => {
    const ports = [await freePort(), await freePort()];
    const { trouble, lines } = await troubleOf(
      `redis+sentinel://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]}/${masterName}`,
    );
    expect(trouble).toMatch(/the sentinel 127\.0\.0\.1:\d+ cannot be asked for the master: it takes no connection/);
    for (const port of ports) expect(lines).toContain(`127.0.0.1:${port}`);
  });

  test('sentinels that take connections and answer nothing', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    onCleanup(() => silent.close());
    const { port } = silent.address() as { port: number };
    const { trouble } = await troubleOf(`redis+sentinel://127.0.0.1:${port}/${masterName}`);
    expect(trouble).toMatch(/cannot be asked for the master: it does not answer/);
  });
});

test('the sentinels before the one that answers are away or hang: a node is up all the same, and names them', async () => {
  const { log, lines } = capturedLog();
  const [away, hanging] = [await freePort(), stack.sentinels[0]];
  hanging?.pause();
  onCleanup(() => hanging?.resume());
  const node = redisNode(`redis+sentinel://127.0.0.1:${away},${one},${two}/${masterName}`, { log });
  await node.start();
  await node.untilUp(true);
  const told = () =>
    [`127.0.0.1:${away}`, one].every((name) => lines.some((line) => line.includes(`"reason":"${name}: `)));
  await until(told, deadlineMs, 'the log names both');
  hanging?.resume();
  await until(
    () => lines.some((line) => line.includes('a sentinel answers again')),
    deadlineMs,
    'and that one is back',
  );
  expect(await outcome(node.backplane.publish(publication('a')))).toBe('taken');
});

test('all sentinels hang while the master works: nothing is interrupted', async () => {
  const { log, lines } = capturedLog();
  const node = await redisNode(stack.url, { log }).start();
  await node.backplane.subscribe('a');
  for (const sentinel of stack.sentinels) sentinel.pause();
  onCleanup(() => stack.sentinels.forEach((sentinel) => void sentinel.resume()));
  const named = () => lines.filter((line) => line.includes('a sentinel does not say where the master is')).length;
  await until(() => named() === 3, deadlineMs, 'all three are named');
  await node.backplane.publish(publication('a'));
  await node.untilFrames('a', 1);
  for (const sentinel of stack.sentinels) sentinel.resume();
  const back = () => lines.filter((line) => line.includes('a sentinel answers again')).length;
  await until(() => back() === 3, deadlineMs, 'all three are back');
  expect([node.roomsWithGap(), node.reconnects]).toEqual([[], 0]);
});

test('sentinels that announce names: each that names the new master late finds the node there, and it stays connected', async () => {
  const names = ['sentinel resolve-hostnames yes', 'sentinel announce-hostnames yes'];
  const named = await sentinelStack({ host: 'localhost', sentinel: names });
  const { log, lines } = capturedLog();
  const node = await redisNode(named.url, { log }).start();
  const [first, ...late] = named.sentinels;
  for (const sentinel of late) sentinel.pause();
  onCleanup(() => late.forEach((sentinel) => void sentinel.resume()));
  await first?.client.call('SENTINEL', 'FAILOVER', masterName);
  const count = (text: string) => lines.filter((line) => line.includes(text)).length;
  await until(() => count('names another redis as the master') === 1, deadlineMs, 'the first one names it');
  expect(lines.some((line) => line.includes('localhost:'))).toBe(true);
  await until(
    async () => (await outcome(node.backplane.publish(publication('a')))) === 'taken',
    deadlineMs,
    'it serves',
  );
  await node.untilUp(true);
  const before = count('connecting to redis again');
  for (const sentinel of late) sentinel.resume();
  await until(() => count('names another redis as the master') === 3, deadlineMs, 'the others name it too');
  expect(await outcome(node.backplane.publish(publication('a')))).toBe('taken');
  expect(count('connecting to redis again')).toBe(before);
});
