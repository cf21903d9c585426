/** What a node says of itself, for tests of the dashboard. */
import type { Observation } from '../../../gateway/operations/cluster/observe.ts';

export const bounds = [0.001, 0.01, 0.1];
const none = () => ({ bounds, counts: [0, 0, 0, 0] });

export function observation(changes: Partial<Observation> = {}): Observation {
  return {
    ...{ node: 'one', instance: 'one-1', version: '1.0.0', startedAt: 1_000, at: 0, draining: false, trouble: null },
    ...{ backplaneRttMs: 1, connections: 10, rooms: 2, members: 20, bufferedBytes: 0, rssBytes: 1, cpuMs: 0 },
    limits: { connections: 100, bufferedBytes: 0 },
    slow: { 'catch-up': 0, drop: 0, latest: 0 },
    totals: { published: 0, delivered: 0, opened: 0 },
    reasons: { closed: {}, rejected: {}, publishErrors: {}, dropped: {}, gaps: {} },
    histograms: { ping: none(), fanout: none(), backplane: none(), loop: none() },
    busiest: [],
    ...changes,
  };
}
