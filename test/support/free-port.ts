/**
 * A free TCP port of the loopback address, for programs that cannot choose one themselves (Redis, HAProxy, a container).
 * Another process may take it before it is used: callers try again.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
