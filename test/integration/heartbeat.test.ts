/**
 * Heartbeats in both directions: pings of the gateway with the time as payload, and clients that fall silent.
 */
import { describe, expect, test } from 'vitest';
import { connect } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { opcode } from '../support/raw-frame.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { metric, scrape } from './admin.ts';
import { enter, names, tokenOf } from './people.ts';

const timedOut = 'gateway_heartbeat_timeouts_total';

describe('pings of the gateway', () => {
  test('come at the interval, carry a payload, and each answer is a round trip in the metrics', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 200 });
    const client = await enter(node, 'user');
    const payloads: string[] = [];
    const times: number[] = [];
    client.socket.on('ping', (payload) => {
      payloads.push(String(payload));
      times.push(performance.now());
    });
    await until(() => payloads.length >= 5, 5_000, 'five pings');
    expect(Math.min(...payloads.map(({ length }) => length))).toBeGreaterThan(0);
    expect(new Set(payloads).size).toBe(payloads.length);
    // Four intervals; a busy machine can only make them longer.
    expect((times[4] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(600);
    await until(async () => (await metric(node, 'gateway_ping_rtt_seconds_count')) >= 5, 5_000, 'five round trips');
    const series = await scrape(node);
    expect(series.get('gateway_ping_rtt_seconds_sum')).toBeGreaterThan(0);
    expect(series.get('gateway_ping_rtt_seconds_bucket{le="+Inf"}')).toBe(series.get('gateway_ping_rtt_seconds_count'));
  });

  test('a hundred connections opened at once are pinged spread over the interval, not in a burst', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 1_000 });
    const clients = await Promise.all(names('user', 100).map((user) => enter(node, user)));
    const first = new Map<number, string>();
    clients.forEach((client, index) => {
      client.socket.on('ping', (payload) => first.has(index) || first.set(index, String(payload)));
    });
    await until(() => first.size === clients.length, 5_000, 'a ping for each');
    // The payload is the time of the tick that sent it, so all pings of one burst have the same payload.
    const bursts = new Map<string, number>();
    for (const payload of first.values()) bursts.set(payload, (bursts.get(payload) ?? 0) + 1);
    expect(bursts.size).toBeGreaterThanOrEqual(4);
    expect(Math.max(...bursts.values())).toBeLessThanOrEqual(50);
  });

  test('a pong that answers no ping, or an older one, is no round trip', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 60_000 });
    const client = await enter(node, 'user');
    for (const payload of ['', '0', '1e999', 'x'.repeat(125)]) client.socket.pong(payload);
    await client.request({ type: 'ping' });
    expect(await metric(node, 'gateway_ping_rtt_seconds_count')).toBe(0);
  });
});

describe('a peer that does not answer them', () => {
  test('is closed with 4004 after GATEWAY_PONG_TIMEOUT_MS, and those that answer stay', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 200, PONG_TIMEOUT_MS: 300 });
    const alive = await enter(node, 'alive');
    const silent = await RawSocket.connect(node.port);
    await silent.write(handshake({ headers: { Authorization: `Bearer ${await tokenOf('silent')}` } }));
    await silent.response();
    const frames = await silent.framesToEnd();
    expect(frames.filter((frame) => frame.opcode === opcode.ping)).toHaveLength(1);
    expect(frames.at(-1)?.opcode).toBe(opcode.close);
    expect(frames.at(-1)?.payload.readUInt16BE(0)).toBe(4004);
    expect(await metric(node, timedOut)).toBe(1);
    expect(await metric(node, 'gateway_connections_closed_total{code="4004"}')).toBe(1);
    expect(await alive.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });

  test('is closed even if it sends frames: only a pong shows that it receives', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 200, PONG_TIMEOUT_MS: 300 });
    const talking = await RawSocket.connect(node.port);
    await talking.write(handshake({ headers: { Authorization: `Bearer ${await tokenOf('user')}` } }));
    await talking.response();
    const chatter = setInterval(() => void talking.send({ payload: '{"type":"ping"}' }), 50);
    try {
      const frames = await talking.framesToEnd();
      expect(frames.at(-1)?.payload.readUInt16BE(0)).toBe(4004);
    } finally {
      clearInterval(chatter);
    }
  });
});

describe('GATEWAY_CLIENT_TIMEOUT_MS', () => {
  test('a client that sent ping once and then nothing is closed with 4004, although it answers WebSocket pings', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 100, CLIENT_TIMEOUT_MS: 600 });
    const [fellSilent, never, goesOn] = [
      await enter(node, 'fell-silent'),
      await enter(node, 'never'),
      await enter(node, 'goes-on'),
    ];
    await fellSilent.request({ type: 'ping' });
    await goesOn.request({ type: 'ping' });
    // Any frame resets the timeout; WebSocket pings of the client do not.
    const frames = setInterval(() => goesOn.send({ type: 'unsubscribe', id: 1, room: 'r' }), 100);
    const controls = setInterval(() => fellSilent.socket.ping(), 100);
    const began = performance.now();
    try {
      expect(await fellSilent.closed).toMatchObject({ code: 4004 });
      expect(performance.now() - began).toBeGreaterThan(500);
      expect(await metric(node, timedOut)).toBe(1);
      for (const client of [never, goesOn]) {
        expect(await client.request({ type: 'unsubscribe', room: 'r' })).toMatchObject({ type: 'ok' });
      }
    } finally {
      clearInterval(frames);
      clearInterval(controls);
    }
  });

  test('welcome says how often a client should ping', async () => {
    const node = await startNode({ PING_INTERVAL_MS: 12_345 });
    const client = await connect(node.url, { token: await tokenOf('user') });
    expect(await client.next('welcome')).toMatchObject({ pingIntervalMs: 12_345 });
  });
});
