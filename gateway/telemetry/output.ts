/**
 * Standard output, written without ever blocking.
 *
 * A full disk, or a pipe or terminal that nobody reads, must cost lines of the log, never the clients. Owns the lines that
 * cannot be written yet, up to a bound, and the count of dropped lines. `write` writes what it can before it returns, so a
 * process that exits loses no last line. It does not know what lines mean.
 */
import { constants, openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';

/** Bound on waiting lines: enough for a reader that pauses, small next to the memory of a node. */
const maxWaitingBytes = 1_048_576;
const retryMs = 100;
/** Interval of retries while the exit of the process waits for the last lines. */
const lastRetryMs = 20;

export class Output {
  /** Lines dropped so far. */
  dropped = 0;
  /** Called when lines can be written again after some were dropped; `error` is the code of the first failure. */
  onRecovered: (dropped: number, error: string) => void = () => undefined;
  readonly #open: () => number;
  #descriptor: number | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #droppedSinceTold = 0;
  /** While lines wait: the codes of the first and the last failure. */
  #firstError = '';
  #lastError = '';
  #timer: NodeJS.Timeout | undefined;

  /** `open` returns a non-blocking descriptor. It is called at the first line. */
  constructor(open: () => number) {
    this.#open = open;
  }

  /** Writes one or more lines. Never throws. */
  write(text: string): void {
    const bytes = Buffer.from(text);
    const othersWait = this.#waiting.length > 0;
    if (othersWait && this.#waitingBytes + bytes.length > maxWaitingBytes) {
      this.dropped++;
      this.#droppedSinceTold++;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!othersWait) this.#flushOrRetry();
  }

  /** Writes what can be written now. Returns true if no line waits any more. */
  flush(): boolean {
    try {
      this.#descriptor ??= this.#open();
      for (let line = this.#waiting[0]; line !== undefined; line = this.#waiting[0]) {
        const written = writeSync(this.#descriptor, line);
        this.#waitingBytes -= written;
        // A partly written line is finished first.
        if (written < line.length) this.#waiting[0] = line.subarray(written);
        else this.#waiting.shift();
      }
    } catch (error) {
      // Any failure may pass: somebody cleans up the disk, the reader goes on, a new reader opens the pipe.
      this.#lastError = (error as NodeJS.ErrnoException).code ?? String(error);
      this.#firstError ||= this.#lastError;
      return false;
    }
    const [dropped, error] = [this.#droppedSinceTold, this.#firstError];
    this.#droppedSinceTold = 0;
    this.#firstError = '';
    if (dropped > 0) this.onRecovered(dropped, error);
    return this.#waiting.length === 0;
  }

  /** For the exit: waits up to `maxMs` for a slow reader. It does not wait for a full disk. */
  async drained(maxMs: number): Promise<void> {
    const deadline = performance.now() + maxMs;
    while (!this.flush() && this.#lastError === 'EAGAIN' && performance.now() < deadline) await delay(lastRetryMs);
  }

  #flushOrRetry(): void {
    if (this.flush()) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flushOrRetry();
    }, retryMs).unref();
  }
}

export const standardOutput = new Output(() => {
  if (!isatty(1)) {
    // Reading `process.stdout` makes Node set a pipe or a socket to non-blocking; Node undoes that at its exit.
    return process.stdout.fd;
  }
  try {
    // Node writes to terminals in blocking mode, and Ctrl+S stops them. A new descriptor has its own mode.
    return openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // Not Linux, or the terminal of another user: then a stopped terminal stops the process.
    return 1;
  }
});
