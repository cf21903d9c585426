/**
 * What an operator sees of a node on its admin port: /metrics by series, and whether /readyz and /healthz agree. And how
 * he has it read its files again.
 *
 * Owns nothing. It parses just enough of the Prometheus text format to find a number by its series.
 */

import type { LogLine, SpawnedNode } from '../support/node.ts';
import { until } from '../support/until.ts';

type Node = { adminPort: number };

/** Every series of a scrape by its full name, for instance `gateway_connections_closed_total{code="4003"}`. */
export async function scrape(node: Node): Promise<Map<string, number>> {
  const response = await get(node, '/metrics');
  if (response.status !== 200) throw new Error(`/metrics answered ${response.status}`);
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

/** One number; 0 for a series that is not there, which is how Prometheus users read a counter with labels. */
export async function metric(node: Node, series: string): Promise<number> {
  return (await scrape(node)).get(series) ?? 0;
}

/** The status of /readyz: 200 or 503. */
export async function readiness(node: Node): Promise<number> {
  return (await get(node, '/readyz')).status;
}

export function get(node: Node, path: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${node.adminPort}${path}`, { signal: AbortSignal.timeout(5_000) });
}

/**
 * SIGHUP after a change of files. Resolves with what the node says of them; it may have noticed the change by itself before.
 * Without a change it says that nothing is new.
 */
export async function reload(node: SpawnedNode, change?: () => void): Promise<LogLine> {
  const before = node.logs.length;
  change?.();
  node.kill('SIGHUP');
  const isTold = ({ msg = '' }: LogLine) =>
    msg.startsWith('read again') && (change === undefined || !msg.endsWith('nothing is new'));
  return until(() => node.logs.slice(before).find(isTold) as LogLine, 5_000, 'the node has read its files again');
}
