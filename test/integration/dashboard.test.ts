/** The dashboard on the admin port: who gets what, and what its streams say of a cluster. Its page is in test/browser. */
import { describe, expect, test } from 'vitest';
import { type NodeSettings, type StartedNode, spawnNode, startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { apiKey, call, post } from './api.ts';
import { clusterSettings, untilThere } from './cluster.ts';
import { LiveStream, nodesOf, requestStream } from './dashboard-streams.ts';
import { roomsFile } from './files.ts';
import { join, joinAll, names, randomRoom } from './people.ts';

const withKey = { API_KEY: apiKey, PUBLISH_RATE: 0 };
const files = [
  '/',
  '/dashboard/main.js',
  '/dashboard/dashboard.css',
  '/dashboard/icon.svg',
  '/dashboard/views/cluster.js',
];
const streams = ['/dashboard/live', '/dashboard/rooms/chat%3Alobby/tail'];
const headersOfNobody = { authorization: undefined };

/** Three nodes, by name. */
async function three(settings: NodeSettings): Promise<[StartedNode, StartedNode, StartedNode]> {
  const all = { ...withKey, PING_INTERVAL_MS: 200, ...settings };
  const nodes = await Promise.all(['one', 'two', 'three'].map((NODE_ID) => startNode({ ...all, NODE_ID })));
  await untilThere(nodes[0] as StartedNode, 'one', 'two', 'three');
  return nodes as [StartedNode, StartedNode, StartedNode];
}

describe('whoever asks', () => {
  test('finds nothing on a node without an API key', async () => {
    const node = await startNode();
    for (const path of [...files, ...streams]) expect((await call(node, 'GET', path)).status, path).toBe(404);
  });

  test('gets the page and its files without a key: nothing in them may load from elsewhere, or be framed', async () => {
    const node = await startNode(withKey);
    for (const path of files) {
      const { headers, status, text } = await call(node, 'GET', path, { headers: headersOfNobody });
      expect(status, path).toBe(200);
      expect(headers['content-security-policy']).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
          "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
      );
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
      expect(text).not.toContain(apiKey);
    }
    expect((await call(node, 'GET', '/')).headers['content-type']).toBe('text/html; charset=utf-8');
    expect((await call(node, 'GET', '/dashboard/main.js')).headers['content-type']).toBe(
      'text/javascript; charset=utf-8',
    );
    expect((await call(node, 'POST', '/', { body: {} })).status).toBe(405);
    expect((await call(node, 'GET', '/dashboard/../main.ts')).status).toBe(404);
    expect((await call(node, 'GET', '/dashboard/tsconfig.json')).status).toBe(404);
  });

  test('gets no stream without a good key, for a room that is none, or with a body', async () => {
    const node = await startNode(withKey);
    for (const path of streams) {
      for (const authorization of [undefined, 'Bearer not-the-key-of-the-node', `Basic ${apiKey}`]) {
        const { headers, json, status } = await call(node, 'GET', path, { headers: { authorization } });
        expect([status, json.type]).toEqual([401, 'https://roomcast.dev/problems/unauthorized']);
        expect(headers['www-authenticate']).toContain('Bearer');
      }
      expect((await call(node, 'GET', path, { body: '{}', headers: { 'content-length': '2' } })).status).toBe(400);
      expect((await call(node, 'POST', path, { body: {} })).status).toBe(405);
    }
    for (const room of ['%E0%A4', '%0A', 'x'.repeat(2_000)]) {
      expect((await call(node, 'GET', `/dashboard/rooms/${room}/tail`)).status).toBe(400);
    }
  });

  test('gets 32 streams of a node at a time, and another one when one has ended', async () => {
    const node = await startNode(withKey);
    const open = () => requestStream(node, '/dashboard/live');
    const all = await Promise.all(Array.from({ length: 32 }, open));
    const refused = await open();
    expect(refused.response.statusCode).toBe(503);
    expect(refused.response.headers['retry-after']).toBe('1');
    all[0]?.abort();
    await until(async () => (await open()).response.statusCode === 200, 5_000, 'there is room for another one');
  });
});

describe('the live stream', () => {
  test('shows all nodes, their rates together, and the busiest rooms', async () => {
    const nodes = await three(clusterSettings());
    const [busy, quiet] = [randomRoom('busy'), randomRoom('quiet')];
    for (const node of nodes) await joinAll(node, names('user', 3), busy);
    const speaker = await join(nodes[2], 'speaker', quiet, busy);
    const live = await LiveStream.open(nodes[0]);
    const timer = setInterval(() => {
      for (let message = 0; message < 4; message++)
        speaker.send({ type: 'publish', id: 'b', room: busy, data: message });
      speaker.send({ type: 'publish', id: 'q', room: quiet, data: 'x' });
    }, 100);
    try {
      const view = await live.until('all is shown', ({ busiest, point, nodes: shown }) => {
        const hasAll = busiest[0]?.room === busy && busiest[0].members === 10 && busiest[1]?.room === quiet;
        const { delivered = 0, published = 0 } = point.rates ?? {};
        return hasAll && shown.length === 3 && delivered > 4 * published && published > 0;
      });
      expect(nodesOf(view)).toEqual(['one', 'three', 'two']);
      expect(view).toMatchObject({ node: 'one', missing: [], trouble: null });
      expect(view.point).toMatchObject({ connections: 10, nodes: 3, missing: 0 });
      // A message is counted once, though it is delivered on three nodes.
      const [first] = view.busiest;
      expect((first?.deliveriesPerSecond ?? 0) / (first?.messagesPerSecond ?? 1)).toBeCloseTo(10, 0);
      expect(view.point.counts.fanout).toHaveLength((view.bounds.fanout?.length ?? 0) + 1);
      expect((await live.until('users are counted', ({ distinct }) => distinct !== null)).distinct).toEqual({
        users: 4,
        rooms: 2,
      });
      await live.until('pings are observed', ({ point }) => point.counts.ping.some((count) => count > 0));
    } finally {
      clearInterval(timer);
    }
  });

  test('shows why connections were closed and refused', async () => {
    const [one, two] = await three(clusterSettings());
    const live = await LiveStream.open(one);
    await live.until('the first rates', ({ point }) => point.rates !== null);
    const from = live.ticks.length;
    await (await join(two, 'ann', randomRoom())).close();
    await call({ adminPort: two.port }, 'GET', '/ws');
    const view = await live.until(
      'both',
      ({ totals }) => totals.closed['1000'] === 1 && totals.rejected.request === 1,
      10_000,
      from,
    );
    expect(view.nodes).toHaveLength(3);
    const sum = (kind: 'closed' | 'rejected', reason: string) =>
      live.ticks.slice(from).reduce((all, { point }) => all + (point.events[kind][reason] ?? 0), 0);
    expect([sum('closed', '1000'), sum('rejected', 'request')]).toEqual([1, 1]);
  });

  test('names a node that was killed as missing, and goes on', async () => {
    const settings = { ...clusterSettings(), ...withKey };
    const one = await startNode({ ...settings, NODE_ID: 'one' });
    const dead = await spawnNode({ ...settings, NODE_ID: 'dead' });
    await untilThere(one, 'one', 'dead');
    const live = await LiveStream.open(one);
    await live.until('both are there', (view) => view.nodes.length === 2);
    dead.kill('SIGKILL');
    await dead.exited;
    const from = live.ticks.length;
    const view = await live.until('it is missing', ({ missing }) => missing.length > 0, 5_000, from);
    expect([nodesOf(view), view.missing, view.trouble, view.point.missing]).toEqual([['one'], ['dead'], null, 1]);
    await live.until(
      'it is known to be dead',
      ({ missing, nodes }) => missing.length === 0 && nodes.length === 1,
      15_000,
      from,
    );
  }, 30_000);

  test('shows this node alone while Redis is away, says why, and shows all when it is back', async () => {
    const redis = await ownRedis();
    const [one, two] = await three({ REDIS_URL: redis.url });
    await join(one, 'ann', randomRoom());
    await join(two, 'bob', randomRoom());
    const live = await LiveStream.open(one);
    await live.until('all are there', (view) => view.nodes.length === 3 && view.point.connections === 2);
    await redis.kill();
    const alone = await live.until(
      'it says that Redis is away',
      ({ trouble }) => trouble !== null,
      10_000,
      live.ticks.length,
    );
    expect([nodesOf(alone), alone.missing, alone.point.connections]).toEqual([['one'], [], 1]);
    const troubled = await live.until('the node says so too', ({ nodes }) => nodes[0]?.trouble !== null, 10_000);
    expect(troubled.nodes[0]?.trouble).toMatch(/Redis/);
    await redis.start();
    await live.until(
      'all are back',
      (view) => view.trouble === null && view.nodes.length === 3,
      20_000,
      live.ticks.length,
    );
  }, 60_000);

  test('asks the cluster once for all who look, and not at all when nobody looks', async () => {
    const [one] = await three(clusterSettings());
    const questions = () => metric(one, 'gateway_control_seconds_count');
    const before = await questions();
    const all = await Promise.all(Array.from({ length: 6 }, () => LiveStream.open(one)));
    await until(() => all.every(({ ticks }) => ticks.length >= 3), 10_000, 'each has three ticks');
    // Two for the count of distinct users and rooms, and one under way.
    expect((await questions()) - before).toBeLessThanOrEqual(Math.max(...all.map(({ ticks }) => ticks.length)) + 3);
    // A page that comes later begins with what was seen before.
    const later = await LiveStream.open(one);
    const { data } = await later.stream.next('history');
    expect((data as { points: unknown[] }).points.length).toBeGreaterThanOrEqual(3);
    for (const { stream } of [...all, later]) stream.abort();
    let [last, lastAt] = [await questions(), performance.now()];
    const isQuiet = async () => {
      const now = await questions();
      if (now === last) return performance.now() - lastAt > 1_500;
      [last, lastAt] = [now, performance.now()];
      return false;
    };
    await until(isQuiet, 10_000, 'no question is asked for longer than between two of them');
  });

  test('ends when the node stops', async () => {
    const node = await startNode(withKey);
    const live = await LiveStream.open(node);
    const tail = await requestStream(node, '/dashboard/rooms/a/tail');
    await tail.next('open');
    await node.stop();
    await Promise.all([live.stream.untilEnded(), tail.untilEnded()]);
    expect([live.stream.complete, tail.complete]).toEqual([true, true]);
  });
});

describe('the tail of a room', () => {
  interface Told {
    messages: { text: string; bytes: number }[];
    skipped: number;
  }
  const told = (events: { name: string; data: unknown }[]) =>
    events.flatMap(({ data, name }) => (name === 'messages' ? [data as Told] : []));
  const tailOf = async (node: StartedNode, room: string) => {
    const tail = await requestStream(node, `/dashboard/rooms/${encodeURIComponent(room)}/tail`);
    await tail.next('open');
    return tail;
  };

  test.each(['plain', 'kept'])('hears a %s room on another node, and is a member for nobody', async (topic) => {
    const settings = {
      ...clusterSettings(),
      ROOMS_FILE: roomsFile({ match: 'kept:*', history: {}, presence: true, joinLeave: true }),
    };
    const [one, two] = await three(settings);
    const room = randomRoom(topic);
    const tail = await tailOf(one, room);
    expect((await call(one, 'GET', '/api/rooms')).json.rooms).toEqual([]);
    const ann = await join(two, 'ann', room);
    await ann.publish(room, '<b>hello</b>');
    await post(two, room, { data: { from: 'the backend' } });
    await until(
      () => told(tail.events).flatMap(({ messages }) => messages).length === 2,
      5_000,
      'both messages are told',
    );
    const [first, second] = told(tail.events).flatMap(({ messages }) => messages);
    expect(JSON.parse(first?.text ?? '')).toMatchObject({ type: 'message', room, data: '<b>hello</b>', from: 'ann' });
    expect(JSON.parse(second?.text ?? '')).toMatchObject({ data: { from: 'the backend' } });
    expect((await call(one, 'GET', '/api/rooms')).json.rooms).toEqual([{ room, members: 1 }]);
    expect((await call(one, 'GET', '/api/nodes')).json.nodes.map(({ rooms }: { rooms: number }) => rooms)).toEqual([
      0, 0, 1,
    ]);
    expect(ann.frames.filter(({ type }) => type === 'join')).toEqual([]);
  });

  test('goes on after its members have left', async () => {
    const node = await startNode({ ...clusterSettings(), ...withKey });
    const room = randomRoom();
    const tail = await tailOf(node, room);
    const ann = await join(node, 'ann', room);
    await ann.close();
    const heard = () => told(tail.events).flatMap(({ messages }) => messages).length;
    // Longer than an empty room stays subscribed.
    const since = performance.now();
    await until(
      async () => {
        const before = heard();
        await post(node, room, { data: 'still there?' });
        await until(() => heard() > before, 5_000, 'a message is told');
        return performance.now() - since > 3_500;
      },
      15_000,
      'messages come for longer than an empty room stays subscribed',
    );
    tail.abort();
  });

  test('of a room with far too many messages shows some, and says how many it left out', async () => {
    const node = await startNode(withKey);
    const room = randomRoom();
    const tail = await tailOf(node, room);
    const speaker = await join(node, 'ann', randomRoom());
    const large = 'x'.repeat(20_000);
    await Promise.all(Array.from({ length: 300 }, (_, index) => speaker.publish(room, index === 0 ? large : index)));
    const sum = () => told(tail.events).reduce((all, { messages, skipped }) => all + messages.length + skipped, 0);
    await until(() => sum() === 300, 10_000, 'all are told of');
    const shown = told(tail.events).flatMap(({ messages }) => messages);
    expect(shown.length).toBeLessThan(300);
    expect(Math.max(...shown.map(({ text }) => text.length))).toBeLessThanOrEqual(4_096);
    expect(shown[0]?.bytes).toBeGreaterThan(20_000);
    for (const { messages } of told(tail.events)) expect(messages.length).toBeLessThanOrEqual(20);
  });
});
