/**
 * Two nodes of one cluster as on docs/load-balancers.md: the same ports on two addresses. All of 127.0.0.0/8 is the loopback
 * interface on Linux.
 *
 * Owns their ports and settings.
 */
import { inject } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { freePort } from '../support/free-port.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';

export const apiKey = 'an-api-key-for-the-tests';
const hosts = ['127.0.0.11', '127.0.0.12'];

export interface HostedNode extends SpawnedNode {
  host: string;
}

export interface Nodes {
  nodes: HostedNode[];
  port: number;
  adminPort: number;
}

export async function startNodes(settings: NodeSettings = {}): Promise<Nodes> {
  for (let attempt = 1; ; attempt++) {
    const [port, adminPort] = [await freePort(), await freePort()];
    const started = await Promise.allSettled(hosts.map((host) => startAt(host, port, adminPort, settings)));
    const nodes = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    if (nodes.length === hosts.length) return { nodes, port, adminPort };
    // Another process may have taken a port meanwhile, at this address or at all of them.
    for (const node of nodes) node.kill('SIGKILL');
    const refused = started.find((each) => each.status === 'rejected');
    if (attempt === 3 || !/the port is in use/.test(`${refused?.reason}`)) throw refused?.reason;
  }
}

async function startAt(host: string, port: number, adminPort: number, settings: NodeSettings): Promise<HostedNode> {
  const node = await spawnNode({
    ...{ HOST: host, PORT: port, ADMIN_HOST: host, ADMIN_PORT: adminPort, NODE_ID: `node-${host}` },
    ...{ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix'), API_KEY: apiKey },
    // The address of the proxy, seen from 127.0.0.11 and 127.0.0.12.
    ...{ TRUSTED_PROXIES: '127.0.0.1', REQUEST_RATE: 0, PUBLISH_RATE: 0 },
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000 } }),
    ...settings,
  });
  return { ...node, host };
}

/** A call of the HTTP API at one of the nodes. */
export async function api(nodes: Nodes, host: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`http://${host}:${nodes.adminPort}/api${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${path} was answered by ${response.status}: ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

/** The number of connections of a node. */
export async function connectionsOf({ adminPort }: Nodes, host: string): Promise<number> {
  const text = await (await fetch(`http://${host}:${adminPort}/metrics`)).text();
  return Number(/^gateway_connections (\d+)/m.exec(text)?.[1]);
}
