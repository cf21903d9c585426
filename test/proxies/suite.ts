/**
 * What docs/load-balancers.md promises of every load balancer: the four public paths work, nothing is held back, nothing else is
 * reached in whatever spelling, the gateway knows the client's address, and a node may stop or die.
 *
 * It needs a function that starts a load balancer before two nodes. It knows none of them.
 */
import { connect as connectTcp } from 'node:net';
import { beforeAll, expect, test } from 'vitest';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connect, connectWelcomed, HandshakeRefusedError } from '../support/client.ts';
import { EventStream } from '../support/event-stream.ts';
import { beginPoll, poll, positionOf } from '../support/poll.ts';
import { type Headers, handshake, httpRequest, RawSocket } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { api, apiKey, connectionsOf, type Nodes, startNodes } from './nodes.ts';
import { handshakePaths, refusedPaths } from './paths.ts';
import type { StartedProxy } from './proxy.ts';

export type Start = (nodes: Nodes) => Promise<StartedProxy>;

/** A proxy may answer what it cannot forward by itself. */
const refusals = [400, 404, 405, 408, 414, 421, 426, 501, 502, 505];

/** `controlCharacterMs`: the longest time until a header with a control character is answered. */
export function trafficSuite(start: Start, controlCharacterMs = 1_000): void {
  let nodes: Nodes;
  let proxy: StartedProxy;
  let token: string;
  const url = () => `ws://127.0.0.1:${proxy.port}/ws`;
  const first = () => nodes.nodes[0]?.host ?? '';

  beforeAll(async () => {
    nodes = await startNodes();
    proxy = await start(nodes);
    token = await tokenOf('user');
  });

  const post = (room: string, body: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${proxy.port}/rooms/${encodeURIComponent(room)}/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      body,
    });

  test('clients are spread over both nodes, and hear each other; close codes come through', async () => {
    const room = randomRoom();
    const users = ['a', 'b', 'c', 'd'].map((name) => randomRoom(name));
    const clients = await Promise.all(users.map(async (user) => connectWelcomed(url(), await tokenOf(user))));
    for (const client of clients) await client.subscribe(room);
    for (const { host } of nodes.nodes) expect(await connectionsOf(nodes, host)).toBeGreaterThan(0);
    clients[0]?.send({ type: 'publish', room, data: 'hello' });
    for (const client of clients) expect(await client.next('message')).toMatchObject({ data: 'hello', from: users[0] });
    await api(nodes, first(), `/users/${users[1]}/disconnect`, {});
    expect(await clients[1]?.closed).toMatchObject({ code: 4503 });
  });

  test('a token of 12 KiB comes through', async () => {
    const headers = { cookie: `padding=${'x'.repeat(12_000)}` };
    await (await connectWelcomed(url(), token, { headers })).close();
  });

  test('a stream gets each publish at once, in rooms with any character of their grammar', async () => {
    for (const room of [randomRoom(), randomRoom('a/b#c~d=e+f%g|h,i!j@k$l_m-n.o')]) {
      const stream = await EventStream.open(proxy, room, { token });
      let fastestMs = Number.POSITIVE_INFINITY;
      for (let data = 0; data < 20; data++) {
        const began = performance.now();
        expect((await post(room, JSON.stringify({ data }))).status).toBe(200);
        await stream.next('message');
        fastestMs = Math.min(fastestMs, performance.now() - began);
      }
      expect(stream.heard).toEqual(Array.from({ length: 20 }, (_, data) => data));
      expect(fastestMs).toBeLessThan(150);
      stream.abort();
    }
  });

  test('a poll gets the next message at once, and refusals come with their problem', async () => {
    const room = randomRoom('kept');
    const since = positionOf(await poll(proxy, room, { token }));
    const { answer } = beginPoll(proxy, room, { token, since });
    expect((await post(room, '{"data":1}')).status).toBe(200);
    expect(JSON.parse((await answer).text)).toMatchObject({ messages: [{ data: 1 }], recovered: true });
    const refused = await post(room, JSON.stringify({ data: 'x'.repeat(70_000) }));
    expect(refused.status).toBe(413);
    expect(await refused.json()).toMatchObject({ type: 'https://roomcast.dev/problems/too_large' });
  });

  test('an end of a stream or of a poll by the client reaches the node', async () => {
    const room = randomRoom('kept');
    const there = async () => {
      const { connections } = await api(nodes, first(), `/connections?room=${room}`);
      return (connections as unknown[]).length;
    };
    const stream = await EventStream.open(proxy, room, { token });
    const since = positionOf(await poll(proxy, room, { token }));
    const waiting = beginPoll(proxy, room, { token, since });
    await until(async () => (await there()) === 2, 5_000, 'both are there');
    stream.abort();
    waiting.abort();
    await until(async () => (await there()) === 0, 10_000, 'none is left');
  });

  test('an idle socket, an idle stream and a poll of 25 s outlive 35 s', { timeout: 60_000 }, async () => {
    const room = randomRoom('kept');
    const client = await connectWelcomed(url(), token);
    await client.subscribe(room);
    const stream = await EventStream.open(proxy, room, { token });
    const since = positionOf(await poll(proxy, room, { token }));
    const began = performance.now();
    const { status, text } = await beginPoll(proxy, room, { token, since, wait: 25 }).answer;
    expect([status, JSON.parse(text).messages]).toEqual([200, []]);
    // The first comment after 35 s.
    await until(() => performance.now() - began > 35_000 && stream.comments.length > 1, 55_000, '35 s are over');
    expect((await post(room, '{"data":"late"}')).status).toBe(200);
    await client.next((frame) => frame.type === 'message' && frame.data === 'late');
    await stream.next('message');
  });

  test('the gateway sees the address of the client, whatever the client says', async () => {
    const room = randomRoom();
    const [streaming, connected] = [randomRoom('streaming'), randomRoom('connected')];
    const lies = 'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=6.6.6.6\r\n';
    const path = `/rooms/${room}/events`;
    const requests = [
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${await tokenOf(streaming)}\r\n${lies}\r\n`,
      handshake({ headers: { Authorization: `Bearer ${await tokenOf(connected)}` } })
        .toString()
        .replace('\r\n\r\n', `\r\n${lies}\r\n`),
    ];
    for (const request of requests) {
      const socket = connectTcp({ port: proxy.port, host: '127.0.0.1', localAddress: '127.0.0.77' });
      onCleanup(() => socket.destroy());
      socket.write(request);
    }
    for (const user of [streaming, connected]) {
      const address = await until(
        async () => {
          const { connections } = await api(nodes, first(), `/connections?user=${user}`);
          return (connections as { address: string }[])[0]?.address;
        },
        5_000,
        `${user} is connected`,
      );
      expect(address).toBe('127.0.0.77');
    }
  });

  test.each(refusedPaths)('%s leads nowhere', async (path) => {
    const headers = { Host: 'localhost', Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };
    for (const method of ['GET', 'POST']) {
      const body =
        method === 'POST' ? { headers: { ...headers, 'Content-Length': '10' }, body: '{"data":1}' } : { headers };
      const socket = await RawSocket.connect(proxy.port);
      await socket.write(httpRequest({ method, path, ...body }));
      const { status, head } = await socket.response();
      expect(refusals, `${method} ${path}\n${head}`).toContain(status);
      expect(head).not.toMatch(/json|text\/plain; version/);
      // Said by the proxy: the node, whose library names itself, never saw it. Proxies change the case of names.
      expect(head).not.toMatch(/uwebsockets/i);
    }
  });

  test.each(handshakePaths)('%s is no path of a handshake', async (path) => {
    const socket = await RawSocket.connect(proxy.port);
    await socket.write(handshake({ path }));
    expect(refusals).toContain((await socket.response()).status);
  });

  test('RFC 9110 5.5: requests with a control character in a header disturb nobody else', async () => {
    const sockets = await Promise.all(Array.from({ length: 6 }, () => RawSocket.connect(proxy.port)));
    for (const socket of sockets) await socket.write(handshake({ headers: { 'X-Anything': 'a\x01b' } }));
    await (await connectWelcomed(url(), token)).close();
    await Promise.all(
      sockets.map(async (socket) => {
        expect([400, 502]).toContain((await socket.response(controlCharacterMs)).status);
        await (await connectWelcomed(url(), token)).close();
      }),
    );
  }, 40_000);

  test('requests that break off take no node away from others', async () => {
    const room = randomRoom();
    const authorized = { Host: 'localhost', Authorization: `Bearer ${token}` };
    const publish = (headers: Headers, body: string) =>
      httpRequest({
        ...{ method: 'POST', path: `/rooms/${room}/messages`, body },
        headers: { ...authorized, 'Content-Type': 'application/json', ...headers },
      });
    const abuses: [string, Buffer][] = [
      ['half of a head', httpRequest({ path: '/healthz', headers: authorized }).subarray(0, -2)],
      ['half of a body', publish({ 'Content-Length': '100' }, '{"data":')],
      ['half of a body after 100', publish({ 'Content-Length': '100', Expect: '100-continue' }, '{"data":')],
      ['half of a chunk', publish({ 'Transfer-Encoding': 'chunked' }, '40\r\n{"data":')],
      ['what is no chunk', publish({ 'Transfer-Encoding': 'chunked' }, 'x\r\n{"data":1}\r\n0\r\n\r\n')],
      ['a stream', httpRequest({ path: `/rooms/${room}/events`, headers: authorized })],
      ['a poll', httpRequest({ path: `/rooms/${room}/messages`, headers: authorized })],
      ['a handshake', handshake({ headers: authorized })],
      ['a handshake and a broken frame', Buffer.concat([handshake({ headers: authorized }), Buffer.alloc(20, 0xff)])],
    ];
    for (const [abuse, bytes] of abuses) {
      // At once, and after what came within 100 ms: often enough for both nodes.
      for (const waitMs of Array.from({ length: 12 }, (_, index) => (index % 2) * 100)) {
        const socket = await RawSocket.connect(proxy.port);
        await socket.write(bytes);
        if (waitMs > 0) await socket.response(waitMs).catch(() => undefined);
        socket.destroy();
      }
      expect((await post(room, '{"data":1}')).status, abuse).toBe(200);
      await (await connectWelcomed(url(), token)).close();
    }
  });

  test.each<[string, Headers]>([
    ['no Upgrade', { Upgrade: null }],
    ['an Upgrade to something else', { Upgrade: 'h2c' }],
    ['no Connection', { Connection: null }],
    ['Connection without upgrade', { Connection: 'keep-alive' }],
    ['no key', { 'Sec-WebSocket-Key': null }],
    ['a key of 15 bytes', { 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' }],
    ['version 8', { 'Sec-WebSocket-Version': '8' }],
    ['two Hosts', { Host: ['localhost', 'elsewhere.example'] }],
    ['no Host', { Host: null }],
  ])('RFC 6455 4.2.1: a handshake with %s is refused', async (_, headers) => {
    const socket = await RawSocket.connect(proxy.port);
    await socket.write(handshake({ headers }));
    expect(refusals).toContain((await socket.response()).status);
  });

  test('RFC 6455 4.2.2: a subprotocol that is not spoken, and a foreign page, are refused', async () => {
    const refused = async (options: object) => {
      const error = await connect(url(), options).catch((reason: unknown) => reason);
      return error instanceof HandshakeRefusedError ? error.status : error;
    };
    expect(await refused({ protocols: ['chat'] })).toBe(400);
    expect(await refused({ headers: { origin: 'https://elsewhere.example' } })).toBe(403);
    await (await connectWelcomed(url(), token, { headers: { origin: `http://127.0.0.1:${proxy.port}` } })).close();
  });

  test('RFC 9112 11.2: a request in the body of another one is never done', async () => {
    const room = randomRoom();
    const listener = await connectWelcomed(url(), token);
    await listener.subscribe(room);
    const data = '{"data":"smuggled"}';
    const headers = { Host: 'localhost', Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const hidden = httpRequest({
      ...{ method: 'POST', path: `/rooms/${room}/messages`, body: data },
      headers: { ...headers, 'Content-Length': `${data.length}` },
    }).toString('latin1');
    const lengths: Headers[] = [
      { 'Content-Length': ['0', `${hidden.length}`] },
      { 'Content-Length': [`${hidden.length}`, '0'] },
      { 'Content-Length': `0, ${hidden.length}` },
      { 'Content-Length': `+${hidden.length}` },
      { 'Content-Length': '0', 'Transfer-Encoding': 'chunked' },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding': 'gzip' },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding': 'xchunked' },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding': '' },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding': 'chunked, identity' },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding': ['chunked', 'identity'] },
      { 'Content-Length': `${hidden.length}`, 'Transfer-Encoding ': 'chunked' },
    ];
    const bodyOf = (length: Headers) =>
      'Transfer-Encoding' in length ? `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n` : hidden;
    for (const length of lengths) {
      const targets = [
        ['POST', '/rooms/other/messages'],
        ['GET', '/healthz'],
        ['GET', '/ws'],
      ] as const;
      for (const [method, path] of targets) {
        const socket = await RawSocket.connect(proxy.port);
        const request = {
          path: path ?? '',
          body: bodyOf(length),
          headers: { ...headers, Connection: 'close', ...length },
        };
        await socket.write(
          path === '/ws' ? handshake({ ...request, headers: length }) : httpRequest({ method, ...request }),
        );
        await socket.response();
        socket.destroy();
      }
    }
    expect((await post(room, '{"data":"last"}')).status).toBe(200);
    await listener.next((frame) => frame.type === 'message' && frame.data === 'last');
    const heard = listener.frames.flatMap((frame) => (frame.type === 'message' ? [frame.data] : []));
    expect(heard).toEqual(['last']);
  });
}
