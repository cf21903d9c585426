/** gateway/redis/history/queue.ts in a cluster, where a shard has thousands of lines, with a connection that a test answers. */
import { expect, test } from 'vitest';
import { BackplaneError } from '../../../../gateway/backplane/backplane.ts';
import type { RedisConnection } from '../../../../gateway/redis/connection/connection.ts';
import { lineScript } from '../../../../gateway/redis/history/commands.ts';
import { HistoryQueue } from '../../../../gateway/redis/history/queue.ts';
import { RedisNames } from '../../../../gateway/redis/names.ts';
import { keptPublication } from '../../../contract/recorder.ts';
import { until } from '../../../support/until.ts';

const deadlineMs = 5_000;
const keys = Array.from({ length: 320 }, (_, index) => `line${index}`);

/** Commands as they are sent: how many lines each settles, and which is the first; or that it keeps messages. */
function shard(answer: (settled: readonly string[]) => Promise<unknown> = async () => 1) {
  const sent: string[] = [];
  const server = { run: 'run', mark: '@run', promotion: '', mayHaveLost: false, isWhole: true };
  const connection = {
    server,
    ready: true,
    evaluation: (script: object, names: readonly string[]) => [script === lineScript ? 'settle' : 'keep', ...names],
    run: ([, ...names]: string[]) => {
      sent.push(`settle ${names.length} from ${names[0]}`);
      return answer(names);
    },
    send: ([what = '']: string[]) => sent.push(what),
    flush: () => undefined,
  };
  const names = new RedisNames('rc', 0, 'home');
  const lines = () => ({ keys, whole: [] });
  const queue = new HistoryQueue(connection as unknown as RedisConnection, names, 60_000, lines);
  const publish = (line: string) => {
    const publication = keptPublication('a');
    const rule = { size: 1, maxBytes: 1, ttlSeconds: 1 };
    const more = { header: '', room: 'a', channel: 'a', dedupeKey: undefined, settle: () => undefined };
    queue.add({ publication: { ...publication, history: rule }, rule, line, ...more });
    queue.flush();
  };
  return { queue, sent, publish, server };
}

test('the lines are settled a part at a time; that of a message goes before the message, with others of its part', async () => {
  const { queue, sent, publish, server } = shard();
  queue.settle();
  publish('line3');
  publish('line300');
  publish('line300');
  expect(queue.settled).toBe(false);
  expect(sent).toEqual(['settle 100 from line0', 'keep', 'settle 100 from line300', 'keep', 'keep']);
  await until(() => queue.settled, deadlineMs, 'all are settled');
  expect(sent.slice(5)).toEqual(['settle 100 from line199', 'settle 20 from line299']);
  expect(queue.settledServer).toBe(server);
  expect(queue.isWhole).toBe(true);
});

test('if one part is refused, they are not settled, and the next probe settles all again', async () => {
  let isRefused = true;
  const { queue, sent } = shard(async (settled) => {
    if (isRefused && settled.includes('line140')) throw new BackplaneError('unavailable', 'refused');
  });
  queue.settle();
  await until(() => sent.length === 2, deadlineMs, 'the second part is sent');
  isRefused = false;
  expect(queue.settled).toBe(false);
  expect(queue.settledServer).toBeUndefined();
  const publication = { room: '', prefix: '', suffix: '', at: 0 };
  const rule = { size: 1, maxBytes: 1, ttlSeconds: 1 };
  const more = { header: '', line: 'line0', channel: '', dedupeKey: undefined, settle: () => undefined };
  queue.probe({ publication, rule, room: '', ...more });
  await until(() => queue.settled, deadlineMs, 'all are settled');
  expect(sent.filter((each) => each === 'settle 100 from line0')).toHaveLength(2);
});
