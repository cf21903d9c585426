/** What the dashboard shows, out of what nodes say of themselves (gateway/dashboard/tick.ts). */
import { describe, expect, test } from 'vitest';
import { tickOf } from '../../../gateway/dashboard/tick.ts';
import type { Observation } from '../../../gateway/operations/cluster/observe.ts';
import { bounds, observation } from './observation.ts';

const at = { at: 5_000, missing: 0 };
const known = (...nodes: Observation[]) => new Map(nodes.map((node) => [node.instance, node]));
const two = [observation(), observation({ node: 'two', instance: 'two-1' })] as const;

describe('a tick', () => {
  test('has the rates of all nodes together, each over the time between its own two answers', () => {
    const later = [
      observation({ at: 1_000, totals: { published: 5, delivered: 50, opened: 1 } }),
      // Its answer before this one was lost.
      observation({ node: 'two', instance: 'two-1', at: 2_000, totals: { published: 10, delivered: 20, opened: 0 } }),
    ];
    const { nodes, point } = tickOf(known(...two), later, at);
    expect(point.rates).toMatchObject({ published: 10, delivered: 60, opened: 1 });
    expect(point).toMatchObject({ connections: 20, nodes: 2, missing: 0 });
    expect(nodes.map(({ rates }) => rates?.published)).toEqual([5, 5]);
  });

  test('has no rate of a node that is new or has started anew', () => {
    const anew = observation({ instance: 'one-2', at: 100, totals: { published: 3, delivered: 3, opened: 3 } });
    const { nodes, point } = tickOf(known(two[0]), [anew], at);
    expect(point.rates).toBeNull();
    expect(nodes[0]).toMatchObject({ rates: null, cpu: null, loop: null });
  });

  test('adds what was observed on all nodes, and leaves out a node with other bounds', () => {
    const fanout = (counts: number[], of = bounds) => ({ ...two[0].histograms, fanout: { bounds: of, counts } });
    const later = [
      observation({ at: 1_000, histograms: fanout([1, 2, 0, 0]) }),
      observation({ node: 'two', instance: 'two-1', at: 1_000, histograms: fanout([0, 1, 0, 1]) }),
      observation({ node: 'three', instance: 'three-1', at: 1_000, histograms: fanout([9, 9, 9], [1, 2]) }),
    ];
    const all = known(...two, observation({ node: 'three', instance: 'three-1' }));
    expect(tickOf(all, later, at).point.counts.fanout).toEqual([1, 3, 0, 1]);
  });

  test('has the events since the last answers by reason, and all since the nodes started', () => {
    const closed = (counts: Record<string, number>) => ({ ...two[0].reasons, closed: counts });
    const first = observation({ reasons: closed({ 1000: 4, 4003: 1 }) });
    const later = observation({ at: 2_000, reasons: closed({ 1000: 4, 4003: 3, 4501: 2 }) });
    const { point, totals } = tickOf(known(first), [later], at);
    expect(point.events.closed).toEqual({ 4003: 2, 4501: 2 });
    expect(point.rates?.closed).toBe(2);
    expect(totals.closed).toEqual({ 1000: 4, 4003: 3, 4501: 2 });
  });

  test('adds the deliveries of a room that is on several nodes, and counts each of its messages once', () => {
    const busy = (members: number) => ({
      room: 'a',
      members,
      messagesPerSecond: 4,
      deliveriesPerSecond: 4 * members,
      errorPerSecond: 0,
    });
    const quiet = { room: 'b', members: 1, messagesPerSecond: 5, deliveriesPerSecond: 5, errorPerSecond: 1 };
    const later = [
      observation({ busiest: [busy(2), quiet] }),
      observation({ node: 'two', instance: 'two-1', busiest: [busy(3)] }),
    ];
    expect(tickOf(new Map(), later, at).busiest).toEqual([
      { room: 'a', members: 5, messagesPerSecond: 4, deliveriesPerSecond: 20, errorPerSecond: 0 },
      quiet,
    ]);
  });
});
