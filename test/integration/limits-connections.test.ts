/**
 * Limits on connections: per node, per user, and per client address, including which proxies may report that address.
 *
 * Clients other than 127.0.0.1 use other addresses of the loopback network, so these tests need no trusted proxy.
 */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { connect, connectWelcomed, HandshakeRefusedError } from '../support/client.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { handshake } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { enter, names, tokenOf } from './people.ts';

interface Origin {
  /** The address of the TCP connection. */
  from?: string;
  forwardedFor?: string | string[];
  /** Sends a PROXY v2 header before the handshake. */
  proxied?: string;
}

/** Opens a connection that stays; resolves with the status of the handshake. */
async function status(node: TestNode, { from = '127.0.0.1', forwardedFor, proxied }: Origin): Promise<number> {
  const socket: Socket = connectTcp({ port: node.port, host: '127.0.0.1', localAddress: from });
  onCleanup(() => socket.destroy());
  await once(socket, 'connect');
  const headers = forwardedFor === undefined ? {} : { 'X-Forwarded-For': forwardedFor };
  socket.write(Buffer.concat([proxied === undefined ? Buffer.alloc(0) : proxyHeader(proxied), handshake({ headers })]));
  const [bytes] = await once(socket, 'data', { signal: AbortSignal.timeout(5_000) });
  return Number(String(bytes).split(' ')[1]);
}

/** PROXY protocol version 2: a TCP connection over IPv4 from `address` (HAProxy's specification, section 2.2). */
function proxyHeader(address: string): Buffer {
  const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
  const addresses = [...address.split('.').map(Number), 127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90];
  return Buffer.concat([signature, Buffer.from([0x21, 0x11, 0, addresses.length, ...addresses])]);
}

describe('GATEWAY_MAX_CONNECTIONS', () => {
  test('a connection over the limit gets HTTP 503 with Retry-After, and is accepted when another has left', async () => {
    const node = await startNode({ MAX_CONNECTIONS: 2 });
    const [first, second] = [await enter(node, 'first'), await enter(node, 'second')];
    const refused = await connect(node.url, { token: await tokenOf('third') }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(HandshakeRefusedError);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
    expect(await metric(node, 'gateway_handshakes_rejected_total{reason="capacity"}')).toBe(1);

    await first.close();
    await until(() => enter(node, 'third'), 5_000, 'room for the third');
    expect(await second.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    expect(await metric(node, 'gateway_connections')).toBe(2);
  });
});

describe('GATEWAY_MAX_CONNECTIONS_PER_USER', () => {
  test('the newest stays and the oldest is closed with 4506, user by user', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_USER: 2 });
    const other = await enter(node, 'other');
    const clients = [await enter(node, 'user'), await enter(node, 'user')];
    for (let index = 0; index < 3; index++) {
      clients.push(await enter(node, 'user'));
      expect(await clients[index]?.closed).toMatchObject({ code: 4506 });
    }
    for (const client of [...clients.slice(3), other]) {
      expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    }
  });

  test('counts connections that authenticate by frame, and forgets those that left', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_USER: 1 });
    const first = await enter(node, 'user');
    const second = await connect(node.url);
    await second.request({ type: 'auth', token: await tokenOf('user') });
    expect(await first.closed).toMatchObject({ code: 4506 });
    await second.close();
    await until(async () => (await metric(node, 'gateway_connections')) === 0, 5_000, 'the node is empty');
    const third = await enter(node, 'user');
    expect(await third.request({ type: 'auth', token: await tokenOf('user') })).toMatchObject({ type: 'ok' });
    expect(await third.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });
});

describe('GATEWAY_MAX_CONNECTIONS_PER_IP', () => {
  test('a connection over the limit gets HTTP 429 with Retry-After; other addresses and later ones are accepted', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 2 });
    const first = await enter(node, 'first');
    await enter(node, 'second');
    const refused = await connect(node.url, { token: await tokenOf('third') }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
    expect(await status(node, { from: '127.0.0.2' })).toBe(101);
    await first.close();
    await until(async () => connectWelcomed(node.url, await tokenOf('third')), 5_000, 'room for the third');
    expect(await metric(node, 'gateway_handshakes_rejected_total{reason="address"}')).toBeGreaterThanOrEqual(1);
  });

  test('without trusted proxies X-Forwarded-For and PROXY headers are ignored', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 3 });
    expect(await status(node, { forwardedFor: '6.6.6.1' })).toBe(101);
    expect(await status(node, { proxied: '6.6.6.2' })).toBe(101);
    expect(await status(node, { forwardedFor: '6.6.6.3', proxied: '6.6.6.4' })).toBe(101);
    expect(await status(node, { forwardedFor: '6.6.6.5' })).toBe(429);
    expect(await status(node, { proxied: '6.6.6.6' })).toBe(429);
  });

  test('a trusted proxy is believed, any other peer is not', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 1, TRUSTED_PROXIES: '127.0.0.1, 127.1.0.0/16' });
    for (const address of ['6.6.6.1', '6.6.6.2', '2001:db8::1']) {
      expect(await status(node, { forwardedFor: address })).toBe(101);
      expect(await status(node, { forwardedFor: address, from: '127.1.2.3' })).toBe(429);
    }
    expect(await status(node, { proxied: '6.6.6.3' })).toBe(101);
    expect(await status(node, { proxied: '6.6.6.3', from: '127.1.2.3' })).toBe(429);
    // Not trusted: counted by its own address.
    expect(await status(node, { from: '127.2.0.1', forwardedFor: '6.6.6.4' })).toBe(101);
    expect(await status(node, { from: '127.2.0.1', forwardedFor: '6.6.6.5' })).toBe(429);
    expect(await status(node, { from: '127.2.0.1', proxied: '6.6.6.7' })).toBe(429);
    // The address it claimed is not counted.
    expect(await status(node, { forwardedFor: '6.6.6.5' })).toBe(101);
  });

  test('in a chain of hops the last one that is not a proxy counts; entries that a client wrote before it do not', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 1, TRUSTED_PROXIES: '127.0.0.1, 10.0.0.0/8' });
    expect(await status(node, { forwardedFor: '1.1.1.1, 7.7.7.7' })).toBe(101);
    expect(await status(node, { forwardedFor: '2.2.2.2, 7.7.7.7' })).toBe(429);
    expect(await status(node, { forwardedFor: '7.7.7.7, 10.1.1.1, 10.2.2.2' })).toBe(429);
    expect(await status(node, { forwardedFor: ['3.3.3.3', '7.7.7.7'] })).toBe(429);
    expect(await status(node, { forwardedFor: '::ffff:7.7.7.7' })).toBe(429);
    expect(await status(node, { forwardedFor: 'unknown, 8.8.8.8' })).toBe(101);
  });

  test('clients are distinguished in any notation of the proxy, and an IPv6 /64 counts as one', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 1, TRUSTED_PROXIES: '127.0.0.1' });
    expect(await status(node, { forwardedFor: '7.7.7.7:50001' })).toBe(101);
    expect(await status(node, { forwardedFor: '7.7.7.7:50002' })).toBe(429);
    expect(await status(node, { forwardedFor: '8.8.8.8:50001,' })).toBe(101);
    expect(await status(node, { forwardedFor: '[2001:db8:1:2::3]:50001' })).toBe(101);
    expect(await status(node, { forwardedFor: '2001:db8:1:2:3:4:5:6' })).toBe(429);
    expect(await status(node, { forwardedFor: '2001:db8:1:3::3' })).toBe(101);
  });

  test('a thousand refused handshakes leave nothing counted', async () => {
    const node = await startNode({ MAX_CONNECTIONS_PER_IP: 1 });
    const client = await enter(node, 'user');
    for (const round of names('', 10)) {
      const statuses = await Promise.all(names(round, 100).map(() => status(node, {})));
      expect(new Set(statuses)).toEqual(new Set([429]));
    }
    await client.close();
    await until(() => enter(node, 'user'), 5_000, 'the address is free again');
  });
});
