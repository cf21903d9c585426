/**
 * One clock for all threads and processes of the machine: monotonic, in microseconds.
 *
 * `performance.now()` is quick to read, but starts at 0 in each worker. So its offset to the monotonic clock is measured.
 * A delay between the two readings only makes the result smaller, so the largest of many is right.
 */
const samples = 1000;
const shiftUs = Math.max(
  ...Array.from({ length: samples }, () => Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000),
);

export function nowUs(): number {
  return performance.now() * 1000 + shiftUs;
}
