/**
 * Whether the way through Redis is open: a message every second that has to come back, whatever the connections say. And
 * whether Redis takes writes: a message that is kept in a room of nobody, by the same script as every other.
 *
 * Owns when these are sent and what follows for the node: without the first it is down, without the second unready. What
 * was sent and not refused, and does not come back, was sent to another server than the one that is subscribed.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import { cut, type Logger } from '../telemetry/log.ts';
import { tickMs } from './connection/connection.ts';

/** Ticks (gateway/redis/connection/connection.ts) without a canary until the way is taken for closed: 3 s. */
const lostTicks = 12;
/** Seconds between two tries of a write while all is well; otherwise it is tried every second. */
const trySeconds = 10;

export interface CanaryParts {
  /** Publishes it; rejects if Redis refuses, or is away. */
  publish(text: string): Promise<unknown>;
  /** Keeps a message; rejects with a BackplaneError. */
  tryWrite(): Promise<unknown>;
  onRoundTrip(seconds: number): void;
  /** A canary that Redis took has not come back. */
  onLost(): void;
  log: Logger;
}

export class Canary {
  readonly #parts: CanaryParts;
  #ticksSinceBack = lostTicks;
  /** Since Redis took one that has not come back; undefined if there is none. */
  #ticksSinceTaken: number | undefined;
  #secondsSinceTry = trySeconds;
  #trying = false;
  #refusal: string | undefined;

  constructor(parts: CanaryParts) {
    this.#parts = parts;
  }

  /** True if a canary came back within the last seconds. */
  get flows(): boolean {
    return this.#ticksSinceBack < lostTicks;
  }

  /** Why Redis does not take writes, in its words; undefined if it does. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  tick(): void {
    this.#ticksSinceBack++;
    if (this.#ticksSinceTaken === undefined || ++this.#ticksSinceTaken < lostTicks) return;
    this.#ticksSinceTaken = undefined;
    this.#parts.onLost();
  }

  /** To be called about once a second while the connections are ready, and when they have become so. */
  send(): void {
    this.#parts.publish(String(performance.now())).then(
      () => {
        this.#ticksSinceTaken ??= 0;
      },
      // Told by who is down, or refused; it comes to nothing else here.
      () => undefined,
    );
    this.#secondsSinceTry++;
    if (this.#secondsSinceTry >= trySeconds && !this.#trying) this.#try();
  }

  /** A write was refused: it is tried again with the next canary. */
  suspect(): void {
    this.#secondsSinceTry = trySeconds;
  }

  /** A connection is lost: what was under way need not come back. */
  interrupted(): void {
    this.#ticksSinceTaken = undefined;
    this.suspect();
  }

  /** Takes what came on the channel. */
  back(text: string): void {
    const roundTripMs = text === '' ? Number.NaN : performance.now() - Number(text);
    // Anybody with access to Redis can write into the channel; and so does `tryWrite`.
    if (!(roundTripMs >= 0 && roundTripMs < lostTicks * tickMs)) return;
    this.#ticksSinceBack = 0;
    this.#ticksSinceTaken = undefined;
    this.#parts.onRoundTrip(roundTripMs / 1000);
  }

  #try(): void {
    this.#trying = true;
    this.#secondsSinceTry = 0;
    this.#parts
      .tryWrite()
      .then(
        () => this.#taken(),
        (error: unknown) => this.#refused(error),
      )
      .finally(() => {
        this.#trying = false;
      });
  }

  #taken(): void {
    if (this.#refusal !== undefined) this.#parts.log.info('redis takes writes again');
    this.#refusal = undefined;
  }

  #refused(error: unknown): void {
    if (!(error instanceof BackplaneError)) throw error;
    this.suspect();
    // Without a connection there is nobody who refuses.
    if (error.cause === undefined) return;
    this.#refusal = cut(error.cause.message);
    this.#parts.log.error({ error: this.#refusal }, 'redis refuses writes');
  }
}
