/**
 * Subscribes on one connection: all rooms after a reconnect, one at a time otherwise.
 *
 * Owns the pace. At most 32 subscribes are unanswered, far below what a gateway lets a new connection send at once
 * (three frames a room, docs/protocol.md); a refusal that will pass stops all of them for as long as it says.
 */
import type { Answer, Connection } from '../connection/connection.ts';
import { isTransient } from '../error.ts';
import { errorOf } from './requests.ts';
import type { Subscription } from './subscription.ts';

const maxUnanswered = 32;
const pauseMs = 500;

export class Joins {
  readonly #connection: Connection;
  readonly #settled: () => void;
  readonly #queue = new Set<Subscription>();
  #unanswered = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  /** `settled` is called each time when nothing is left to join. */
  constructor(connection: Connection, settled: () => void) {
    this.#connection = connection;
    this.#settled = settled;
  }

  add(subscription: Subscription): void {
    this.#queue.add(subscription);
    this.#send();
  }

  /** The connection has ended, or is about to. */
  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#pause);
    this.#queue.clear();
  }

  #send(): void {
    for (const subscription of this.#queue) {
      if (this.#pause !== undefined || this.#unanswered >= maxUnanswered) break;
      this.#queue.delete(subscription);
      if (!subscription.isWanted) continue;
      const { times } = subscription;
      this.#unanswered++;
      this.#connection.ask(subscription.request(), (answer) => {
        this.#unanswered--;
        if (times === subscription.times) this.#answered(subscription, answer);
        if (answer !== undefined) this.#send();
      });
    }
    if (this.#unanswered === 0 && !this.#isOver) this.#settled();
  }

  #answered(subscription: Subscription, answer: Answer): void {
    if (this.#isOver || answer === undefined) return;
    if (answer.type === 'ok') subscription.joined(this.#connection, answer);
    else if (isTransient(answer.code)) this.#later(subscription, answer.retryAfterMs ?? 0);
    else subscription.left(errorOf(answer));
  }

  #later(subscription: Subscription, leastMs: number): void {
    this.#queue.add(subscription);
    clearTimeout(this.#pause);
    const waitMs = Math.max(leastMs, pauseMs * (1 + Math.random()));
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#send();
    }, waitMs);
  }
}
