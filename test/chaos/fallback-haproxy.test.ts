/**
 * What takes long through HAProxy. A client of an event stream that vanishes: its packets stop, and no FIN comes. HAProxy with the rules of
 * deploy/haproxy/haproxy.cfg ends its stream within a comment and `tcp-ut`, so that its member leaves the room.
 *
 * The packets of one connection are dropped by the kernel, which needs root and iptables.
 */
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { commentIntervalMs } from '../../gateway/http/fallback/streams.ts';
import { metric } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { startHaproxy } from '../protocol/haproxy.ts';
import { onCleanup } from '../support/cleanup.ts';
import { installPackage, succeeds } from '../support/command.ts';
import { startNode } from '../support/node.ts';
import { poll, positionOf } from '../support/poll.ts';
import { httpRequest } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
/** `tcp-ut` of deploy/haproxy/haproxy.cfg. */
const unacknowledgedMs = 30_000;
/** The kernel looks at its next try, which may come this much later. */
const nextTryMs = 30_000;

async function dropPackets(from: number, to: number): Promise<void> {
  const there = () => succeeds('iptables', ['-L', 'INPUT', '-n'], 10_000);
  if (!((await there()) || ((await installPackage('iptables')) && (await there())))) {
    throw new Error('This test drops packets: it needs root and iptables.');
  }
  const rule = ['INPUT', '-i', 'lo', '-p', 'tcp', '--sport', String(from), '--dport', String(to), '-j', 'DROP'];
  await run('iptables', ['-I', ...rule]);
  onCleanup(async () => void (await run('iptables', ['-D', ...rule])));
}

test('through HAProxy the stream of a client that vanished ends, and its member leaves', {
  timeout: 150_000,
}, async () => {
  const node = await startNode({ TRUSTED_PROXIES: '127.0.0.1' });
  const haproxy = await startHaproxy(node);
  const room = 'vanishing';
  const token = await mintToken({ sub: 'reader', rooms: { [room]: ['subscribe'] } });
  const client = connect(haproxy.port, '127.0.0.1');
  onCleanup(() => void client.destroy());
  client.on('error', () => undefined);
  let text = '';
  client.on('data', (chunk) => {
    text += chunk;
  });
  const headers = { Host: 'localhost', Authorization: `Bearer ${token}` };
  client.write(httpRequest({ path: `/rooms/${room}/events`, headers }));
  await until(() => text.includes('event: ok'), 5_000, 'the stream has begun');
  expect(await metric(node, 'gateway_streams')).toBe(1);
  await dropPackets(client.localPort ?? 0, haproxy.port);
  const vanishedAt = performance.now();
  const gone = async () => (await metric(node, 'gateway_streams')) === 0;
  await until(gone, commentIntervalMs + unacknowledgedMs + nextTryMs, 'the stream has ended');
  expect(performance.now() - vanishedAt).toBeGreaterThan(unacknowledgedMs - 1_000);
  expect(await metric(node, 'gateway_subscriptions')).toBe(0);
  process.stdout.write(`the stream ended ${Math.round((performance.now() - vanishedAt) / 1000)} s after its client\n`);
});

test('through HAProxy a poll waits for as long as it may, and is answered', { timeout: 60_000 }, async () => {
  const rules = roomsFile({ match: 'kept:*', history: {} });
  const haproxy = await startHaproxy(await startNode({ TRUSTED_PROXIES: '127.0.0.1', ROOMS_FILE: rules }));
  const token = await mintToken({ sub: 'poller', rooms: { '*': ['subscribe'] } });
  const since = positionOf(await poll(haproxy, 'kept:a', { token }));
  const began = performance.now();
  expect(await poll(haproxy, 'kept:a', { token, since, wait: 25 })).toMatchObject({ messages: [], recovered: true });
  expect(performance.now() - began).toBeGreaterThan(24_500);
});
