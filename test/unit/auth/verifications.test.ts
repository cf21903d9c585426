/** How many verifications are under way. */
import { expect, test } from 'vitest';
import { Verifications, VerificationsFullError } from '../../../gateway/auth/verifications.ts';

test('64 are under way at once, 10,000 wait and get their turn in order, and one more is refused', async () => {
  const verifications = new Verifications();
  const begun: number[] = [];
  const end: (() => void)[] = [];
  const run = (index: number) =>
    verifications.run(() => {
      begun.push(index);
      return new Promise<number>((resolve) => {
        end[index] = () => resolve(index);
      });
    });
  const all = Array.from({ length: 64 + 10_000 }, (_, index) => run(index));
  expect([begun.length, verifications.waiting]).toEqual([64, 10_000]);
  await expect(run(all.length)).rejects.toThrow(VerificationsFullError);
  for (const [index, one] of all.entries()) {
    end[index]?.();
    expect(await one).toBe(index);
  }
  expect(begun).toEqual(all.map((_, index) => index));
  expect(verifications.waiting).toBe(0);
});

test('one that fails gives its place to the next', async () => {
  const verifications = new Verifications();
  const all = Array.from({ length: 200 }, (_, index) =>
    verifications.run(() => (index % 2 === 0 ? Promise.reject(new Error('bad')) : Promise.resolve(index))),
  );
  const settled = await Promise.allSettled(all);
  expect(settled.filter(({ status }) => status === 'rejected')).toHaveLength(100);
  expect(await verifications.run(() => Promise.resolve('still'))).toBe('still');
});
