/**
 * The admin port as HTTP: what it takes and refuses whatever the path, its bound on connections, and large answers to slow
 * readers. Deviations from HTTP are those of the library, and stand in docs/operations.md.
 */
import { connect } from 'node:net';
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { Exchange } from '../../gateway/http/exchange.ts';
import { Port } from '../../gateway/http/library.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { httpRequest, RawSocket, valuesOf } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { get, readiness } from './admin.ts';
import { apiKey, call } from './api.ts';

let node: SpawnedNode;
beforeAll(async () => {
  node = await spawnNode({ API_KEY: apiKey });
});

async function ask(path: string, request: Parameters<typeof httpRequest>[0] = {}): Promise<RawSocket> {
  const socket = await RawSocket.connect(node.adminPort);
  await socket.write(httpRequest({ path, headers: { Host: 'localhost' }, ...request }));
  return socket;
}

describe.each(['/healthz', '/readyz', '/metrics'])('%s', (path) => {
  test('answers GET, and HEAD with the same head and no body', async () => {
    const whole = await get(node, path);
    expect(whole.status).toBe(200);
    const text = await whole.text();
    expect(text.length).toBeGreaterThan(2);
    const head = await call(node, 'HEAD', path);
    expect([head.status, head.text, head.headers['content-type']]).toEqual([
      200,
      '',
      whole.headers.get('content-type'),
    ]);
    expect(Number(head.headers['content-length'])).toBeGreaterThan(2);
  });

  test('answers other methods by 405 with Allow', async () => {
    for (const method of ['POST', 'DELETE', 'OPTIONS', 'TRACE']) {
      expect(await call(node, method, path, { body: 'x' })).toMatchObject({
        status: 405,
        headers: { allow: 'GET, HEAD' },
      });
    }
  });

  test('takes a query, and no other spelling of the path', async () => {
    expect((await call(node, 'GET', `${path}?a=1`)).status).toBe(200);
    for (const other of [`/${path}`, `${path}/`, path.toUpperCase(), path.replace('z', '%7A').replace('m', '%6D')]) {
      expect((await call(node, 'GET', other)).status, other).toBe(404);
    }
  });
});

test('RFC 9112 2.5: HTTP/1.0 gets 505 (deviation), so health checks have to say HTTP/1.1', async () => {
  const socket = await ask('/readyz', { version: 'HTTP/1.0' });
  expect((await socket.response()).status).toBe(505);
  await socket.ended();
});

test('requests with immediate answers may be pipelined', async () => {
  const socket = await RawSocket.connect(node.adminPort);
  const one = httpRequest({ path: '/healthz', headers: { Host: 'localhost' } });
  await socket.write(Buffer.concat([one, one, one]));
  for (let answers = 0; answers < 3; answers++) {
    const answer = await socket.response();
    expect(answer.status).toBe(200);
    await socket.skip(Number(valuesOf(answer, 'content-length')[0]));
  }
});

test('RFC 9112 9.3.2: a request behind one that waits for its answer ends the connection (deviation)', async () => {
  const body = '{"data":1}';
  const headers = {
    Host: 'localhost',
    'X-API-Key': apiKey,
    'Content-Type': 'application/json',
    'Content-Length': '10',
  };
  const one = httpRequest({ method: 'POST', path: '/api/rooms/a/messages', headers, body });
  const shared = await spawnNode({
    API_KEY: apiKey,
    REDIS_URL: inject('redisUrl'),
    REDIS_PREFIX: inject('redisPrefix'),
  });
  await until(async () => (await readiness(shared)) === 200, 10_000, 'the node is ready');
  const socket = await RawSocket.connect(shared.adminPort);
  await socket.write(Buffer.concat([one, one]));
  await socket.ended();
  expect(await readiness(shared)).toBe(200);
});

test('connections over 128 are closed at once, and have room again when others end', async () => {
  const own = await spawnNode({});
  const open = async () => {
    const socket = await RawSocket.connect(own.adminPort);
    await socket.write(httpRequest({ path: '/healthz', headers: { Host: 'localhost' } }));
    return socket;
  };
  const sockets = await Promise.all(Array.from({ length: 128 }, open));
  for (const socket of sockets) expect((await socket.response()).status).toBe(200);
  await (await RawSocket.connect(own.adminPort)).ended();
  for (const socket of sockets) socket.destroy();
  await until(async () => (await get(own, '/healthz')).status === 200, 5_000, 'there is room again');
});

describe('a port', () => {
  const bytes = 40_000_000;

  /** Answers GET / with a text that is longer than the kernel buffers. */
  async function largePort(): Promise<number> {
    const port = new Port(createLog('silent'), 10);
    onCleanup(() => port.close());
    const body = 'x'.repeat(bytes);
    port.on('GET', '/', (res, request) => new Exchange(res, request).answer({ status: '200 OK', headers: {}, body }));
    port.on('GET', '/fault', () => {
      throw new Error('a fault');
    });
    return port.listen({ host: '127.0.0.1', port: 0, hostSetting: 'HOST', portSetting: 'PORT' });
  }

  test('hands a large answer to a slow reader whole, as fast as it reads and without a busy loop', async () => {
    const socket = connect(await largePort(), '127.0.0.1');
    onCleanup(() => socket.destroy());
    socket.pause();
    socket.write(httpRequest({ headers: { Host: 'localhost' } }));
    let read = 0;
    const before = process.cpuUsage();
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000 / (performance.now() - began)).toBeLessThan(0.7);
    let end = '';
    socket.on('data', (chunk) => {
      read += chunk.length;
      end = chunk.toString('latin1').slice(-1);
    });
    socket.resume();
    await until(() => read > bytes, 10_000, 'all has come');
    expect(end).toBe('x');
  });

  test('closes the connection of a handler that throws, and goes on', async () => {
    const port = await largePort();
    const socket = await RawSocket.connect(port);
    await socket.write(httpRequest({ path: '/fault', headers: { Host: 'localhost' } }));
    await socket.ended();
    const other = await RawSocket.connect(port);
    await other.write(httpRequest({ headers: { Host: 'localhost' } }));
    expect((await other.response()).status).toBe(200);
  });
});
