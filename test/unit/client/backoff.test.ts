/** The clients of a node that died, all at once. */
import { expect, test } from 'vitest';
import { backoffMs, lostStep } from '../../../shared/client/connection/backoff.ts';
import { Random } from '../random.ts';

test('500 clients whose node dies come back within 5 s, and never more than 150 of them in one second', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed);
    const times = Array.from({ length: 500 }, () => backoffMs(lostStep, random.next())).sort((a, b) => a - b);
    expect(times.at(-1)).toBeLessThan(5_000);
    const busiest = Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 1_000).length));
    expect(busiest, `seed ${seed}`).toBeLessThanOrEqual(150);
  }
});
