/** When plain HTTP serves, how it finds that a stream is dead, and how the client gets back to a WebSocket. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Options } from '../../../shared/client/client.ts';
import { fallback } from '../../../shared/client/fallback/fallback.ts';
import { useFakeClock } from '../fake-clock.ts';
import { FakeGateway } from './fake-gateway.ts';
import { FakeHttp } from './fake-http.ts';

useFakeClock();
let random: { mockReturnValue(value: number): unknown; mockRestore(): void };
beforeEach(() => {
  random = vi.spyOn(Math, 'random');
  random.mockReturnValue(0);
});
afterEach(() => random.mockRestore());

/** A response is read in several turns of the event loop, which stands still; so this gives it more of them. */
async function passes(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  for (let turns = 0; turns < 30; turns++) await Promise.resolve();
  // A timer of 0 ms that another timer begins is due in the next millisecond.
  await vi.advanceTimersByTimeAsync(3);
}

function started(options: Options = {}) {
  const http = new FakeHttp();
  const gateway = new FakeGateway({ fallback, token: 'a.b.c', ...options });
  return { http, gateway, client: gateway.client };
}

/** Behind two WebSockets that fail, over HTTP. */
async function overHttp(options: Options = {}) {
  const { http, gateway, client } = started(options);
  await passes(0);
  gateway.last.end(1006);
  await passes(0);
  gateway.last.end(1006);
  await passes(0);
  http.welcome();
  await passes(0);
  expect(client.transport).toBe('sse');
  return { http, gateway, client };
}

async function joined(name = 'room', options: Options = {}) {
  const world = await overHttp(options);
  const room = world.client.room(name);
  const told: unknown[] = [];
  room.on('message', ({ data }) => told.push(data));
  room.on('gap', ({ reason }) => told.push(reason));
  const joining = room.subscribe();
  await passes(0);
  const stream = world.http.last(`/${name}/events`);
  stream.tell({ type: 'ok', room: name, epoch: 'e', offset: 4 });
  await passes(0);
  await joining;
  return { ...world, room, told, stream };
}

const message = (offset: number) => ({ type: 'message', room: 'room', offset, data: offset, at: 1 });

describe('the start', () => {
  test('behind two WebSockets that hang, HTTP is asked within 5 s, whatever the jitter', async () => {
    random.mockReturnValue(0.999);
    const { http, gateway, client } = started();
    await passes(4_490);
    expect(http.requests).toHaveLength(0);
    await passes(10);
    expect(gateway.sockets.map(({ closedWith }) => closedWith)).toEqual([1000, 1000]);
    const [request] = http.requests;
    expect(request).toMatchObject({ method: 'POST', body: {}, headers: { authorization: 'Bearer a.b.c' } });
    expect(request?.url.href).toBe('http://gateway.example/rooms/-/messages');
    http.welcome();
    await passes(0);
    expect(client).toMatchObject({ state: 'open', transport: 'sse' });
  });

  test('one WebSocket that fails is not enough, and one that is welcomed in between counts anew', async () => {
    const { http, gateway } = started();
    await passes(0);
    gateway.last.end(1006);
    await passes(0);
    gateway.last.welcome().end(1006);
    await passes(0);
    gateway.last.end(1006);
    await passes(0);
    expect(http.requests).toHaveLength(0);
    gateway.last.end(1006);
    await passes(0);
    expect(http.requests).toHaveLength(1);
  });

  test.each([4005, 4007])('a gateway that closes with %i has answered: HTTP would not help', async (code) => {
    const { http, gateway } = started();
    for (let tries = 1; tries <= 4; tries++) {
      while (gateway.sockets.length < tries) await passes(500);
      gateway.last.end(code);
    }
    await passes(0);
    expect(http.requests).toHaveLength(0);
  });

  test('where HTTP fails too it waits like after any loss, and then tries a WebSocket before HTTP again', async () => {
    random.mockReturnValue(0.999);
    const { http, gateway, client } = started();
    await passes(4_510);
    http.last('/messages').page(502);
    await passes(0);
    expect(client.state).toBe('waiting');
    await passes(2_400);
    expect(gateway.sockets).toHaveLength(2);
    await passes(200);
    expect(gateway.sockets).toHaveLength(3);
    gateway.last.end(1006);
    await passes(0);
    expect(http.requests).toHaveLength(2);
  });

  test('a gateway that does not answer HTTP either is given up after 10 s', async () => {
    const { http, client } = started();
    await passes(4_010);
    expect(http.requests).toHaveLength(1);
    await passes(10_000);
    expect(http.last('/messages').isAborted).toBe(true);
    expect(client.state).not.toBe('open');
  });

  test('the path in front of /ws and the query stay; a cookie goes along where there is no token', async () => {
    const http = new FakeHttp();
    const { connect } = await import('../../../shared/client/client.ts');
    class WebSocket {
      constructor() {
        throw new Error('blocked');
      }
    }
    const client = connect('wss://example.com/live/ws?token=t', { fallback, WebSocket: WebSocket as never });
    await passes(0);
    await passes(0);
    const [first] = http.requests;
    expect(first?.url.href).toBe('https://example.com/live/rooms/-/messages?token=t');
    expect(first?.credentials).toBe('include');
    first?.fail();
    await passes(0);
    expect(http.requests.map(({ credentials }) => credentials)).toEqual(['include', 'same-origin']);
    http.welcome();
    await passes(0);
    expect(client.transport).toBe('sse');
    await client.close();
  });
});

test('close while HTTP is asked leaves no request and no timer', async () => {
  const { http, client } = started({ token: undefined as never });
  await passes(4_010);
  expect(http.requests).toHaveLength(1);
  await client.close();
  await passes(0);
  expect(http.requests.every(({ isAborted }) => isAborted)).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

describe('the token', () => {
  test.each([
    [401, 'unauthorized', 4501],
    [403, 'forbidden', 4503],
  ])('refused with %i at the start ends the client', async (status, code, closeCode) => {
    const { http, client } = started();
    const errors: unknown[] = [];
    client.on('error', (error) => errors.push(error));
    await passes(4_010);
    http.last('/messages').refuse(status, code);
    await passes(0);
    expect(client.state).toBe('closed');
    expect(errors).toMatchObject([{ code: 'closed', closeCode }]);
  });

  test('refused later is replaced by a new one', async () => {
    let count = 0;
    const { http, client } = await overHttp({ token: undefined as never, getToken: () => `t${++count}` });
    client
      .room('room')
      .subscribe()
      .catch(() => undefined);
    await passes(0);
    http.last('/room/events').refuse(401, 'unauthorized');
    await passes(0);
    expect(http.last('/-/messages').headers).toMatchObject({ authorization: 'Bearer t2' });
  });
});

describe('a stream', () => {
  test('without a byte for two intervals of comments is left; the room is entered again behind its position', async () => {
    const { http, told, stream, room } = await joined();
    stream.tell(message(5));
    for (let comments = 0; comments < 4; comments++) {
      await passes(29_900);
      stream.write(':\n');
      await passes(0);
    }
    expect(stream.isAborted).toBe(false);
    await passes(30_000);
    expect(stream.isAborted).toBe(true);
    expect(room.state).toBe('joining');
    await passes(0);
    http.welcome();
    await passes(0);
    const next = http.last('/room/events');
    expect(next.url.searchParams.get('since')).toBe('e:5');
    next.tell({ type: 'ok', room: 'room', epoch: 'e', offset: 5, recovered: true });
    next.tell(message(6));
    await passes(0);
    expect(told).toEqual([5, 6]);
  });

  test('whose timer was held up has 5 s more to show what came meanwhile', async () => {
    const { stream, room } = await joined();
    const { now } = performance;
    vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 100_000);
    await passes(30_000);
    expect(room.state).toBe('joined');
    stream.write(':\n');
    await passes(5_000);
    expect(room.state).toBe('joined');
    vi.mocked(performance.now).mockRestore();
  });

  test('that ends while others go on concerns its room only, and comes back after the time that the gateway names', async () => {
    const { http, client, stream, told, room, gateway } = await joined();
    stream.tell({ type: 'gap', room: 'room', reason: 'slow', count: 0 }, 3_000);
    client
      .room('other')
      .subscribe()
      .catch(() => undefined);
    await passes(0);
    http.last('/other/events').tell({ type: 'ok', room: 'other' });
    await passes(0);
    stream.end();
    await passes(0);
    expect([client.state, client.room('other').state, room.state]).toEqual(['open', 'joined', 'joining']);
    await passes(2_900);
    expect(http.to('/room/events')).toHaveLength(1);
    await passes(100);
    http.last('/room/events').tell({ type: 'ok', room: 'room', epoch: 'e', offset: 9, recovered: false });
    await passes(0);
    expect(told).toEqual(['slow', 'unrecovered']);
    expect(gateway.sockets).toHaveLength(2);
  });

  test('that ended with 4503 ends the client; with unsubscribed, its room', async () => {
    const { client, room, stream } = await joined();
    stream.tell({ type: 'unsubscribed', room: 'room', reason: 'kicked' });
    stream.end();
    await passes(0);
    expect([client.state, room.state]).toEqual(['open', 'idle']);
    const other = await joined('other');
    other.stream.tell({ type: 'close', code: 4503, reason: 'disconnected' });
    await passes(0);
    expect(other.client.state).toBe('closed');
  });

  test('of a room that is another kind now makes room for the next one', async () => {
    const { http, room, told, stream } = await joined();
    stream.tell({ type: 'unsubscribed', room: 'room', reason: 'changed' });
    await passes(0);
    const next = http.last('/room/events');
    expect([http.to('/room/events').length, stream.isAborted, room.state]).toEqual([2, true, 'joining']);
    next.tell({ type: 'ok', room: 'room' });
    next.tell({ type: 'message', room: 'room', id: 'a', data: 'plain', at: 1 });
    await passes(0);
    expect(told).toEqual(['unrecovered', 'plain']);
  });

  test('that is refused for now is tried again after Retry-After; for good, the room is told', async () => {
    const { http, client } = await overHttp();
    const [room, secret] = [client.room('room'), client.room('secret')];
    room.subscribe().catch(() => undefined);
    const refused = expect(secret.subscribe()).rejects.toMatchObject({ code: 'forbidden' });
    await passes(0);
    http.last('/room/events').refuse(503, 'unavailable', { 'retry-after': '7' });
    http.last('/secret/events').refuse(403, 'forbidden');
    await refused;
    await passes(6_900);
    expect(http.to('/room/events')).toHaveLength(1);
    await passes(100);
    expect(http.to('/room/events')).toHaveLength(2);
  });

  test('is left by unsubscribe, also before it has begun, and then another room has its place', async () => {
    const { http, client } = await overHttp();
    for (let rooms = 0; rooms < 200; rooms++) {
      const room = client.room(`room${rooms}`);
      const gone = expect(room.subscribe()).rejects.toMatchObject({ code: 'closed' });
      await passes(0);
      await room.unsubscribe();
      await gone;
    }
    expect(http.to('/events')).toHaveLength(200);
    expect(http.to('/events').every(({ isAborted }) => isAborted)).toBe(true);
  });
});

test('a browser over HTTP/1.1 opens three streams, and the next one when one is left; over HTTP/2 all of them', async () => {
  for (const [protocol, count] of [
    ['http/1.1', 3],
    ['h2', 5],
  ] as const) {
    vi.stubGlobal('location', { href: 'http://gateway.example/' });
    const entries = vi.spyOn(performance, 'getEntriesByName');
    entries.mockReturnValue([{ nextHopProtocol: protocol } as never]);
    const { http, client } = await overHttp();
    vi.stubGlobal('location', { href: 'http://gateway.example/' });
    const names = ['a', 'b', 'c', 'd', 'e'];
    for (const name of names)
      void client
        .room(name)
        .subscribe()
        .catch(() => undefined);
    await passes(0);
    expect(http.to('/events')).toHaveLength(count);
    if (count === 3) {
      void client.room('a').unsubscribe();
      await passes(10_000);
      expect(http.to('/events')).toHaveLength(4);
    }
    await client.close();
    entries.mockRestore();
    vi.unstubAllGlobals();
  }
});

describe('publishes', () => {
  test('go one after the other, so they keep their order', async () => {
    const { http, client } = await overHttp();
    const room = client.room('room');
    const publishing = [room.publish(1), room.publish(2, { key: 'k' })];
    await passes(0);
    const posts = () => http.to('/room/messages');
    expect(posts().map(({ body }) => body.data)).toEqual([1]);
    posts()[0]?.answer({ epoch: 'e', offset: 1 });
    await passes(0);
    expect(posts().map(({ body }) => body.data)).toEqual([1, 2]);
    expect(posts()[1]?.body.key).toBe('k');
    posts()[1]?.refuse(429, 'rate_limited', { 'retry-after': '2' });
    await passes(1_900);
    expect(posts()).toHaveLength(2);
    await passes(100);
    posts()[2]?.answer({ epoch: 'e', offset: 2, duplicate: true });
    await passes(0);
    expect(await Promise.all(publishing)).toEqual([
      { epoch: 'e', offset: 1 },
      { epoch: 'e', offset: 2, duplicate: true },
    ]);
  });

  test('without an answer in 15 s are sent again with the same key', async () => {
    const { http, client } = await joined();
    const publishing = client.room('room').publish('x');
    await passes(15_000);
    await passes(0);
    const [first, second] = http.to('/room/messages');
    expect(first?.isAborted).toBe(true);
    expect(second?.body).toEqual(first?.body);
    second?.answer({});
    await publishing;
  });
});

describe('the way back', () => {
  test('a WebSocket is tried after one to two minutes, and again; the client moves once it is welcomed', async () => {
    const { http, gateway, told, stream, client } = await joined();
    const states: string[] = [];
    client.on('state', (state) => states.push(state));
    const comments = async (ms: number) => {
      for (let left = ms; left > 0; left -= 15_000) {
        stream.write(':\n');
        await passes(Math.min(15_000, left));
      }
    };
    await comments(59_900);
    expect(gateway.sockets).toHaveLength(2);
    await comments(200);
    expect(gateway.sockets).toHaveLength(3);
    gateway.last.end(1006);
    await comments(60_100);
    expect(gateway.sockets).toHaveLength(4);
    stream.tell(message(5));
    await passes(0);
    const socket = gateway.last.welcome();
    await passes(0);
    expect(socket.sentOf('subscribe')).toMatchObject([{ since: { epoch: 'e', offset: 5 } }]);
    stream.tell(message(6));
    await passes(0);
    expect(stream.isAborted).toBe(false);
    socket.answer('subscribe', { epoch: 'e', offset: 5, recovered: true });
    for (const offset of [6, 7]) socket.tell(message(offset));
    await passes(0);
    expect([told, stream.isAborted, client.transport, states]).toEqual([[5, 6, 7], true, 'websocket', []]);
    const count = http.requests.length;
    // Back on a WebSocket it counts anew: one that fails is not enough.
    socket.tell({ type: 'reconnect', afterMs: 0, reason: 'draining' });
    await passes(0);
    gateway.last.end(1006);
    await passes(1_000);
    expect([gateway.sockets.length, http.requests.length]).toEqual([6, count]);
  });

  test('a WebSocket that ends before the client has moved is an attempt that failed', async () => {
    const { gateway, client } = await overHttp();
    await passes(60_000);
    const socket = gateway.last.welcome();
    socket.end(1006);
    await passes(0);
    expect(client).toMatchObject({ transport: 'sse', state: 'open' });
  });

  test('close leaves no timer and no open socket, whatever is under way', async () => {
    for (const stage of ['waits', 'connects', 'welcomed']) {
      const { gateway, client, http } = await joined();
      if (stage !== 'waits') {
        for (const socket of gateway.sockets.slice(0, 2)) socket.closedWith = 1000;
        const stream = http.last('/events');
        for (let quarters = 0; quarters < 4; quarters++) {
          stream.write(':\n');
          await passes(15_000);
        }
        expect(gateway.sockets).toHaveLength(3);
      }
      if (stage === 'welcomed') gateway.last.welcome();
      const closing = client.close();
      if (stage !== 'waits') expect(gateway.sockets.map(({ closedWith }) => closedWith)).toEqual([1000, 1000, 1000]);
      for (const socket of gateway.sockets) socket.end(1000);
      await closing;
      await passes(0);
      expect(vi.getTimerCount(), stage).toBe(0);
      expect(http.to('/events').every(({ isAborted }) => isAborted)).toBe(true);
    }
  });
});
