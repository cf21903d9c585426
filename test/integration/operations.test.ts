/**
 * What an operator does to a node: starts it (well and badly), looks at it, stops it.
 */
import { describe, expect, inject, test } from 'vitest';
import { connect, HandshakeRefusedError } from '../support/client.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';
import { get, metric, readiness, scrape } from './admin.ts';
import { roomsFile, writeFile } from './files.ts';
import { carrying, enter, join, names, randomRoom } from './people.ts';
import { run } from './program.ts';

const good = { GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0', GATEWAY_JWT_SECRET: testSecret };

describe('starting', () => {
  test('tells all mistakes at once, on standard error, without secrets, and exits with 1', async () => {
    const program = run({
      ...good,
      GATEWAY_JWT_SECRET: 'short-secret',
      GATEWAY_PORT: 'http',
      GATEWAY_MAX_MESSAGE_BYTES: '-1',
      GATEWAY_ANONYMOUS: 'yes',
      GATEWAY_REDIS_URL: 'postgres://:database-password@127.0.0.1',
      GATEWAY_MAX_CONECTIONS: '10',
      GATEWAY_TLS_CERT_FILE: '/no/such/certificate',
      GATEWAY_TLS_KEY_FILE: '/no/such/key',
      GATEWAY_TRUSTED_PROXIES: '10.0.0.0/99',
      GATEWAY_ROOMS_FILE: roomsFile(
        { match: 'a:*', history: { size: 0 } },
        { match: 'b:*', slow: 'last' },
        { match: 'c:*', presence: 1 },
        { match: 'd:*', subscribe: 'everybody' },
      ),
    });
    expect(await program.ended()).toBe(1);
    for (const name of [
      'GATEWAY_JWT_SECRET',
      'GATEWAY_PORT',
      'GATEWAY_MAX_MESSAGE_BYTES',
      'GATEWAY_ANONYMOUS',
      'GATEWAY_REDIS_URL',
      'GATEWAY_MAX_CONECTIONS',
      '/no/such/certificate',
      '/no/such/key',
      'GATEWAY_TRUSTED_PROXIES',
      'history',
      'latest',
      'presence',
      'rooms.3',
    ]) {
      expect(program.errors()).toContain(name);
    }
    expect(program.errors()).not.toMatch(/short-secret|database-password|\n\s+at /);
    expect(program.output()).not.toContain('listening');
  });

  test('in production without a key is refused, and says which settings would do', async () => {
    const { GATEWAY_JWT_SECRET: _, ...keyless } = good;
    const program = run({ ...keyless, NODE_ENV: 'production' });
    expect(await program.ended()).toBe(1);
    expect(program.errors()).toMatch(/GATEWAY_JWT_SECRET.*GATEWAY_JWT_PUBLIC_KEY.*GATEWAY_JWT_JWKS_URL/);
  });

  test('two nodes never share a port quietly', async () => {
    const node = await spawnNode();
    await expect(spawnNode({ PORT: node.port })).rejects.toThrow(/port/);
    expect(await (await enter(node, 'user')).request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });

  test('takes a secret from a file, and ignores Kubernetes service links with a warning', async () => {
    const { GATEWAY_JWT_SECRET: _, ...keyless } = good;
    const program = run({
      ...keyless,
      GATEWAY_JWT_SECRET_FILE: writeFile('secret', `${testSecret}\n`),
      GATEWAY_SERVICE_HOST: '10.0.0.1',
      GATEWAY_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
    });
    const port = await untilListening(program.output);
    const client = await enter({ url: `ws://127.0.0.1:${port}/ws` }, 'user');
    expect(client.frames[0]).toMatchObject({ user: 'user' });
    for (const name of ['GATEWAY_SERVICE_HOST', 'GATEWAY_PORT_8080_TCP']) expect(program.output()).toContain(name);
    expect(program.output()).not.toContain(testSecret);
  });
});

describe('stopping', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'by %s closes every client with 4001, takes no new one, exits with 0',
    async (signal) => {
      const node = await spawnNode({ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') });
      const other = await spawnNode({ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') });
      const room = randomRoom();
      const clients = await Promise.all(names('user', 50).map((user) => join(node, user, room)));
      const unwelcome = await connect(node.url);
      const survivor = await join(other, 'survivor', room);
      await clients[0]?.publish(room, 'before');
      node.kill(signal);
      for (const client of [...clients, unwelcome]) expect(await client.closed).toMatchObject({ code: 4001 });
      await expect(connect(node.url)).rejects.toThrow();
      expect(await node.exited).toEqual({ code: 0, signal: null });
      await survivor.next(carrying(room, 'before'));
      await survivor.publish(room, 'after');
      await survivor.next(carrying(room, 'after'));
      for (const line of node.logs) expect(['info', 'warn']).toContain(line.level);
    },
  );

  test('a client that reads nothing and answers nothing does not hold it up', async () => {
    const node = await spawnNode();
    const silent = await RawSocket.connect(node.port);
    await silent.write(handshake());
    await silent.response();
    const began = performance.now();
    node.kill('SIGTERM');
    expect(await node.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - began).toBeLessThan(3_000);
  });

  test('a signal that comes the moment the node listens is obeyed like any other', async () => {
    for (let attempt = 0; attempt < 3; attempt++) {
      const node = await spawnNode();
      node.kill('SIGTERM');
      expect(await node.exited).toEqual({ code: 0, signal: null });
    }
  });
});

describe('looking', () => {
  test('/metrics holds what the design promises, in base units, and counts what happened', async () => {
    const node = await startNode({
      NODE_ID: 'looked-at',
      REDIS_URL: inject('redisUrl'),
      REDIS_PREFIX: inject('redisPrefix'),
      PING_INTERVAL_MS: 200,
    });
    const room = randomRoom();
    const members = await Promise.all(names('member', 3).map((user) => join(node, user, room)));
    await members[0]?.publish(room, 'hello');
    for (const member of members) await member.next(carrying(room, 'hello'));
    await members[2]?.close();
    const refused = await connect(node.url, { headers: { origin: 'https://evil.example' } }).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(HandshakeRefusedError);
    await until(async () => (await metric(node, 'gateway_ping_rtt_seconds_count')) > 0, 5_000, 'a ping is answered');
    await until(
      async () => (await metric(node, 'gateway_backplane_rtt_seconds_count')) > 0,
      5_000,
      'the canary is back',
    );
    await until(async () => (await metric(node, 'gateway_connections')) === 2, 5_000, 'two connections');

    const series = await scrape(node);
    const expected: Record<string, number> = {
      gateway_connections: 2,
      gateway_connections_opened_total: 3,
      'gateway_connections_closed_total{code="1000"}': 1,
      'gateway_handshakes_rejected_total{reason="origin"}': 1,
      gateway_rooms: 1,
      gateway_subscriptions: 2,
      'gateway_messages_published_total{source="client"}': 1,
      gateway_messages_delivered_total: 3,
      gateway_heartbeat_timeouts_total: 0,
      gateway_backplane_up: 1,
      gateway_backplane_reconnects_total: 0,
      gateway_fanout_seconds_count: 1,
      gateway_buffered_bytes: 0,
    };
    for (const [name, value] of Object.entries(expected)) expect(series.get(name), name).toBe(value);
    const all = [...series.keys()].join('\n');
    for (const name of [
      'gateway_event_loop_lag_seconds_bucket',
      'gateway_slow_connections{policy="drop"}',
      'gateway_messages_dropped_total{reason="slow"}',
      'gateway_gaps_total{reason="backplane",healed="false"}',
      'process_resident_memory_bytes',
    ]) {
      expect(all).toContain(name);
    }
    expect(all).toMatch(/gateway_info\{version="[^"]+",node="looked-at"\}/);
    expect(all).not.toContain(room);
    expect(all).not.toContain('member0');
  });

  test('/metrics is Prometheus text that says what each metric is', async () => {
    const node = await startNode();
    const response = await get(node, '/metrics');
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
    const text = await response.text();
    const typed = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
    for (const name of (await scrape(node)).keys()) {
      expect(typed).toContain(name.replace(/\{.*$/, '').replace(/_(bucket|sum|count)$/, ''));
    }
  });

  test('/healthz and /readyz answer, anything else is 404, and nothing of it is on the public port', async () => {
    const node = await startNode();
    expect((await get(node, '/healthz')).status).toBe(200);
    expect(await readiness(node)).toBe(200);
    expect((await get(node, '/')).status).toBe(404);
    for (const [path, status] of [
      ['/healthz', 200],
      ['/metrics', 404],
      ['/readyz', 404],
      ['/', 404],
      ['/ws', 426],
    ] as const) {
      expect((await fetch(`http://127.0.0.1:${node.port}${path}`)).status).toBe(status);
    }
    expect((await fetch(`http://127.0.0.1:${node.port}/healthz`, { method: 'HEAD' })).status).toBe(200);
  });
});

async function untilListening(output: () => string): Promise<number> {
  const port = () => /"port":(\d+)/.exec(output())?.[1];
  return Number(await until(port, 10_000, 'the program listens'));
}
