/**
 * Two probes of Redis. The canary: a message every second that has to come back to this node; without it the node is down.
 * The write probe: a message kept in a room of its own, by the script that every message takes; while it is refused, the node
 * is not ready.
 *
 * Owns when they are sent, and what follows. A canary that Redis accepted and that does not come back was published to
 * another server than the one that is subscribed.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import { type Logger, truncate } from '../telemetry/log.ts';
import { tickMs } from './connection/connection.ts';
import { isRedirect } from './connection/redirect.ts';

/** Down after so many ticks (gateway/redis/connection/connection.ts) without a canary: 3 s. */
const lostTicks = 12;
/** Between two write probes. After a refusal or a lost connection: 1 s. */
const writeProbeSeconds = 10;

export interface CanaryParts {
  /** Publishes a canary. Rejects if Redis refuses it, or is away. */
  publish(text: string): Promise<unknown>;
  /** Keeps a message. Rejects with a BackplaneError. */
  probeWrite(): Promise<unknown>;
  onRoundTrip(seconds: number): void;
  /** A canary that Redis accepted has not come back for `lostTicks`. */
  onLost(): void;
  log: Logger;
}

export class Canary {
  readonly #parts: CanaryParts;
  #ticksSinceBack = lostTicks;
  /** Since Redis accepted a canary that has not come back yet. Undefined: there is none. */
  #ticksSinceAccepted: number | undefined;
  #secondsSinceWriteProbe = writeProbeSeconds;
  #probingWrite = false;
  #refusal: string | undefined;

  constructor(parts: CanaryParts) {
    this.#parts = parts;
  }

  /** True if a canary came back within the last `lostTicks`. */
  get flows(): boolean {
    return this.#ticksSinceBack < lostTicks;
  }

  /** The error of Redis while it refuses writes; else undefined. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  tick(): void {
    this.#ticksSinceBack++;
    if (this.#ticksSinceAccepted === undefined || ++this.#ticksSinceAccepted < lostTicks) return;
    this.#ticksSinceAccepted = undefined;
    this.#parts.onLost();
  }

  /** Call it once a second while both connections are ready, and when they become ready. */
  send(): void {
    this.#parts.publish(String(performance.now())).then(
      () => {
        this.#ticksSinceAccepted ??= 0;
      },
      // The connection has logged it; a canary that was not accepted cannot be lost.
      () => undefined,
    );
    this.#secondsSinceWriteProbe++;
    if (this.#secondsSinceWriteProbe >= writeProbeSeconds && !this.#probingWrite) this.#probeWrite();
  }

  /** A write was refused: the next canary comes with a write probe. */
  suspectWrites(): void {
    this.#secondsSinceWriteProbe = writeProbeSeconds;
  }

  /** A connection is lost, or the channel is another one: canaries in flight need not come back. */
  interrupted(): void {
    this.#ticksSinceAccepted = undefined;
    this.suspectWrites();
  }

  /** A message came on the canary channel. */
  receive(text: string): void {
    const roundTripMs = text === '' ? Number.NaN : performance.now() - Number(text);
    // Other bytes come too: of the write probe, and of anybody with access to Redis.
    if (!(roundTripMs >= 0 && roundTripMs < lostTicks * tickMs)) return;
    this.#ticksSinceBack = 0;
    this.#ticksSinceAccepted = undefined;
    this.#parts.onRoundTrip(roundTripMs / 1000);
  }

  #probeWrite(): void {
    this.#probingWrite = true;
    this.#secondsSinceWriteProbe = 0;
    this.#parts
      .probeWrite()
      .then(
        () => this.#accepted(),
        (error: unknown) => this.#refused(error),
      )
      .finally(() => {
        this.#probingWrite = false;
      });
  }

  #accepted(): void {
    if (this.#refusal !== undefined) this.#parts.log.info('redis takes writes again');
    this.#refusal = undefined;
  }

  #refused(error: unknown): void {
    if (!(error instanceof BackplaneError)) throw error;
    this.suspectWrites();
    // Not refused: Redis is away, or its slot has moved.
    if (error.cause === undefined || isRedirect(error)) return;
    this.#refusal = truncate(error.cause.message);
    this.#parts.log.error({ error: this.#refusal }, 'redis refuses writes');
  }
}
