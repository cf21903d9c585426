/**
 * A small TCP load balancer in this process. It asks /readyz of each node every 500 ms, uses the ready nodes in turn, and
 * tries the next one if a node does not accept the connection. It neither reads nor changes a byte.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onCleanup } from '../support/cleanup.ts';

export interface Target {
  port: number;
  adminPort: number;
}

export interface Balancer {
  url: string;
  /** Replaced when a node starts again. */
  readonly targets: (Target | undefined)[];
  /** For each target, whether it was ready at the last check. */
  readonly ready: boolean[];
}

const checkEveryMs = 500;
const checkTimeoutMs = 1_000;
const connectTimeoutMs = 1_000;
/** An end of one direction is passed on as that. */
const relayed = { noDelay: true, allowHalfOpen: true };

export async function startBalancer(): Promise<Balancer> {
  const targets: (Target | undefined)[] = [];
  const ready: boolean[] = [];
  const open = new Set<Socket>();
  let turn = 0;

  const look = async (target: Target | undefined, index: number) => {
    const fine = target !== undefined && (await isReady(target));
    if (targets[index] === target) ready[index] = fine;
  };
  const timer = setInterval(() => targets.forEach((target, index) => void look(target, index)), checkEveryMs);

  const relay = async (client: Socket) => {
    for (let tries = targets.length; tries > 0; tries--) {
      turn = (turn + 1) % targets.length;
      const target = targets[turn];
      if (!ready[turn] || target === undefined) continue;
      const node = await reach(target);
      if (node === undefined) continue;
      open.add(node);
      node.on('close', () => open.delete(node));
      // What one side sent before its end still reaches the other, and then the end.
      for (const [one, other] of [[client, node] as const, [node, client] as const]) {
        one.on('error', () => other.destroy());
        one.on('close', (failed) => failed && other.destroy());
        one.pipe(other);
      }
      if (client.destroyed) node.destroy();
      return;
    }
    client.destroy();
  };

  const server = createServer(relayed, (client) => {
    open.add(client);
    client.on('close', () => open.delete(client));
    client.on('error', () => client.destroy());
    void relay(client);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => {
    clearInterval(timer);
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`, targets, ready };
}

function reach({ port }: Target): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', ...relayed, timeout: connectTimeoutMs });
    const fail = () => {
      socket.destroy();
      resolve(undefined);
    };
    socket.once('error', fail);
    socket.once('timeout', fail);
    socket.once('connect', () => {
      socket.off('error', fail);
      socket.off('timeout', fail);
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

async function isReady({ adminPort }: Target): Promise<boolean> {
  return fetch(`http://127.0.0.1:${adminPort}/readyz`, { signal: AbortSignal.timeout(checkTimeoutMs) }).then(
    (response) => response.body?.cancel().then(() => response.status === 200) ?? response.status === 200,
    () => false,
  );
}
