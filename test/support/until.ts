/**
 * Waits for a condition, with a deadline: the only way tests wait for something that sends no event.
 *
 * Owns the polling interval. Prefer an event (`client.next`, `node.exited`) if there is one.
 */

const pollIntervalMs = 15;

/**
 * Resolves with the first truthy value of `condition`. A condition that throws counts as not yet met. The error at the
 * deadline names `what` was awaited, and has the last failure as its cause.
 */
export async function until<T>(condition: () => T | Promise<T>, deadlineMs: number, what: string): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() >= deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`, { cause });
    await new Promise((resolve) => setTimeout(resolve, pollIntervalMs));
  }
}

/** `promise`, or a rejection after `deadlineMs` that names `what`. It does not cancel the work behind the promise. */
export async function within<T>(promise: Promise<T>, deadlineMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
