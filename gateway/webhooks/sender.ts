/**
 * The sender: takes events out of the outbox and posts them to the receiver, one batch at a time.
 *
 * Every node has one; the outbox lets one node send at a time, and another go on when it is gone. Owns the batches, the
 * attempts and the pauses between them. An event is acknowledged when the receiver has taken it, or when its batch was tried
 * for `retryMs`: so the order of events is kept, and each is delivered at least once unless it is given up. A receiver that
 * hangs holds up only this. It knows neither rooms nor HTTP. Next: gateway/webhooks/receiver.ts.
 */
import { createHash } from 'node:crypto';
import { BackplaneError } from '../backplane/backplane.ts';
import { type KeptEvent, type Outbox, senderMs, type Taken } from '../backplane/outbox.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Outcome } from './receiver.ts';

export interface SenderParts {
  outbox: Outbox;
  receiver: { post(id: string, body: string): Promise<Outcome> };
  events: Pick<Events, 'webhooks'>;
  faults: Faults;
  log: Logger;
  /** Events are gone from the outbox, so many at least, and no node has sent them. */
  onLost(events: number): void;
}

/** Of one request. */
export const batchEvents = 100;
/** Between two looks into the outbox, and between two confirmations of the place while a batch is under way. */
export const pollMs = 1_000;
/** A batch is tried for so long, then given up. */
export const retryMs = 300_000;
/** Between two attempts: doubles from the first to the last of these, less up to half of it by chance. */
const fastestRetryMs = 1_000;
const slowestRetryMs = 60_000;
/** So long before the end of its place a sender begins no attempt any more. */
const marginMs = 1_000;
/** At the end of the node: time to send what is left. */
const closeMs = 4_000;

export class Sender {
  readonly #parts: SenderParts;
  /** In the outbox, as of the last look. */
  #waiting = 0;
  /** Until then no other node sends; of performance.now(). */
  #heldUntil = Number.NEGATIVE_INFINITY;
  /** Entries to be acknowledged. */
  #done: string[] = [];
  #closing = false;
  /** Ends the present pause. */
  #wake: () => void = () => undefined;
  #running: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /** For the gauge. */
  get waiting(): number {
    return this.#waiting;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Sends what is left, for a few seconds at most. In a shared outbox it leaves the rest to other nodes at the first failure. */
  async close(): Promise<void> {
    const { log, outbox } = this.#parts;
    this.#closing = true;
    this.#wake();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeMs);
    });
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    this.#ended = true;
    this.#wake();
    // Without it the next sender begins when the place ends.
    await outbox
      .release()
      .catch((error: Error) => log.warn({ error: error.message }, 'other nodes send webhooks later'));
    if (outbox.shared || this.#waiting === 0) return;
    log.error({ events: this.#waiting }, 'the node stops with events that the webhook has not taken; they are lost');
  }

  async #run(): Promise<void> {
    for (let goesOn = true; goesOn && !this.#ended; ) {
      goesOn = await this.#turn().catch(async (error: unknown) => {
        this.#parts.faults.report('sending events to the webhook failed', error);
        await this.#pause(pollMs);
        return !this.#closing;
      });
    }
  }

  /** One batch, or a pause if there is none. False: at the end of the node nothing is left to do. */
  async #turn(): Promise<boolean> {
    // A look that began before the end may have missed the last events.
    const isLast = this.#closing;
    const events = (await this.#take(batchEvents))?.events ?? [];
    if (events.length === 0) {
      if (!this.#closing) await this.#pause(pollMs);
      return !isLast;
    }
    const delivered = await this.#deliver(events);
    if (delivered) this.#done = events.map(({ entry }) => entry);
    if (this.#closing) return delivered || !this.#parts.outbox.shared;
    // If a full batch waits it follows at once.
    if (this.#waiting - events.length >= batchEvents) return true;
    // What is acknowledged is not sent again if this node dies.
    await this.#take(0);
    await this.#pause(pollMs);
    return true;
  }

  /** Undefined: the outbox is away. It says so in the log itself. */
  async #take(limit: number): Promise<Taken | undefined> {
    const askedAt = performance.now();
    const done = this.#done;
    // Until its place ends only this node removes events.
    const least = askedAt < this.#heldUntil - marginMs ? this.#waiting - done.length : 0;
    try {
      const taken = await this.#parts.outbox.take(limit, done);
      if (this.#done === done) this.#done = [];
      this.#heldUntil = taken.mine ? askedAt + senderMs : Number.NEGATIVE_INFINITY;
      this.#waiting = taken.waiting;
      if (taken.mine && taken.waiting < least) this.#parts.onLost(least - taken.waiting);
      return taken;
    } catch (error) {
      // What it has removed is not known.
      this.#waiting = Math.max(0, this.#waiting - done.length);
      if (!(error instanceof BackplaneError)) this.#parts.faults.report('taking events for the webhook failed', error);
      return undefined;
    }
  }

  /** True if the events need not be sent again: the receiver has them, or they were given up. */
  async #deliver(kept: readonly KeptEvent[]): Promise<boolean> {
    const holding = setInterval(() => void this.#take(0), pollMs);
    try {
      return await this.#attempt(kept);
    } finally {
      clearInterval(holding);
    }
  }

  async #attempt(kept: readonly KeptEvent[]): Promise<boolean> {
    const { events, log, outbox, receiver } = this.#parts;
    const { id, body } = batchOf(kept);
    const from = performance.now();
    for (let attempt = 1; this.#holds() && !this.#ended; attempt++) {
      const outcome = await receiver.post(id, body);
      events.webhooks(outcome.delivered ? 'delivered' : 'failed', kept.length);
      if (outcome.delivered) return true;
      const { reason, retryAfterMs = 0 } = outcome;
      const left = from + retryMs - performance.now();
      if (left <= 0) {
        events.webhooks('expired', kept.length);
        log.error(
          { events: kept.length, reason },
          'events were given up: the webhook has not taken them for 5 minutes',
        );
        return true;
      }
      log.warn({ events: kept.length, attempt, reason }, 'the webhook has not taken events; they are sent again');
      if (this.#closing && outbox.shared) return false;
      await this.#pause(Math.min(left, Math.max(pauseAfter(attempt), retryAfterMs)));
    }
    return false;
  }

  /** False: another node may be sending. */
  #holds(): boolean {
    return performance.now() < this.#heldUntil - marginMs;
  }

  #pause(ms: number): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** The same events make the same id, whichever node sends them. */
export function batchOf(kept: readonly KeptEvent[]): { id: string; body: string } {
  const texts = kept.map(({ at, id, text }) => `{${text},"at":${at},"id":${JSON.stringify(id)}}`);
  const digest = createHash('sha256').update(kept.map(({ id }) => id).join('\n'));
  return { id: `msg_${digest.digest('base64url').slice(0, 27)}`, body: `{"events":[${texts.join(',')}]}` };
}

function pauseAfter(attempt: number): number {
  const pauseMs = Math.min(fastestRetryMs * 2 ** (attempt - 1), slowestRetryMs);
  return pauseMs * (0.5 + Math.random() / 2);
}
