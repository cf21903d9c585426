/**
 * What each signal means to the process.
 *
 * None of those that operators and tools send ends it undrained. It knows nothing of a node; that is gateway/main.ts.
 */
import { isatty } from 'node:tty';

export interface Orders {
  /** Once. */
  stop(signal: NodeJS.Signals): void;
  /** Whoever has asked to stop asks again. */
  endNow(): void;
  reload(): void;
  ignored(signal: NodeJS.Signals): void;
}

/**
 * So soon after the first one a signal is the same order: a terminal sends it to the whole process group, and npm, which
 * is in the group, hands it on.
 */
const sameOrderMs = 1_000;

export function obeySignals(orders: Orders, inProduction: boolean): void {
  let stoppingSince: number | undefined;
  const stop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    if (stoppingSince === undefined) {
      stoppingSince = now;
      orders.stop(signal);
    } else if (now - stoppingSince > sameOrderMs) orders.endNow();
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) process.on(signal, stop);

  // A developer who closes the terminal wants the program to end with it; a service has no terminal to lose.
  const losesTerminal = !inProduction && isatty(0);
  process.on('SIGHUP', losesTerminal ? stop : () => orders.reload());

  process.on('SIGUSR2', orders.ignored);
  // Node would open a debugger port, through which whoever reaches it runs what he likes. Other servers reopen logs at it.
  if (inProduction) process.on('SIGUSR1', orders.ignored);
}
