/**
 * An HTTP proxy that lets requests through, and WebSockets only when a test says so. Like the proxies of some companies:
 *
 *   pass     WebSockets get through
 *   refuse   the connection ends
 *   hang     nothing answers, and nothing ends
 *   404      any number: the handshake gets this status
 *
 * Owns its connections. Streams flow as they come.
 */
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { onCleanup } from './cleanup.ts';

export type UpgradeMode = 'pass' | 'refuse' | 'hang' | number;

export interface UpgradeProxy {
  /** Of the WebSocket. */
  readonly url: string;
  readonly port: number;
  mode: UpgradeMode;
  /** Port of the node; open connections keep theirs. */
  target: number;
  /** Requests for a WebSocket so far. */
  readonly upgrades: number;
  /** Requests under way, streams included. */
  readonly requests: number;
  /** Ends all connections. */
  cut(): void;
}

export async function upgradeProxy(port: number, mode: UpgradeMode): Promise<UpgradeProxy> {
  const state = { mode, target: port, upgrades: 0, requests: 0 };
  const sockets = new Set<Duplex>();
  const server = createServer((incoming, answer) => pass(incoming, answer, state));
  server.on('connection', (socket) => keep(sockets, socket));
  server.on('upgrade', (incoming: IncomingMessage, socket: Duplex) => {
    state.upgrades++;
    if (state.mode === 'refuse') socket.destroy();
    else if (typeof state.mode === 'number') {
      socket.end(`HTTP/1.1 ${state.mode} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    } else if (state.mode === 'pass') relay(incoming, socket, keep(sockets, connect(state.target, '127.0.0.1')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  onCleanup(() => {
    server.close();
    cut();
  });
  const own = (server.address() as AddressInfo).port;
  return Object.assign(state, { url: `ws://127.0.0.1:${own}/ws`, port: own, cut });
}

function keep<Kept extends Duplex>(sockets: Set<Duplex>, socket: Kept): Kept {
  sockets.add(socket);
  // The end of one side is the end of the other; why does not matter here.
  socket.on('error', () => socket.destroy());
  socket.on('close', () => sockets.delete(socket));
  return socket;
}

function pass(incoming: IncomingMessage, answer: ServerResponse, state: { target: number; requests: number }): void {
  const { method, url, rawHeaders } = incoming;
  const headers = [...rawHeaders];
  const outgoing = httpRequest({ host: '127.0.0.1', port: state.target, method, path: url, headers, agent: false });
  state.requests++;
  outgoing.on('response', (response) => {
    answer.writeHead(response.statusCode ?? 502, response.rawHeaders);
    answer.flushHeaders();
    response.on('error', () => answer.destroy());
    response.pipe(answer);
  });
  outgoing.on('error', () => answer.destroy());
  answer.on('close', () => {
    state.requests--;
    outgoing.destroy();
  });
  incoming.pipe(outgoing);
}

function relay({ method, url, rawHeaders }: IncomingMessage, client: Duplex, node: Socket): void {
  let head = `${method} ${url} HTTP/1.1\r\n`;
  for (let index = 0; index < rawHeaders.length; index += 2)
    head += `${rawHeaders[index]}: ${rawHeaders[index + 1]}\r\n`;
  node.write(`${head}\r\n`);
  node.pipe(client).pipe(node);
  node.on('close', () => client.destroy());
  client.on('close', () => node.destroy());
}
