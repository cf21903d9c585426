/**
 * A token on a live connection: its expiry, and every kind of refresh.
 *
 * Each test takes the expiry of the token, to the millisecond, from `expiresAt` of `welcome`.
 */
import { describe, expect, test } from 'vitest';
import { type Client, connect, connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { carrying, dataOf, enter, everywhere, join, randomRoom, tokenOf } from './people.ts';

const node = await startNode();

/** A token that expires after the given seconds. */
function ending(seconds: number, sub = 'user'): Promise<string> {
  return mintToken({ sub, rooms: everywhere, exp: Date.now() / 1000 + seconds });
}

function refresh(client: Client, token: string) {
  return client.request({ type: 'auth', token });
}

describe('the end of a token', () => {
  test('closes the connection with 4002 within a second, and not before', async () => {
    const client = await connect(node.url, { token: await ending(0.8) });
    const { expiresAt } = await client.next('welcome');
    expect(await client.closed).toMatchObject({ code: 4002 });
    expect(Date.now()).toBeGreaterThanOrEqual(expiresAt ?? Number.POSITIVE_INFINITY);
    // The sweep runs twice a second; the rest is reserve for a busy machine.
    expect(Date.now()).toBeLessThan((expiresAt ?? 0) + 1_500);
  });

  test('no frame sent after it is obeyed, even before the close', async () => {
    const room = randomRoom();
    const member = await join(node, 'member', room);
    const clients = await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (user) => connect(node.url, { token: await ending(0.7, user) })),
    );
    const welcomes = await Promise.all(clients.map((client) => client.next('welcome')));
    await clients[0]?.publish(room, 'in time');
    const last = Math.max(...welcomes.map(({ expiresAt }) => expiresAt ?? 0));
    await until(() => Date.now() >= last, 10_000, 'the end of the tokens');
    const fresh = await tokenOf('a');
    clients.forEach((client, index) => {
      client.send({ type: 'publish', room, data: `late ${index}` });
      client.send({ type: 'auth', token: fresh });
    });
    for (const client of clients) expect(await client.closed).toMatchObject({ code: 4002 });
    await member.publish(room, 'end');
    await member.next(carrying(room, 'end'));
    expect(dataOf(member, room)).toEqual(['in time', 'end']);
  });

  test('an end up to five seconds ago is tolerated at connect, more is 4501', async () => {
    const late = await connectWelcomed(node.url, await ending(-2));
    expect(await late.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    const tooLate = await connect(node.url, { token: await ending(-6) });
    expect(await tooLate.closed).toMatchObject({ code: 4501 });
  });

  test('an end in thirty days is no timer that overflows', async () => {
    const client = await connect(node.url, { token: await ending(30 * 86_400) });
    const { expiresAt, now } = await client.next('welcome');
    expect((expiresAt ?? 0) - now).toBeGreaterThan(29 * 86_400_000);
    expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });
});

describe('a refresh', () => {
  test('extends the connection beyond the end of its first token', async () => {
    const [refreshed, control] = await Promise.all([
      connectWelcomed(node.url, await ending(0.8)),
      connectWelcomed(node.url, await ending(0.8)),
    ]);
    const exp = Math.floor(Date.now() / 1000) + 3600;
    const answer = okOf(await refresh(refreshed, await mintToken({ sub: 'user', rooms: everywhere, exp })));
    expect(answer.expiresAt).toBe(exp * 1000);
    expect(await control.closed).toMatchObject({ code: 4002 });
    await refreshed.publish(randomRoom(), 'still here');
  });

  test('may also shorten it', async () => {
    const client = await enter(node, 'user');
    okOf(await refresh(client, await ending(0.3)));
    expect(await client.closed).toMatchObject({ code: 4002 });
  });

  test('with a token of another user is forbidden, and the old one stays valid', async () => {
    const client = await enter(node, 'user');
    expect(errorOf(await refresh(client, await tokenOf('somebody-else'))).code).toBe('forbidden');
    const room = randomRoom();
    await client.subscribe(room);
    await client.publish(room, 'hello');
    expect(await client.next(carrying(room, 'hello'))).toMatchObject({ from: 'user' });
  });

  test('with a bad token is unauthorized, and the old one stays valid until it expires', async () => {
    const client = await connectWelcomed(node.url, await ending(0.8));
    expect(errorOf(await refresh(client, 'bad')).code).toBe('unauthorized');
    expect(errorOf(await refresh(client, await ending(-60))).code).toBe('unauthorized');
    await client.publish(randomRoom(), 'still here');
    expect(await client.closed).toMatchObject({ code: 4002 });
  });

  test('with fewer rooms leaves exactly the rooms that are no longer granted', async () => {
    const [kept, lost] = [randomRoom('kept'), randomRoom('lost')];
    const client = await join(node, 'user', kept, lost);
    const publisher = await enter(node, 'publisher');
    const narrow = await mintToken({ sub: 'user', rooms: { 'kept:*': ['subscribe'] } });
    okOf(await refresh(client, narrow));
    expect(await client.next('unsubscribed')).toEqual({ type: 'unsubscribed', room: lost, reason: 'revoked' });

    await publisher.publish(lost, 'not for you');
    await publisher.publish(kept, 'for you');
    await client.next(carrying(kept, 'for you'));
    expect(dataOf(client, lost)).toEqual([]);
    expect(errorOf(await client.request({ type: 'subscribe', room: lost })).code).toBe('forbidden');
    expect(errorOf(await client.request({ type: 'publish', room: kept, data: 1 })).code).toBe('forbidden');
  });

  test('a thousand refreshes in a row keep one user and one connection', async () => {
    const busy = await startNode({ REQUEST_RATE: 0 });
    const client = await enter(busy, 'user');
    const token = await tokenOf('user');
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(Array.from({ length: 100 }, () => refresh(client, token)));
      for (const answer of answers) okOf(answer);
    }
    expect(client.frames.filter(({ type }) => type === 'welcome')).toHaveLength(1);
  });
});
