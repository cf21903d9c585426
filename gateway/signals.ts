/**
 * What each signal does.
 *
 * No first signal of an operator or a tool ends the process undrained. It knows nothing of a node; gateway/main.ts does.
 */
import { isatty } from 'node:tty';

export interface Orders {
  /** Called once. */
  stop(signal: NodeJS.Signals): void;
  /** A second order to stop. */
  endNow(): void;
  reload(): void;
  ignored(signal: NodeJS.Signals): void;
}

/**
 * Within this time a second signal counts as the same order: a terminal signals the whole process group, and npm, which is
 * in that group, passes the signal on.
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

  // A developer who closes the terminal wants the program to end. A service has no terminal.
  const losesTerminal = !inProduction && isatty(0);
  process.on('SIGHUP', losesTerminal ? stop : () => orders.reload());

  process.on('SIGUSR2', orders.ignored);
  // By default Node opens a debugger port, and anybody who reaches it can run code. Other servers reopen their logs here.
  if (inProduction) process.on('SIGUSR1', orders.ignored);
}
