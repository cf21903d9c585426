/**
 * A TCP proxy before Redis that can silence the subscribed connections alone, while all others go on: the fault in which
 * everything looks healthy and nothing arrives. Or the others alone, so that messages arrive and answers do not.
 *
 * A connection counts as subscribed once its client has sent SUBSCRIBE. Faults that hit all connections alike are the
 * business of test/support/fault-proxy.ts.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onCleanup } from '../support/cleanup.ts';

export interface HalfOpenProxy {
  readonly url: string;
  /** From now on nothing reaches the node on connections that are subscribed now, and nothing ends them. */
  silenceSubscribed(): void;
  /** What was held flows on. */
  wakeSubscribed(): void;
  /** As `silenceSubscribed`, for all other connections. */
  silenceOthers(): void;
  wakeOthers(): void;
}

export async function halfOpenProxy(target: string): Promise<HalfOpenProxy> {
  const { port } = new URL(target);
  const subscribed = new Set<Socket>();
  const open = new Set<Socket>();
  const fromRedis = new Set<Socket>();
  const server = createServer((client) => {
    const redis = connect(Number(port), '127.0.0.1');
    fromRedis.add(redis);
    for (const [socket, peer] of [
      [client, redis],
      [redis, client],
    ] as const) {
      open.add(socket);
      socket.on('error', () => peer.destroy());
      socket.on('close', () => {
        open.delete(socket);
        subscribed.delete(socket);
        fromRedis.delete(socket);
        peer.destroy();
      });
    }
    client.on('data', (bytes) => {
      if (/\r\nsubscribe\r\n/i.test(bytes.toString('latin1'))) subscribed.add(redis);
      redis.write(bytes);
    });
    redis.on('data', (bytes) => client.write(bytes));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  // The same URL, with what else may stand in it, at another port.
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const others = () => [...fromRedis].filter((socket) => !subscribed.has(socket));
  const each = (sockets: Iterable<Socket>, what: 'pause' | 'resume') => {
    for (const socket of sockets) socket[what]();
  };
  return {
    url: url.href,
    silenceSubscribed: () => each(subscribed, 'pause'),
    wakeSubscribed: () => each(subscribed, 'resume'),
    silenceOthers: () => each(others(), 'pause'),
    wakeOthers: () => each(others(), 'resume'),
  };
}
