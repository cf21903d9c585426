/** Webhooks with real nodes, a real Redis and a real receiver, which checks each signature with another implementation. */
import { expect, test } from 'vitest';
import { type StartedNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';
import { metric, scrape } from './admin.ts';
import { clusterSettings } from './cluster.ts';
import { enter, join, names, randomRoom } from './people.ts';
import { presenceRooms } from './presence-members.ts';

const deadlineMs = 10_000;

const everything = 'room.occupied,room.vacated,member.joined,member.left,connection.opened,connection.closed';

/** Nodes that share a Redis and a receiver. */
async function cluster(count: number, more: Record<string, string | number> = {}) {
  const receiver = await new WebhookReceiver().start();
  const settings = { ...clusterSettings(), ROOMS_FILE: presenceRooms(), ...receiver.settings, ...more };
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(settings)));
  return { receiver, nodes: nodes as [StartedNode, ...StartedNode[]], settings };
}

function untilStory(receiver: WebhookReceiver, room: string, story: string[]): Promise<unknown> {
  const told = () => JSON.stringify(receiver.story(room)) === JSON.stringify(story);
  return until(told, deadlineMs, `${story} of ${room}`).catch((error: Error) => {
    throw new Error(`${error.message}; it was told ${JSON.stringify(receiver.story(room))}`);
  });
}

test('a user with connections on two nodes joins once and leaves once; the room is occupied once and vacated once', async () => {
  const { receiver, nodes } = await cluster(2);
  const [one, other] = [nodes[0], nodes[1] as StartedNode];
  const room = randomRoom('team');
  const first = await join(one, 'ann', room);
  const second = await join(other, 'ann', room);
  await untilStory(receiver, room, ['room.occupied', 'member.joined ann']);
  await first.close();
  const bob = await join(other, 'bob', room);
  await untilStory(receiver, room, ['room.occupied', 'member.joined ann', 'member.joined bob']);
  await second.close();
  await bob.close();
  await until(() => receiver.story(room).includes('room.vacated'), deadlineMs, 'the room is vacated');
  expect(receiver.story(room).slice(3).toSorted()).toEqual(['member.left ann', 'member.left bob', 'room.vacated']);
  expect(receiver.story(room).at(-1)).toBe('room.vacated');
  expect(receiver.complaints).toEqual([]);
  const [request] = receiver.requests;
  expect(request?.headers).toMatchObject({ 'content-type': 'application/json' });
  expect(request?.headers['user-agent']).toMatch(/^Roomcast\/\d/);
  const { at = 0, id = '' } = receiver.taken[0] ?? {};
  expect(Math.abs(Date.now() - at)).toBeLessThan(60_000);
  expect(id).toMatch(/^[\w.-]+$/);
  expect(new Set(receiver.taken.map((event) => event.id)).size).toBe(receiver.taken.length);
  for (const node of nodes) {
    await until(async () => (await scrape(node)).get('gateway_webhook_queue') === 0, deadlineMs, 'the queue is empty');
  }
  const delivered = await Promise.all(nodes.map((node) => metric(node, 'gateway_webhooks_total{result="delivered"}')));
  expect(delivered.reduce((sum, events) => sum + events, 0)).toBe(receiver.taken.length);
});

test('connections are told when that is asked for, with their user and their id', async () => {
  const { receiver, nodes } = await cluster(1, { WEBHOOK_EVENTS: everything });
  const ann = await enter(nodes[0], 'ann');
  await ann.close();
  const told = () => receiver.taken.filter(({ type }) => type.startsWith('connection.'));
  await until(() => told().length === 2, deadlineMs, 'both are told');
  const [opened, closed] = told();
  expect(opened).toMatchObject({ type: 'connection.opened', user: 'ann' });
  expect(closed).toMatchObject({ type: 'connection.closed', user: 'ann', connection: opened?.connection });
  expect(ann.frames[0]).toMatchObject({ type: 'welcome', connection: opened?.connection });
});

test('events of 300 rooms come in batches of at most 100, one at a time, in order for each room', async () => {
  const { receiver, nodes } = await cluster(1);
  const rooms = names(`${randomRoom('many')}:`, 300);
  // Every third attempt fails.
  receiver.answer = (_, number) => (number % 3 === 1 ? 500 : 204);
  const clients = await Promise.all(
    [0, 1, 2].map((part) => join(nodes[0], `u${part}`, ...rooms.slice(part * 100, part * 100 + 100))),
  );
  await until(() => rooms.every((room) => receiver.story(room).length === 1), deadlineMs, 'all are occupied');
  await Promise.all(clients.map((client) => client.close()));
  await until(() => rooms.every((room) => receiver.story(room).length === 2), 2 * deadlineMs, 'all are vacated');
  for (const room of rooms) expect(receiver.story(room)).toEqual(['room.occupied', 'room.vacated']);
  expect(Math.max(...receiver.requests.map(({ events }) => events.length))).toBeLessThanOrEqual(100);
  expect(receiver.mostUnderWay).toBe(1);
}, 60_000);
