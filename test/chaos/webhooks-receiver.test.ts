/** Webhooks to a receiver that fails, and at the end of a node: nothing is lost, nothing is told that was not so. */
import { describe, expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { clusterSettings } from '../integration/cluster.ts';
import { join, names, randomRoom, tokenOf } from '../integration/people.ts';
import { presenceRooms } from '../integration/presence-members.ts';
import { connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

const deadlineMs = 15_000;

const wholeStory = ['room.occupied', 'member.joined ann', 'member.left ann', 'room.vacated'];

test.each([
  ['is away', undefined],
  ['answers 500', 500],
])('a receiver that %s for a while gets everything afterwards, in order for each room', async (_, status) => {
  const receiver = await new WebhookReceiver().start();
  const { port } = receiver;
  const node = await startNode({ ...clusterSettings(), ROOMS_FILE: presenceRooms(), ...receiver.settings });
  if (status === undefined) await receiver.stop();
  else receiver.answer = () => status;
  const rooms = names(`${randomRoom('team')}:`, 40);
  const ann = await join(node, 'ann', ...rooms);
  const failed = () => metric(node, 'gateway_webhooks_total{result="failed"}');
  await until(async () => (await failed()) > 0, deadlineMs, 'an attempt has failed');
  await ann.close();
  await until(async () => (await metric(node, 'gateway_webhook_queue')) === 160, deadlineMs, 'all of it waits');
  const back = receiver.requests.length > 0 ? receiver : await new WebhookReceiver().start(port);
  back.answer = () => 200;
  await until(() => rooms.every((room) => back.story(room).length === 4), deadlineMs, 'all is told');
  for (const room of rooms) expect(back.story(room)).toEqual(wholeStory);
  expect(back.mostUnderWay).toBe(1);
  expect([...receiver.complaints, ...back.complaints]).toEqual([]);
});

test('a receiver that answers 429 with Retry-After is left alone for so long', async () => {
  const receiver = await new WebhookReceiver().start();
  receiver.answer = (_, number) => (number === 1 ? { status: 429, headers: { 'retry-after': '3' } } : 200);
  const node = await startNode(receiver.settings);
  const room = randomRoom();
  await join(node, 'ann', room);
  await until(() => receiver.story(room).length === 1, deadlineMs, 'it is told');
  const [first, second] = receiver.requests;
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(2_900);
});

describe('the end of a node', () => {
  test('a client that moves in a drain is not told as gone, and its room not as vacated', async () => {
    const receiver = await new WebhookReceiver().start();
    const settings = { ...clusterSettings(), ROOMS_FILE: presenceRooms(), ...receiver.settings };
    const [old, next] = (await Promise.all([spawnNode({ ...settings, DRAIN_MS: 1_500 }), spawnNode(settings)])) as [
      SpawnedNode,
      SpawnedNode,
    ];
    const rooms = names(`${randomRoom('team')}:`, 5);
    const ann = await join(old, 'ann', ...rooms);
    await until(() => rooms.every((room) => receiver.story(room).length === 2), deadlineMs, 'ann is told');
    old.kill('SIGTERM');
    await ann.next('reconnect');
    const moved = await connectWelcomed(next.url, await tokenOf('ann'));
    for (const room of rooms) await moved.subscribe(room);
    await ann.close();
    await old.exited;
    await moved.close();
    await until(() => rooms.every((room) => receiver.story(room).length === 4), deadlineMs, 'the end is told');
    for (const room of rooms) expect(receiver.story(room)).toEqual(wholeStory);
  });

  test.each(['with Redis', 'alone'])('%s it sends what is left, the end of its own rooms included', async (how) => {
    const receiver = await new WebhookReceiver().start();
    const shared = how === 'alone' ? {} : clusterSettings();
    const node = await spawnNode({ ...shared, ROOMS_FILE: presenceRooms(), ...receiver.settings, DRAIN_MS: 300 });
    const rooms = names(`${randomRoom('team')}:`, 60);
    await join(node, 'ann', ...rooms);
    await node.stop();
    for (const room of rooms) expect(receiver.story(room)).toEqual(wholeStory);
  });

  test('alone, with a receiver that refuses, it ends in time and says how much is lost', async () => {
    const receiver = await new WebhookReceiver().start();
    receiver.answer = () => 503;
    const node = await spawnNode(receiver.settings);
    await join(node, 'ann', 'a', 'b');
    await node.stop();
    const said = node.logs.find(({ msg = '' }) => msg.includes('they are lost'));
    expect(said).toMatchObject({ level: 'error', events: 4 });
    expect(JSON.stringify(node.logs)).not.toContain('/hook');
  });

  test('with Redis and a receiver that refuses, it ends at once; the next node goes on', async () => {
    const receiver = await new WebhookReceiver().start();
    receiver.answer = () => 503;
    const settings = { ...clusterSettings(), ...receiver.settings };
    const node = await spawnNode(settings);
    await join(node, 'ann', 'a');
    await until(() => receiver.requests.length > 0, deadlineMs, 'it is tried');
    await node.stop();
    receiver.answer = () => 200;
    await spawnNode(settings);
    await until(() => receiver.story('a').length === 2, deadlineMs, 'all is told');
    expect(receiver.story('a')).toEqual(['room.occupied', 'room.vacated']);
  });
});
