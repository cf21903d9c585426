/**
 * Polls whose client reads its answer late or never: the node counts what it holds, and cuts the client.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile, selfSigned } from '../integration/files.ts';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { until } from '../support/until.ts';

const { certificate, key } = selfSigned();

/** A client that sends poll after poll on one connection and reads no answer, until the kernel takes no more. */
async function stuffed(over: string) {
  const tls = over === 'TLS';
  const ca = tls ? { ca: readFileSync(certificate, 'utf8') } : {};
  const node = await startNode({
    PUBLISH_RATE: 0,
    ...(tls ? { TLS_CERT_FILE: certificate, TLS_KEY_FILE: key } : {}),
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000, maxBytes: 1_073_741_824 } }),
  });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const { epoch } = await poll(node, room, { token, ...ca });
  const publisher = await connectWelcomed(node.url, await tokenOf('publisher'), ca);
  for (let data = 0; data < 20; data++) await publisher.publish(room, [data, 'x'.repeat(12_000)]);
  const place = { host: '127.0.0.1', port: node.port };
  const socket = tls ? connectTls({ ...place, ...ca, servername: 'localhost' }) : connect(place);
  onCleanup(() => void socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, tls ? 'secureConnect' : 'connect');
  socket.pause();
  const opened = () => metric(node, 'gateway_connections_opened_total');
  let polls = 0;
  const held = async () => {
    const before = await opened();
    polls++;
    socket.write(
      `GET /rooms/${room}/messages?since=${epoch}:0 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    await until(async () => (await opened()) > before, 5_000, 'the poll has come');
    const answered = async () => (await metric(node, 'gateway_polls')) === 0;
    const full = async () => (await metric(node, 'gateway_buffered_bytes')) > 0;
    await until(async () => (await answered()) || (await full()), 5_000, 'it is answered, or the client is full');
    return !(await answered());
  };
  await until(held, 30_000, 'the node holds an answer');
  return { node, socket, polls };
}

test.each(['plain HTTP', 'TLS'])(
  'over %s an answer that the client reads late is counted meanwhile, and comes whole',
  { timeout: 60_000 },
  async (over) => {
    const { node, socket, polls } = await stuffed(over);
    expect(await metric(node, 'gateway_buffered_bytes')).toBeLessThan(300_000);
    let text = '';
    socket.on('data', (chunk) => (text += chunk));
    socket.resume();
    const answers = () => text.split('HTTP/1.1 200 OK').slice(1);
    await until(() => answers().length === polls && text.endsWith('}'), 10_000, 'all answers');
    for (const each of answers()) {
      const { messages } = JSON.parse(each.slice(each.indexOf('\r\n\r\n')));
      expect(messages.map(({ data }: { data: [number] }) => data[0])).toEqual(Array.from({ length: 20 }, (_, n) => n));
    }
    await until(async () => (await metric(node, 'gateway_polls')) === 0, 5_000, 'no poll is left');
    expect(await metric(node, 'gateway_buffered_bytes')).toBe(0);
  },
);

test('a client that never reads its answer is cut after about 10 s', { timeout: 60_000 }, async () => {
  const { node } = await stuffed('plain HTTP');
  await until(async () => (await metric(node, 'gateway_polls')) === 0, 20_000, 'it is cut');
  expect(await metric(node, 'gateway_buffered_bytes')).toBe(0);
});
