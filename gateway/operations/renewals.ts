/**
 * Renewals: members whose right came from the operator's backend, and ends. It is asked again when the time is over.
 *
 * Owns when. A denial ends the membership. A backend that does not answer must not empty rooms while it restarts: a member
 * stays for `graceMs` at most, and is asked for again and again. So many questions at once leave room for those of clients.
 * It knows members only by the interfaces below.
 */
import type { Authorised, Permit } from './authorise.ts';
import { Refusal } from './refusal.ts';

/** A right that ends. */
export interface Held {
  permit: Permit;
}

export interface Holder<Right extends Held> {
  askAgain(held: Right): Authorised | Promise<Authorised>;
  /** The permit is a new one. */
  renewed(held: Right): void;
  /** The right has ended. */
  ended(held: Right): void;
  /** Reports a fault of the gateway and closes the connection. */
  fail(error: unknown): void;
}

const graceMs = 60_000;
/** After a question without an answer. */
const retryMs = 5_000;
const maxUnderWay = 64;

interface Entry<Right extends Held> {
  holder: Holder<Right>;
  /** By performance.now(). */
  askAt: number;
}

export class Renewals<Right extends Held = Held> {
  readonly #entries = new Map<Right, Entry<Right>>();
  /** Those whose time was over at the last look. */
  #due: Right[] = [];
  #underWay = 0;

  /** Asks again when the permit ends. Changes nothing for one that is there: no client can put its question off. */
  add(held: Right, holder: Holder<Right>): void {
    if (!this.#entries.has(held)) this.#entries.set(held, { holder, askAt: held.permit.until });
  }

  delete(held: Right): void {
    this.#entries.delete(held);
  }

  /** To be called twice a second. `now`: performance.now(). */
  sweep(now: number): void {
    const isBusy = this.#due.length > 0 || this.#underWay > 0;
    for (const [held, entry] of this.#entries) {
      if (entry.askAt > now) continue;
      // The end of a token: nobody is asked, and it waits for no question.
      if (held.permit.expiresAt !== undefined) void this.#renew(held, entry);
      else if (!isBusy) this.#due.push(held);
    }
    this.#askNext();
  }

  #askNext(): void {
    while (this.#underWay < maxUnderWay) {
      const held = this.#due.pop();
      if (held === undefined) return;
      const entry = this.#entries.get(held);
      if (entry === undefined) continue;
      this.#underWay++;
      void this.#renew(held, entry).finally(() => {
        this.#underWay--;
        this.#askNext();
      });
    }
  }

  async #renew(held: Right, entry: Entry<Right>): Promise<void> {
    const { holder } = entry;
    try {
      const answer = await holder.askAgain(held);
      // It has left, or has another right by now.
      if (this.#entries.get(held) !== entry) return;
      if (!(answer instanceof Refusal)) {
        held.permit = answer;
        if (Number.isFinite(answer.until)) entry.askAt = answer.until;
        else this.delete(held);
        holder.renewed(held);
        return;
      }
      const now = performance.now();
      if (answer.code === 'forbidden' || now - held.permit.until >= graceMs) holder.ended(held);
      else entry.askAt = now + retryMs;
    } catch (error) {
      holder.fail(error);
    }
  }
}
