/** Timers and performance.now() of a test file in the test's own hands. Date stays real. */
import { afterEach, beforeEach, vi } from 'vitest';

/** To be called at the top of a test file: each test begins with a fake clock, and ends with the real one. */
export function useFakeClock(): void {
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'performance'],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}
