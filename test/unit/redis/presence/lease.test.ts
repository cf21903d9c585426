/**
 * gateway/redis/presence/lease.ts: who is taken for dead, and when a node has to take itself for dead. A node and an observer on clocks of
 * their own: whatever happens between them, nobody is reaped who still writes.
 */
import { describe, expect, test } from 'vitest';
import { beatMs, Lease, leaseMs, ownerOf } from '../../../../gateway/redis/presence/lease.ts';
import { Random } from '../../random.ts';

describe('the others', () => {
  /** Looks every second from `from` up to and with `to`, at beats that are a function of the time. */
  function look(lease: Lease, from: number, to: number, beats: (now: number) => Record<string, string>): string[] {
    let dead: string[] = [];
    for (let now = from; now <= to; now += beatMs) dead = lease.dead(beats(now), now);
    return dead;
  }

  test('are dead when their beat has stood still for a lease, not before, whatever its value', () => {
    const lease = new Lease('me-1');
    expect(look(lease, 0, leaseMs - beatMs, () => ({ 'a-1.1': '7', 'b-1.1': '-3' }))).toEqual([]);
    expect(lease.dead({ 'a-1.1': '7', 'b-1.1': '-3' }, leaseMs).sort()).toEqual(['a-1.1', 'b-1.1']);
  });

  test('are alive as long as it moves, in whichever direction, and this node is never dead to itself', () => {
    const lease = new Lease('me-1');
    const beats = (now: number) => ({ 'a-1.1': String(now), 'b-1.1': String(-now), [lease.name]: '1' });
    expect(look(lease, 0, 20 * leaseMs, beats)).toEqual([]);
  });

  test('get a whole lease again after an interruption of the connection, or when this node itself was away', () => {
    const lease = new Lease('me-1');
    const still = () => ({ 'a-1.1': '7' });
    look(lease, 0, leaseMs - beatMs, still);
    lease.interrupted();
    expect(look(lease, leaseMs, 2 * leaseMs - beatMs, still)).toEqual([]);
    expect(look(lease, 2 * leaseMs, 2 * leaseMs, still)).toEqual(['a-1.1']);
    const after = 10 * leaseMs;
    expect(look(lease, after, after + leaseMs - beatMs, still)).toEqual([]);
    expect(look(lease, after + leaseMs, after + leaseMs, still)).toEqual(['a-1.1']);
  });

  test('are forgotten when they are gone, and start anew when they come back', () => {
    const lease = new Lease('me-1');
    look(lease, 0, leaseMs - beatMs, () => ({ 'a-1.1': '7' }));
    expect(lease.dead({}, leaseMs)).toEqual([]);
    expect(lease.dead({ 'a-1.1': '7' }, leaseMs + beatMs)).toEqual([]);
  });

  test('of an earlier life of this node are others', () => {
    const lease = new Lease('me-1');
    const first = lease.name;
    lease.confirm(1, 0, 1);
    expect(lease.confirm(1, beatMs, beatMs + 1)).toBe(false);
    expect(look(lease, 0, leaseMs, () => ({ [first]: '1', [lease.name]: '1' }))).toEqual([first]);
  });
});

describe("a node's own lease", () => {
  test('begins with its first beat, holds while beats are confirmed, and ends when they are not', () => {
    const lease = new Lease('me-1');
    expect(lease.holds(0)).toBe(false);
    expect(lease.confirm(1, 100, 200)).toBe(true);
    expect(lease.holds(200)).toBe(true);
    expect(lease.confirm(2, 1_100, 1_200)).toBe(true);
    expect(lease.holds(1_100 + leaseMs)).toBe(false);
  });

  test.each([
    ['the beat begins anew, since others have ended it', 1, 1_000, 1_001],
    ['the answer came a lease after the last beat was sent', 3, 1_000, leaseMs],
    ['the node stood still for a lease', 3, leaseMs, leaseMs + 1],
  ])('is lost when %s: with the next beat a new one begins, under a new name', (_, beat, sentAt, now) => {
    const lease = new Lease('me-1');
    lease.confirm(1, -1, 0);
    lease.confirm(2, 0, 1);
    const { name } = lease;
    expect(lease.confirm(beat, sentAt, now)).toBe(false);
    expect(lease.holds(now)).toBe(false);
    expect(lease.name).not.toBe(name);
    expect(ownerOf(lease.name)).toEqual({ instance: 'me-1', life: '2' });
    expect(lease.confirm(1, now, now + 1)).toBe(true);
    expect(lease.holds(now + 1)).toBe(true);
  });

  test('a name with dots and dashes is taken apart at the last dot', () => {
    expect(ownerOf('a.b-1.2-f00.17')).toEqual({ instance: 'a.b-1.2-f00', life: '17' });
  });
});

test('nobody writes under a lease that another node could have taken for dead (1,000 random pauses on both sides)', () => {
  const random = new Random(7);
  let deaths = 0;
  let writesOfTheDead = 0;
  for (let round = 0; round < 1_000; round++) {
    const [node, observer] = [new Lease('node-1'), new Lease('observer-1')];
    // Both run on one true time here; each reads it from a zero of its own.
    const [nodeZero, observerZero] = [random.integer(0, 1e6), random.integer(0, 1e6)];
    const counters = new Map<string, number>();
    let [nextBeat, nextLook] = [0, random.integer(0, beatMs)];
    const pause = () => (random.chance(0.15) ? random.integer(beatMs, 2 * leaseMs) : beatMs);
    const dead = new Set<string>();
    for (let now = 0; now < 60_000; now += 50) {
      if (node.holds(now - nodeZero) && dead.has(node.name)) writesOfTheDead++;
      if (now >= nextBeat) {
        const beat = (counters.get(node.name) ?? 0) + 1;
        counters.set(node.name, beat);
        node.confirm(beat, now - nodeZero, now - nodeZero);
        nextBeat = now + pause();
      }
      if (now >= nextLook) {
        const beats = Object.fromEntries([...counters].map(([name, beat]) => [name, String(beat)]));
        for (const name of observer.dead(beats, now - observerZero)) {
          dead.add(name);
          counters.delete(name);
          deaths++;
        }
        nextLook = now + pause();
      }
    }
  }
  expect(deaths).toBeGreaterThan(100);
  expect(writesOfTheDead).toBe(0);
});
