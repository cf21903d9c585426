/** A node that is told to stop while nothing around it answers. */
import { expect, test } from 'vitest';
import { apiKey, call } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { join } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until, within } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

/** docs/operations.md, Deploys: after the times of the drain. */
const longestStopMs = 10_000;

test('a node whose Redis and whose webhook receiver hang ends within the documented time, by itself', async () => {
  const [redis, receiver] = [await ownRedis(), await new WebhookReceiver().start()];
  receiver.answer = () => 'never';
  const rules = roomsFile({ match: '*', subscribe: 'user', presence: true, joinLeave: true, history: {} });
  const events = 'room.occupied,room.vacated,member.joined,member.left,connection.opened,connection.closed';
  const node = await spawnNode({
    ...{ REDIS_URL: redis.url, ROOMS_FILE: rules, API_KEY: apiKey, WEBHOOK_EVENTS: events },
    ...receiver.settings,
  });
  const member = await join(node, 'ann', 'one', 'two');
  await until(() => receiver.requests.length > 0, 10_000, 'a request hangs');
  await redis.pause();
  for (const room of ['one', 'two', 'one']) member.send({ type: 'publish', id: 7, room, data: 'under way' });
  const called = call(node, 'GET', '/api/nodes').catch((error: Error) => error);
  onCleanup(() => called);
  const began = performance.now();
  node.kill('SIGTERM');
  expect(await within(node.exited, 25_000, 'the node ends')).toEqual({ code: 0, signal: null });
  const tookMs = performance.now() - began;
  expect(tookMs, `${Math.round(tookMs)} ms`).toBeLessThan(longestStopMs);
}, 60_000);
