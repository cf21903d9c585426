/**
 * The log of a node: JSON lines only, whatever a client writes, and never a token or a secret in any of them.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { subprotocol } from '../../shared/protocol.ts';
import { connect } from '../support/client.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { forgeToken, mintToken, testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';
import { readiness } from './admin.ts';
import { enter, everywhere, randomRoom } from './people.ts';

test('no line holds a token, a secret or a line that a client made up, at the most talkative level', async () => {
  const password = 'a-password-of-redis';
  const redis = await ownRedis();
  const setup = new Redis(redis.url);
  await setup.config('SET', 'requirepass', password);
  setup.disconnect();
  const address = new URL(redis.url);
  address.password = password;
  const url = address.href;
  const node = await spawnNode({ REDIS_URL: url, LOG_LEVEL: 'trace', AUTH_QUERY: true, AUTH_COOKIE: 'session' });
  await until(async () => (await readiness(node)) === 200, 5_000, 'the node is ready');

  const evil = 'x\r\n{"level":"error","msg":"made up"}\u001b[2J%s%o';
  const good = await mintToken({ sub: evil, rooms: everywhere });
  const bad = [
    forgeToken({ alg: 'HS256' }, { sub: 'user', exp: 1 }, testSecret),
    forgeToken({ alg: 'HS256' }, { sub: 'user', exp: 4_000_000_000 }, 'somebody-elses-secret-of-32-bytes-or-more'),
    forgeToken({ alg: 'none' }, { sub: 'user', exp: 4_000_000_000 }, null),
    forgeToken({ alg: 'HS256' }, { sub: 'user', exp: 4_000_000_000, rooms: { [evil]: ['subscribe'] } }, testSecret),
    forgeToken({ alg: 'HS256', crit: [evil] }, { sub: 'user', exp: 4_000_000_000 }, testSecret),
    `${'garbage-that-is-a-token-'.repeat(20)}`,
  ];

  // Every way in, with every token.
  for (const token of [good, ...bad]) {
    const clients = [
      await connect(node.url, { token }),
      await connect(`${node.url}?token=${token}`),
      await connect(node.url, { headers: { cookie: `session=${token}` } }),
      await connect(node.url, { protocols: [subprotocol, `roomcast.token.${token}`] }),
      await connect(node.url),
    ];
    clients[4]?.send({ type: 'auth', token });
    for (const client of clients) {
      if (token === good) await client.next('welcome');
      else expect(await client.closed).toMatchObject({ code: 4501 });
    }
  }
  await expect(
    connect(node.url, { token: good, headers: { origin: `https://evil.example/${good}` } }),
  ).rejects.toThrow();
  const raw = await RawSocket.connect(node.port);
  await raw.write(handshake({ path: `/ws?token=${good}`, headers: { 'Sec-WebSocket-Version': '12' } }));
  expect((await raw.response()).status).toBe(426);

  // What a client can write, and trouble with Redis while it does.
  const client = await enter(node, 'user');
  for (const frame of [
    { type: 'subscribe', id: 1, room: evil },
    { type: evil, id: 2 },
    { type: 'auth', id: 3, token: bad[0] },
    { type: 'publish', id: evil.slice(0, 60), room: 'room', data: evil, key: evil.slice(0, 60) },
  ]) {
    await client.request(frame);
  }
  await client.request({ type: evil.repeat(1_000), id: 5 });
  await redis.kill();
  await until(async () => (await readiness(node)) === 503, 5_000, 'the node notices');
  await client.request({ type: 'publish', room: randomRoom(), data: good });
  await node.stop();

  expect(node.logs.length).toBeGreaterThan(40);
  for (const line of node.logs) {
    expect(line).toMatchObject({ level: expect.any(String), time: expect.any(String), msg: expect.any(String) });
    expect(line.msg).not.toBe('made up');
    const text = JSON.stringify(line);
    expect(text.length).toBeLessThan(2_000);
    for (const secret of [testSecret, password]) expect(text).not.toContain(secret);
    for (const token of [good, ...bad]) {
      for (const part of token.split('.').filter((each) => each.length > 8))
        expect(text).not.toContain(part.slice(0, 40));
    }
  }
}, 30_000);
