/** One request to a real HTTP server: what counts as taken, how long it may take, and that another implementation accepts it. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { expect, test } from 'vitest';
import { readSecrets, signedHeaders } from '../../../gateway/auth/signature.ts';
import { Receiver, readReceiverUrl, readRetryAfter } from '../../../gateway/webhooks/receiver.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';

const secret = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
const other = `whsec_${Buffer.alloc(64, 2).toString('base64')}`;

async function serving(listener: RequestListener, { path = '', timeoutMs = 10_000 } = {}) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = new URL(`http://127.0.0.1:${port}${path}`);
  const receiver = new Receiver({ url, secrets: readSecrets(secret), version: '1.2.3', timeoutMs });
  onCleanup(() => {
    receiver.close();
    server.closeAllConnections();
    server.close();
  });
  return { receiver, server };
}

test('a request is signed so that standardwebhooks accepts it, by any of several secrets', async () => {
  const body = '{"events":[{"type":"room.occupied","room":"é😀"}]}';
  const headers = signedHeaders(readSecrets(`${secret}, ${other}`), 'msg_1', Math.floor(Date.now() / 1000), body);
  for (const known of [secret, other]) expect(new Webhook(known).verify(body, headers)).toEqual(JSON.parse(body));
  const foreign = `whsec_${Buffer.alloc(32, 3).toString('base64')}`;
  expect(() => new Webhook(foreign).verify(body, headers)).toThrow();
  expect(() => new Webhook(secret).verify(`${body} `, headers)).toThrow();
});

test('what it sends says what it is, to the path and the query of the URL', async () => {
  const seen: IncomingMessage[] = [];
  const { receiver } = await serving(
    (request, response) => {
      seen.push(request);
      response.end();
    },
    { path: '/hook?key=1' },
  );
  expect(await receiver.post('msg_1', '{}')).toEqual({ delivered: true });
  expect(seen[0]).toMatchObject({ method: 'POST', url: '/hook?key=1' });
  expect(seen[0]?.headers).toMatchObject({
    'content-type': 'application/json',
    'content-length': '2',
    'user-agent': 'Roomcast/1.2.3',
    'webhook-id': 'msg_1',
  });
});

test('requests use one connection, one after the other', async () => {
  const ports = new Set<number | undefined>();
  const { receiver } = await serving((request, response) => {
    ports.add(request.socket.remotePort);
    response.end('x'.repeat(1_000));
  });
  for (let round = 0; round < 5; round++) expect(await receiver.post('msg_1', '{}')).toEqual({ delivered: true });
  expect(ports.size).toBe(1);
});

test.each([
  [200, {}, { delivered: true }],
  [204, {}, { delivered: true }],
  [400, {}, { delivered: false, reason: 'HTTP 400' }],
  [500, { 'retry-after': '7' }, { delivered: false, reason: 'HTTP 500' }],
  [429, { 'retry-after': '7' }, { delivered: false, reason: 'HTTP 429', retryAfterMs: 7_000 }],
  [503, { 'retry-after': 'soon' }, { delivered: false, reason: 'HTTP 503' }],
])('status %i with %o is %o', async (status, headers, outcome) => {
  const { receiver } = await serving((_, response) => response.writeHead(status, headers).end());
  expect(await receiver.post('msg_1', '{}')).toEqual(outcome);
});

test('a redirect is not followed, and the reason says so', async () => {
  let requests = 0;
  const { receiver } = await serving((_, response) => {
    requests++;
    response.writeHead(307, { location: '/elsewhere' }).end();
  });
  const outcome = await receiver.post('msg_1', '{}');
  expect(outcome).toEqual({ delivered: false, reason: 'HTTP 307; redirects are not followed' });
  expect(requests).toBe(1);
});

test('a receiver that never answers is given up after the time limit; the next request works', async () => {
  let hangs = true;
  const answering: RequestListener = (_, response) => {
    if (!hangs) response.end();
  };
  const { receiver } = await serving(answering, { timeoutMs: 300 });
  expect(await receiver.post('msg_1', '{}')).toEqual({ delivered: false, reason: 'no answer within 300 ms' });
  hangs = false;
  // A busy machine may need more than one try.
  await until(async () => (await receiver.post('msg_1', '{}')).delivered, 10_000, 'a request is taken');
});

test('an answer without end counts by its status, and neither fills memory nor holds up the next request', async () => {
  const closed: Promise<unknown>[] = [];
  const { receiver } = await serving((request, response) => {
    // Reset by the receiver: an error comes first.
    request.socket.on('error', () => undefined);
    closed.push(new Promise((resolve) => request.socket.once('close', resolve)));
    const pour = () => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    };
    response.on('drain', pour);
    pour();
  });
  expect(await receiver.post('msg_1', '{}')).toEqual({ delivered: true });
  expect(await receiver.post('msg_2', '{}')).toEqual({ delivered: true });
  await Promise.all(closed);
});

test('a receiver that is not there, or cuts the connection, is a reason and no exception', async () => {
  const { receiver, server } = await serving((request) => request.socket.destroy());
  expect(await receiver.post('msg_1', '{}')).toMatchObject({ delivered: false, reason: 'ECONNRESET' });
  server.close();
  await once(server, 'close');
  expect(await receiver.post('msg_1', '{}')).toEqual({ delivered: false, reason: 'ECONNREFUSED' });
});

test.each([
  ['0', 0],
  ['120', 120_000],
  ['Sat, 28 Nov 2026 12:00:10 GMT', 10_000],
  ['Sat, 28 Nov 2026 11:00:00 GMT', 0],
  ['later', undefined],
  [undefined, undefined],
])('Retry-After %o is %o', (text, ms) => {
  expect(readRetryAfter(text, Date.parse('2026-11-28T12:00:00Z'))).toBe(ms);
});

test.each([
  ['hook', 'must be a URL that begins with https:// or http://'],
  ['https:/a/b', 'must be a URL that begins with https:// or http://'],
  ['https:///a/b', 'must be a URL that begins with https:// or http://, and a host'],
  ['https://user:100%@a/b', 'has a user or a password with a % that stands for nothing; write % as %25'],
  ['ftp://a/b', 'must be a URL that begins with https:// or http://'],
  ['https://a/b#c', 'has a # part, which is never sent to a server; leave it out'],
])('the URL %s is a mistake: %s', (text, message) => {
  expect(() => readReceiverUrl(text)).toThrow(message);
});

test.each([
  ['', 'must name a secret'],
  ['secret', 'must be whsec_ and the base64 of 24 to 64 bytes'],
  ['whsec_', 'must be whsec_ and the base64 of 24 to 64 bytes'],
  [`whsec_${Buffer.alloc(23).toString('base64')}`, 'must be whsec_ and the base64 of 24 to 64 bytes'],
  [`whsec_${Buffer.alloc(65).toString('base64')}`, 'must be whsec_ and the base64 of 24 to 64 bytes'],
  [`whsec_${Buffer.alloc(32).toString('base64')}!`, 'must be whsec_ and the base64 of 24 to 64 bytes'],
  [`${secret},${secret},${secret},${secret},${secret}`, 'must have at most 4 secrets'],
])('the secret %s is a mistake: %s', (text, message) => {
  expect(() => readSecrets(text)).toThrow(message);
});
