/** Clients of Centrifugo's protocol without WebSockets: its unmodified client for JavaScript over HTTP, on one node and two. */
import { beforeAll, expect, test } from 'vitest';
import type { StartedNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { clientOf, connectBy, decode, encode, type Form, forms, httpOf } from './centrifugo-http.ts';
import { have, listen, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { clusterSettings } from './cluster.ts';
import { dataOf, join, randomRoom, tokenOf } from './people.ts';

let node: StartedNode;
let other: StartedNode;
beforeAll(async () => {
  const settings = clusterSettings();
  const long = { match: 'kept:long:*', history: { size: 1_000 } };
  [node, other] = await Promise.all([startCentrifugo(settings, long), startCentrifugo(settings, long)]);
});

test.each(forms)('by %s a client does what it does on a WebSocket, with its commands at another node', async (form) => {
  const room = randomRoom('kept:long');
  const client = await connectBy(form, 'guest', node, other);
  const member = await subscribe(client, room);
  const native = await join(other, 'native', room);
  for (let data = 0; data < 20; data++) {
    if (data % 2 === 0) native.send({ type: 'publish', id: `p${data}`, room, data });
    else await member.subscription.publish(encode(form, data));
  }
  await have(member, 20);
  await until(() => dataOf(native, room).length === 20, 5_000, 'the native member has all');
  expect(member.publications.map(({ data }) => decode(form, data))).toEqual(dataOf(native, room));
  expect(member.publications.map(({ offset }) => offset)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  const { offset } = await member.subscription.history({ limit: 0 });
  expect(offset).toBe(20);
  await expect(client.rpc('nothing', encode(form, 1))).rejects.toMatchObject({ code: 108 });
  const foreign = listen(client, 'kept:no room');
  foreign.subscription.subscribe();
  await until(() => foreign.events.includes('unsubscribed 107'), 5_000, 'it is refused');
});

test.each(forms)('by %s a client that was away gets what it missed', async (form) => {
  const room = randomRoom('kept:long');
  const client = await connectBy(form, 'guest', node);
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  await native.publish(room, 1);
  await have(member, 1);
  client.disconnect();
  await Promise.all(Array.from({ length: 399 }, (_, index) => native.publish(room, index + 2)));
  client.connect();
  await have(member, 400);
  expect(member.publications.map(({ data }) => decode(form, data))).toEqual(
    Array.from({ length: 400 }, (_, index) => index + 1),
  );
  expect(member.events.slice(-1)).toEqual(['subscribed, recovered: true']);
});

test.each(forms)('by %s a client that goes, goes at the node too', async (form) => {
  const node = await startCentrifugo();
  const client = await connectBy(form, 'guest', node);
  await subscribe(client, randomRoom('kept'));
  expect(await metric(node, 'gateway_streams')).toBe(1);
  client.disconnect();
  await until(async () => (await metric(node, 'gateway_streams')) === 0, 5_000, 'the stream has ended');
  expect(await metric(node, 'gateway_connections')).toBe(0);
  expect(await metric(node, 'gateway_subscriptions')).toBe(0);
});

test.each<Form>(['sse', 'http_stream protobuf'])(
  'by %s pings are answered at any node, and a drain ends the stream with 3001',
  async (form) => {
    const settings = clusterSettings();
    const pinging = { ...settings, PING_INTERVAL_MS: 1_000, PONG_TIMEOUT_MS: 1_000, DRAIN_MS: 300 };
    const [first, second] = await Promise.all([startCentrifugo(pinging), startCentrifugo(settings)]);
    const client = clientOf(form, first, second, { token: await tokenOf('guest') });
    client.connect();
    await client.ready(5_000);
    const ends: number[] = [];
    let pings = 0;
    client.on('connecting', ({ code }) => {
      ends.push(code);
      client.disconnect();
    });
    // @ts-expect-error: not public; the only place where a ping can be seen.
    const handle = client._handleServerPing.bind(client);
    // @ts-expect-error: as above.
    client._handleServerPing = (next: () => void) => {
      pings++;
      handle(next);
    };
    // The second ping is only sent after the pong to the first one.
    await until(() => pings >= 2, 5_000, 'two pings come');
    expect(ends).toEqual([]);
    await first.stop();
    await until(() => ends.length > 0, 5_000, 'it is told');
    expect(ends).toEqual([3001]);
  },
);

test.each(forms)('by %s a bad token ends it with its code, and an expired one brings a new one', async (form) => {
  const bad = clientOf(form, node, node, { token: 'bad' });
  const ended = new Promise((resolve) => bad.on('disconnected', resolve));
  bad.connect();
  expect(await ended).toEqual({ code: 3500, reason: 'invalid token' });
  const token = await mintToken({ sub: 'guest', exp: Math.floor(Date.now() / 1000) - 60 });
  const client = clientOf(form, node, node, { token, getToken: () => tokenOf('guest') });
  client.connect();
  await client.ready(5_000);
});

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${httpOf(node)}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

test('an event stream has line feeds only: after a carriage return, eventsource for Node holds back the first event', async () => {
  const first = { id: 1, connect: { token: await tokenOf('guest') } };
  const query = new URLSearchParams({ cf_connect: JSON.stringify(first) });
  const { body } = await fetch(`${httpOf(node)}/connection/sse?${query}`);
  let text = '';
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.endsWith('\n\n')) break;
  }
  expect(text).toMatch(/^\ndata: \{"id":1,"connect":\{.*\}\}\n\n$/);
});

test('commands of a session that no node has are answered with 404; those of one that the node does not know with 204', async () => {
  const gone = await post('/emulation', { node: 'gone-0123456789', session: 'a', data: '{}' });
  expect([gone.status, await gone.json()]).toEqual([404, expect.objectContaining({ status: 404 })]);
  const client = await connectBy('http_stream', 'guest', node);
  // @ts-expect-error: not public.
  const { _session: session, _node: run } = client as { _session: string; _node: string };
  const ended = await post('/emulation', { node: run, session: `${session}x`, data: '{}' });
  expect([ended.status, ended.headers.get('content-length'), await ended.text()]).toEqual([204, null, '']);
});

test.each<[string, unknown, Record<string, string>, number]>([
  ['no JSON', 'hello', {}, 400],
  ['no session', { node: 'a', data: '' }, {}, 400],
  ['a name that is too long', { node: 'a'.repeat(300), session: 'a', data: '' }, {}, 400],
  ['a form', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
  ['Protobuf that is none', '\x05', { 'content-type': 'application/octet-stream' }, 400],
  ['too much', { node: 'a', session: 'a', data: 'x'.repeat(200_000) }, {}, 413],
  ['too much for another node', { node: 'gone-0123456789', session: 'a', data: '"'.repeat(50_000) }, {}, 413],
  ['a page of another origin', {}, { origin: 'https://evil.example' }, 403],
])('%s is refused, with a reason', async (_, body, headers, status) => {
  const answer = await post('/emulation', body, headers);
  expect(answer.status).toBe(status);
  expect((await answer.text()).length).toBeGreaterThan(20);
});

test('pages of the own origin may ask, and who asks by another method is told which one to use', async () => {
  const options = await fetch(`${httpOf(node)}/emulation`, {
    ...{ method: 'OPTIONS', headers: { origin: httpOf(node) } },
  });
  expect(options.headers.get('access-control-allow-origin')).toBe(httpOf(node));
  expect([options.status, options.headers.get('access-control-allow-methods')]).toEqual([200, 'POST, OPTIONS']);
  const get = await fetch(`${httpOf(node)}/connection/http_stream`);
  expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST, OPTIONS']);
});
