/**
 * A TCP proxy before Redis that lets single connections hang: taken, open, and silent for ever, as behind a firewall that
 * has forgotten them. All others pass. (`faultProxy` of the kit treats all of its connections alike.)
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onCleanup } from '../support/cleanup.ts';

interface Link {
  client: Socket;
  target: Socket;
  /** What the client sent first; Redis clients give their name there. */
  head: string;
}

export interface HangingProxy {
  url: string;
  /** How many connections hang now. */
  readonly hanging: number;
  /** Lets those hang whose client named itself like this; later ones pass. */
  hang(name: string): void;
}

const headBytes = 1_000;

/** Of the connections to come, the first `hangingAtFirst` never get an answer. */
export async function hangingProxy(redisUrl: string, hangingAtFirst = 0): Promise<HangingProxy> {
  const { hostname, port } = new URL(redisUrl);
  const links = new Set<Link>();
  const hung = new Set<Link>();
  let taken = 0;

  const hang = (link: Link) => {
    hung.add(link);
    link.client.unpipe().resume();
    link.target.destroy();
  };

  const server = createServer((client) => {
    const link: Link = { client, target: connect(Number(port), hostname), head: '' };
    links.add(link);
    taken += 1;
    client.on('data', (chunk: Buffer) => {
      if (link.head.length < headBytes) link.head += chunk.toString('latin1');
    });
    client.pipe(link.target);
    link.target.pipe(client);
    link.target.on('error', () => client.destroy());
    link.target.on('close', () => hung.has(link) || client.destroy());
    client.on('error', () => link.target.destroy());
    client.on('close', () => {
      links.delete(link);
      hung.delete(link);
      link.target.destroy();
    });
    if (taken <= hangingAtFirst) hang(link);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => {
    server.close();
    for (const { client } of links) client.destroy();
  });

  // The same URL, with what else may stand in it, at another port.
  const url = new URL(redisUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    get hanging() {
      return hung.size;
    },
    hang(name) {
      for (const link of links) if (link.head.includes(name)) hang(link);
    },
  };
}
