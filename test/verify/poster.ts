/**
 * Publishes to one room by POST at a steady rate, open loop, and writes it into the log. Each message has a key, and is sent
 * again until it is acknowledged. It waits only for its own answers and for readers that are too far behind.
 */
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';
import type { Entry } from './log.ts';
import { type Payload, payload } from './payload.ts';
import type { Place } from './reader.ts';

const tickMs = 10;
const mostUnderWay = 300;
const answerTimeoutMs = 10_000;
const retryMs = 300;
const lookEveryMs = 250;

/** Each attempt is a connection of its own to the judge: nothing orders two of them. */
let attempts = 2_000_000_000;

export interface PosterOptions {
  room: string;
  token: string;
  place: Place;
  log: Entry[];
  perSecond: number;
  /** It waits while this is true. */
  tooFast(): boolean;
}

export class Poster {
  waitedMs = 0;
  /** Acknowledged messages, and the highest offset of one. */
  acknowledged = 0;
  top = 0;
  readonly #options: PosterOptions;
  readonly #timers: NodeJS.Timeout[];
  #underWay = 0;
  #count = 0;
  #due = 0;
  #waits = false;
  #publishing = true;
  #stopped = false;

  constructor(options: PosterOptions) {
    this.#options = options;
    let before = performance.now();
    const tick = () => {
      const now = performance.now();
      this.#pass(now - before);
      before = now;
    };
    const look = () => {
      this.#waits = options.tooFast();
    };
    this.#timers = [setInterval(tick, tickMs), setInterval(look, lookEveryMs)];
    onCleanup(() => this.stop());
  }

  /** Publishes nothing new. Resolves when all is acknowledged. */
  async settle(deadlineMs: number): Promise<void> {
    this.#publishing = false;
    await until(() => this.#underWay === 0, deadlineMs, 'every message is acknowledged');
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
  }

  #pass(ms: number): void {
    if (!this.#publishing) return;
    if (this.#waits || this.#underWay >= mostUnderWay) {
      this.waitedMs += ms;
      return;
    }
    this.#due += (ms / 1000) * this.#options.perSecond;
    for (; this.#due >= 1; this.#due--) {
      // No padding: ASCII alone is faster to read.
      void this.#publish(payload(this.#options.room, `poster-${++this.#count}`, 1));
    }
  }

  async #publish(data: Payload): Promise<void> {
    this.#underWay++;
    while (!this.#stopped && !(await this.#attempt(data))) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * retryMs));
    }
    this.#underWay--;
  }

  /** True once it is acknowledged. */
  async #attempt(data: Payload): Promise<boolean> {
    const { room, token, place, log } = this.#options;
    const port = place();
    if (port === undefined) return false;
    const { id } = data;
    const conn = ++attempts;
    const note = (what: object) =>
      void log.push({ t: performance.now(), client: 'poster', conn, room, id, ...what } as Entry);
    note({ event: 'publish' });
    try {
      const response = await fetch(`http://127.0.0.1:${port}/rooms/${room}/messages`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ data, key: id }),
        signal: AbortSignal.timeout(answerTimeoutMs),
      });
      const answer = (await response.json()) as { epoch: string; offset: number; duplicate?: true };
      if (response.status === 200) {
        this.acknowledged++;
        this.top = Math.max(this.top, answer.offset);
        note({ event: 'ack', ...answer });
        return true;
      }
      const certain = response.status !== 504 && response.status !== 500;
      note({ event: certain ? 'nack' : 'unknown', code: String(response.status) });
    } catch (error) {
      note({ event: 'unknown', code: String(error) });
    }
    return false;
  }
}
