/** Names that a query of the deployment may ask for: what a node exposes, what rules record, what Prometheus and HAProxy add. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { Metrics } from '../../../gateway/telemetry/metrics.ts';
import { redisMetrics } from '../../../gateway/telemetry/redis-metrics.ts';

export interface Rule {
  record?: string;
  alert?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export const readProject = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

export function rules(): Rule[] {
  const { groups } = parse(readProject('deploy/prometheus/alerts.yml')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap((group) => group.rules);
}

export async function knownMetrics(): Promise<Set<string>> {
  const zero = () => 0;
  const counts = {
    connections: zero,
    streams: zero,
    polls: zero,
    rooms: zero,
    subscriptions: zero,
    webhookQueue: zero,
  };
  const metrics = new Metrics(
    { version: '1.2.3', node: 'node-1' },
    {
      ...counts,
      ...{ bufferedBytes: zero, connectionsLimit: 0, bufferedBytesLimit: 0, certificateNotAfter: zero },
      slow: () => ({ 'catch-up': 0, drop: 0, latest: 0 }),
      backplaneUp: () => true,
      backplaneShared: () => true,
    },
  );
  const text = await metrics.text();
  metrics.close();
  const exposed = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].flatMap(([, name = '', type]) =>
    type === 'histogram' || type === 'summary' ? ['bucket', 'sum', 'count'].map((end) => `${name}_${end}`) : [name],
  );
  const recorded = rules().flatMap(({ record }) => (record === undefined ? [] : [record]));
  return new Set([...exposed, ...Object.keys(redisMetrics), ...recorded, 'gateway:replicas_wanted', 'up', 'ALERTS']);
}

/** HAProxy's are checked by test/compose, which asks HAProxy for them. */
export function isKnown(name: string, known: ReadonlySet<string>): boolean {
  return known.has(name) || name.startsWith('haproxy_');
}
