/**
 * Standard output, written to without ever waiting for it.
 *
 * A disk may be full, and whoever reads a pipe or a terminal may stand still: that must cost lines of the log, never the
 * clients. Owns the lines that cannot be written now, up to a bound, and the count of those that were left out. What can
 * be written has been written when `write` returns, so a process that ends loses no last line. It knows nothing of what
 * the lines say.
 */
import { constants, openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isatty } from 'node:tty';

/** Enough for a reader that falls behind for a moment, little beside all else that a node holds. */
const maxWaitingBytes = 1_048_576;
const retryMs = 100;
/** What waits is tried so often while the process waits for it to end. */
const lastRetryMs = 20;

export class Output {
  /** Lines that were left out so far. */
  dropped = 0;
  /** Called when lines can be written again after some were left out; `error` is the code of what hindered it first. */
  onRecovered: (dropped: number, error: string) => void = () => undefined;
  readonly #open: () => number;
  #descriptor: number | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #droppedSinceTold = 0;
  /** While something waits: the codes of what hindered it first, and last. */
  #firstError = '';
  #lastError = '';
  #timer: NodeJS.Timeout | undefined;

  /** `open` returns a descriptor on which a write does not wait. It is asked with the first line. */
  constructor(open: () => number) {
    this.#open = open;
  }

  /** One line or more. Never throws. */
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

  /** Writes what can be written now. Returns true if nothing is left. */
  flush(): boolean {
    try {
      this.#descriptor ??= this.#open();
      for (let line = this.#waiting[0]; line !== undefined; line = this.#waiting[0]) {
        const written = writeSync(this.#descriptor, line);
        this.#waitingBytes -= written;
        // The rest of a line that was begun comes before anything else.
        if (written < line.length) this.#waiting[0] = line.subarray(written);
        else this.#waiting.shift();
      }
    } catch (error) {
      // Whatever it is may pass: a full disk is cleaned up, a reader reads on, a new one opens the pipe.
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

  /** For the end of the process: waits at most so long for a reader that is behind. For a full disk it does not wait. */
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
    // Node makes a pipe or a socket non-blocking when it opens the stream, and undoes that when it ends.
    return process.stdout.fd;
  }
  try {
    // Node waits for terminals, which Ctrl+S stops. A descriptor of our own does not share the mode of the others.
    return openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // Not Linux, or the terminal is of another user: then a stopped terminal stops the process.
    return 1;
  }
});
