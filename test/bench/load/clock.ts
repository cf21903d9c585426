/**
 * One clock for all threads and processes of the machine: monotonic, in microseconds.
 *
 * `performance.now()` is quick to read but begins anew in each worker. Its distance to the monotonic clock is measured: what
 * comes between the two readings only makes it smaller, so the largest of many is right.
 */
const samples = 1000;
const shiftUs = Math.max(
  ...Array.from({ length: samples }, () => Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000),
);

export function nowUs(): number {
  return performance.now() * 1000 + shiftUs;
}
