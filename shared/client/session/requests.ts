/**
 * Publishes and questions on their way to an `ok`, over as many connections as it takes.
 *
 * Owns the bounded queue: its order, what was sent where, and when to give up. A publish has one key from its first to its
 * last attempt, so the gateway takes it once. Who asks chooses the connection.
 */
import type { ErrorFrame, OkFrame } from '../../protocol.ts';
import { backoffMs } from '../connection/backoff.ts';
import type { Answer, Connection } from '../connection/connection.ts';
import { isTransient, RoomcastError } from '../error.ts';

interface Waiting {
  /** The members of the frame, as text: what the caller changes later is not sent. */
  readonly members: string;
  route(): Connection | undefined;
  resolve(ok: OkFrame): void;
  reject(error: RoomcastError): void;
  readonly deadline: ReturnType<typeof setTimeout>;
  retry?: ReturnType<typeof setTimeout>;
  /** Sent and not answered, or waiting to be sent again. */
  isHeld: boolean;
  attempts: number;
  /** First, by performance.now(). */
  sentAt: number;
  /** Attempts of which nobody knows whether the gateway has taken them. */
  unknown: number;
  lastError?: ErrorFrame;
}

/** Fewer than the frames that a gateway lets wait behind others. */
const maxUnanswered = 64;
const maxCharacters = 8_388_608;
/** Of the time for which the gateway remembers a key. The rest is for a retry that is long on its way. */
const safeShare = 0.8;
const firstRetryStep = -1;

export class Requests {
  readonly #max: number;
  /** In the order of the calls. */
  readonly #waiting = new Set<Waiting>();
  #characters = 0;
  #unanswered = 0;
  #closed: RoomcastError | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  /** `route`: the connection to use now, if there is one. Rejects after `withinMs`. */
  async ask(members: string, withinMs: number, route: () => Connection | undefined): Promise<OkFrame> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#waiting.size >= this.#max || this.#characters + members.length > maxCharacters) {
      throw new RoomcastError('limit_exceeded', 'too many requests');
    }
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this.#finish(waiting, failureOf(waiting)), withinMs);
      const waiting: Waiting = {
        ...{ members, route, resolve, reject, deadline },
        ...{ isHeld: false, attempts: 0, sentAt: 0, unknown: 0 },
      };
      this.#waiting.add(waiting);
      this.#characters += members.length;
      this.flush();
    });
  }

  /** Sends what can be sent. To be called when a connection or a membership is new. */
  flush(): void {
    for (const waiting of this.#waiting) {
      if (this.#unanswered >= maxUnanswered) return;
      const connection = waiting.isHeld ? undefined : waiting.route();
      if (connection !== undefined) this.#send(waiting, connection);
    }
  }

  /** Rejects everything, now and later. */
  close(error: RoomcastError): void {
    this.#closed = error;
    for (const waiting of this.#waiting) this.#finish(waiting, error);
  }

  #send(waiting: Waiting, connection: Connection): void {
    const now = performance.now();
    const { maxMessageBytes: limit = Infinity, dedupeMs = Infinity } = connection.welcome ?? {};
    if (waiting.unknown > 0 && now - waiting.sentAt > dedupeMs * safeShare) {
      this.#finish(waiting, failureOf(waiting));
      return;
    }
    const length = sizeOf(waiting.members);
    // The gateway would cut the connection for a much larger one, and again for each retry.
    if (length > limit) {
      const message = `the frame has ${length} bytes; the gateway takes ${limit}`;
      this.#finish(waiting, new RoomcastError('too_large', message));
      return;
    }
    waiting.isHeld = true;
    if (waiting.attempts++ === 0) waiting.sentAt = now;
    waiting.unknown++;
    this.#unanswered++;
    connection.ask(waiting.members, (answer) => {
      this.#unanswered--;
      if (this.#waiting.has(waiting)) this.#answered(waiting, answer);
      if (answer !== undefined) this.flush();
    });
  }

  #answered(waiting: Waiting, answer: Answer): void {
    if (answer === undefined) {
      waiting.isHeld = false;
      return;
    }
    if (answer.type === 'ok') {
      this.#finish(waiting, answer);
      return;
    }
    waiting.lastError = answer;
    if (answer.code !== 'timeout' && answer.code !== 'internal') waiting.unknown--;
    if (!isTransient(answer.code)) {
      this.#finish(waiting, failureOf(waiting));
      return;
    }
    const waitMs = Math.max(answer.retryAfterMs ?? 0, backoffMs(firstRetryStep + waiting.attempts));
    waiting.retry = setTimeout(() => {
      waiting.isHeld = false;
      this.flush();
    }, waitMs);
  }

  #finish(waiting: Waiting, outcome: OkFrame | RoomcastError): void {
    if (!this.#waiting.delete(waiting)) return;
    this.#characters -= waiting.members.length;
    clearTimeout(waiting.deadline);
    clearTimeout(waiting.retry);
    if (outcome instanceof RoomcastError) waiting.reject(outcome);
    else waiting.resolve(outcome);
  }
}

/** A frame without its id, as text. */
export function membersOf(frame: object): string {
  return JSON.stringify(frame).slice(1, -1);
}

export function errorOf({ code, message, retryAfterMs }: ErrorFrame): RoomcastError {
  return new RoomcastError(code, message, retryAfterMs);
}

/** `timeout`: nobody knows whether it was taken, whatever came last. Any other code: it was not. */
function failureOf({ unknown, lastError }: Waiting): RoomcastError {
  if (unknown > 0) return new RoomcastError('timeout', 'no ok: it may have been taken');
  if (lastError !== undefined) return errorOf(lastError);
  return new RoomcastError('unavailable', 'no connection');
}

/** UTF-8 bytes of the whole frame: `{"id":,}` and up to 16 digits come on top. */
function sizeOf(members: string): number {
  return new TextEncoder().encode(members).length + 24;
}
