/**
 * Every way of handing a token over, which one wins, and what holds before there is one.
 *
 * Browsers cannot read a failed handshake, so a bad token is answered after the upgrade. What makes a token bad stands in
 * auth-tokens.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { subprotocol } from '../../shared/protocol.ts';
import { type Client, type ConnectOptions, connect, errorOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { opcode } from '../support/raw-frame.ts';
import { handshake, RawSocket, valuesOf } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { roomsFile } from './files.ts';
import { carrying, enter, everywhere, randomRoom, tokenOf } from './people.ts';

/** In the order in which the gateway looks for a token. */
const ways = ['header', 'subprotocol', 'query', 'cookie'] as const;
type Way = (typeof ways)[number];

const plain = await startNode();
const open = await startNode({ AUTH_QUERY: true, AUTH_COOKIE: 'session' });
const impatient = await startNode({ AUTH_TIMEOUT_MS: 300 });

function handOver(url: string, tokens: Partial<Record<Way, string>>): Promise<Client> {
  const { header, subprotocol: entry, query, cookie } = tokens;
  const options: ConnectOptions = {
    protocols: entry === undefined ? [subprotocol] : [`roomcast.token.${entry}`, subprotocol],
    headers: {
      ...(header === undefined ? {} : { authorization: `Bearer ${header}` }),
      ...(cookie === undefined ? {} : { cookie: `theme=dark; session=${cookie}; other=1` }),
    },
  };
  return connect(query === undefined ? url : `${url}?token=${query}`, options);
}

describe('a token may come by', () => {
  test.each(ways)('%s', async (way) => {
    const client = await handOver(open.url, { [way]: await tokenOf('user') });
    expect(await client.next('welcome')).toMatchObject({ user: 'user', version: 1 });
  });

  test.each(['header', 'subprotocol'] as const)('%s, with nothing configured', async (way) => {
    const client = await handOver(plain.url, { [way]: await tokenOf('user') });
    expect(await client.next('welcome')).toMatchObject({ user: 'user' });
  });

  test('an auth frame, whose welcome carries its id', async () => {
    const client = await connect(plain.url);
    expect(await client.request({ type: 'auth', token: await tokenOf('user') })).toMatchObject({
      type: 'welcome',
      user: 'user',
    });
  });

  test.each(['query', 'cookie'] as const)('%s only where that is configured: else it is not looked at', async (way) => {
    const client = await handOver(plain.url, { [way]: await tokenOf('user') });
    const answer = await client.request({ type: 'publish', room: 'room', data: 1 });
    expect(errorOf(answer).code).toBe('unauthorized');
  });
});

describe('the first token found wins', () => {
  const pairs = ways.flatMap((first, index) => ways.slice(index + 1).map((second) => [first, second] as const));

  test.each(pairs)('%s before %s, and a bad first one is not skipped', async (first, second) => {
    const [good, bad] = [await tokenOf('first'), await tokenOf('second')];
    const welcomed = await handOver(open.url, { [first]: good, [second]: bad });
    expect(await welcomed.next('welcome')).toMatchObject({ user: 'first' });
    const refused = await handOver(open.url, { [first]: 'bad', [second]: good });
    expect(await refused.closed).toMatchObject({ code: 4501 });
  });

  test('an empty Bearer or query token is a bad token, not a missing one', async () => {
    for (const way of ['header', 'query'] as const) {
      const client = await handOver(open.url, { [way]: '', cookie: await tokenOf('user') });
      expect(await client.closed).toMatchObject({ code: 4501 });
    }
  });
});

describe('the subprotocol entry of a token', () => {
  test.each([
    ['first', (entry: string) => `${entry}, ${subprotocol}`],
    ['last', (entry: string) => `${subprotocol}, ${entry}`],
    ['on a line of its own', (entry: string) => [entry, subprotocol]],
  ])('offered %s is never reflected', async (_where, offer) => {
    const token = await tokenOf('user');
    const socket = await RawSocket.connect(plain.port);
    await socket.write(handshake({ headers: { 'Sec-WebSocket-Protocol': offer(`roomcast.token.${token}`) } }));
    const response = await socket.response();
    expect(response.status).toBe(101);
    expect(valuesOf(response, 'sec-websocket-protocol')).toEqual([subprotocol]);
    expect(response.head).not.toContain(token.slice(0, 10));
    const frames = [await socket.frame()];
    // A heartbeat may come first.
    while (frames.at(-1)?.opcode === opcode.ping) frames.push(await socket.frame());
    expect(String(frames.at(-1)?.payload)).toContain('"welcome"');
  });
});

describe('before welcome', () => {
  test('every frame but auth and ping is unauthorized, and auth still works afterwards', async () => {
    const client = await connect(plain.url);
    for (const type of ['subscribe', 'unsubscribe', 'publish', 'history', 'presence', 'future']) {
      expect(errorOf(await client.request({ type, room: 'room', data: 1 })).code).toBe('unauthorized');
    }
    expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
    expect(await client.request({ type: 'auth', token: await tokenOf('user') })).toMatchObject({ type: 'welcome' });
  });

  test('a bad token in the first auth closes with 4501', async () => {
    const client = await connect(plain.url);
    client.send({ type: 'auth', id: 1, token: 'bad' });
    expect(await client.closed).toMatchObject({ code: 4501 });
    expect(client.frames).toEqual([]);
  });

  test('a connection without a token is closed with 4502 in time, also one that pings busily', async () => {
    const [silent, busy] = [await connect(impatient.url), await connect(impatient.url)];
    const pings = setInterval(() => busy.send({ type: 'ping' }), 50);
    const welcomed = await enter(impatient, 'user');
    try {
      expect(await silent.closed).toMatchObject({ code: 4502 });
      expect(await busy.closed).toMatchObject({ code: 4502 });
    } finally {
      clearInterval(pings);
    }
    expect(await welcomed.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });
});

describe('with GATEWAY_ANONYMOUS', async () => {
  const node = await startNode({
    ANONYMOUS: true,
    AUTH_TIMEOUT_MS: 100,
    ROOMS_FILE: roomsFile(
      { match: 'open:*', subscribe: 'anyone', publish: 'anyone' },
      { match: 'users:*', subscribe: 'user', publish: 'user' },
    ),
  });

  test('a connection without a token is welcomed at once, as nobody, to what anyone may do', async () => {
    const [room, users] = [randomRoom('open'), randomRoom('users')];
    const client = await connect(node.url);
    expect(await client.next('welcome')).toMatchObject({ user: null, expiresAt: null });
    await client.subscribe(room);
    await client.publish(room, 'hello');
    expect(await client.next(carrying(room, 'hello'))).not.toHaveProperty('from');
    expect(errorOf(await client.request({ type: 'subscribe', room: users })).code).toBe('forbidden');
    expect(errorOf(await client.request({ type: 'subscribe', room: '@' })).code).toBe('forbidden');
  });

  test('one later auth sets the user, and its rooms stay', async () => {
    const [room, users] = [randomRoom('open'), randomRoom('users')];
    const client = await connect(node.url);
    await client.next('welcome');
    await client.subscribe(room);
    const token = await tokenOf('user');
    expect(await client.request({ type: 'auth', token })).toMatchObject({ type: 'welcome', user: 'user' });
    await client.subscribe(users);
    await client.publish(room, 'hello');
    expect(await client.next(carrying(room, 'hello'))).toMatchObject({ from: 'user' });
    const other = await mintToken({ sub: 'other', rooms: everywhere });
    expect(errorOf(await client.request({ type: 'auth', token: other })).code).toBe('forbidden');
  });

  test('a bad token is not taken for no token: 4501, at the handshake and in the first auth', async () => {
    const early = await connect(node.url, { token: 'bad' });
    expect(await early.closed).toMatchObject({ code: 4501 });
    const late = await connect(node.url);
    await late.next('welcome');
    late.send({ type: 'auth', token: 'bad' });
    expect(await late.closed).toMatchObject({ code: 4501 });
  });
});
