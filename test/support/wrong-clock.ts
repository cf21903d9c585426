/**
 * A node with a wrong wall clock: flags for Node that shift its `Date`. Timers and `performance.now` stay right, as on a host
 * whose clock is set.
 */

/** The clock is off by the first of these; each SIGUSR2 switches to the next one. */
export function wrongClock(...shiftsMs: number[]): string[] {
  const module = `
    const Real = Date;
    const shifts = ${JSON.stringify(shiftsMs)};
    globalThis.Date = class extends Real {
      constructor(...of) {
        super(...(of.length === 0 ? [Date.now()] : of));
      }
      static now() {
        return Real.now() + shifts[0];
      }
    };
    process.on('SIGUSR2', () => shifts.shift());`;
  return ['--import', `data:text/javascript,${encodeURIComponent(module)}`];
}
