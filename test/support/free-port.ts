/**
 * A free TCP port of the loopback address, for programs that cannot choose one themselves (Redis, HAProxy, a container).
 * Another process may take it before it is used: callers try again.
 *
 * Neither the port nor the one 10,000 above it, the bus of a Redis Cluster, is one that the kernel gives to outgoing connections
 * (from 32768 on): while a server is away, who tries to reach it could otherwise be given its port, and meet himself.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';

const [lowest, highest] = [11_000, 19_999];
const attempts = 50;

export async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest + 1));
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch (error) {
      if (attempt === attempts) throw error;
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}
