/**
 * What an operator sees of a node on its admin port: /metrics by series, and whether /readyz and /healthz agree.
 *
 * Owns nothing. It parses just enough of the Prometheus text format to find a number by its series.
 */

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
