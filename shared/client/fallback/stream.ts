/**
 * One room, over one `GET /rooms/{room}/events`.
 *
 * Owns the request and the watch over its silence. It never comes back; its connection decides that.
 */
import type { GatewayFrame } from '../../protocol.ts';
import { type Api, type Refused, refusalOf } from './api.ts';
import { EventReader } from './events.ts';

export interface StreamListener {
  /** `ok` is the first one. */
  frame(frame: GatewayFrame): void;
  /** Once, and not after `close`. */
  ended(end: StreamEnd): void;
}

export interface StreamEnd {
  /** It was never a stream. */
  refused: Refused | undefined;
  /** The close code; 1000 after `unsubscribed`, 1006 if the stream broke off. */
  code: number;
  reason: string;
  /** When to come back, if the gateway said so. */
  retryMs: number | undefined;
}

/** For the answer. A gateway may have to ask the operator's backend and Redis first. */
const answerMs = 15_000;
/** A gateway sends a comment line every 15 s. */
const silenceMs = 30_000;
const lastChanceMs = 5_000;

export class Stream {
  /** It has begun, and not ended. */
  isOpen = false;
  readonly #listener: StreamListener;
  readonly #abort = new AbortController();
  readonly #events = new EventReader();
  #timer: ReturnType<typeof setTimeout>;
  #isOver = false;
  #isLast = false;

  /** Begins after `waitMs`. */
  constructor(api: Api, request: Parameters<Api['fetch']>, waitMs: number, listener: StreamListener) {
    this.#listener = listener;
    this.#timer = setTimeout(() => void this.#run(api, request), waitMs);
  }

  close(): void {
    this.#isOver = true;
    this.isOpen = false;
    clearTimeout(this.#timer);
    this.#abort.abort();
  }

  #end(code: number, reason: string, refused?: Refused): void {
    if (this.#isOver) return;
    this.close();
    this.#listener.ended({ code, reason, refused, retryMs: this.#events.retryMs });
  }

  async #run(api: Api, [room, what, call]: Parameters<Api['fetch']>): Promise<void> {
    this.#watch(answerMs);
    try {
      const response = await api.fetch(room, what, { ...call, signal: this.#abort.signal });
      if (response.ok && response.body !== null) await this.#read(response.body.getReader());
      else this.#end(1006, '', await refusalOf(response));
    } catch (error) {
      // The line broke, or what came is no stream. After `close` nobody is told.
      this.#end(1006, String(error));
    }
  }

  async #read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (this.#isOver) return;
      if (done) break;
      this.#watch(silenceMs);
      for (const { data } of this.#events.read(decoder.decode(value, { stream: true }))) this.#take(JSON.parse(data));
      if (this.#isOver) return;
    }
    this.#end(this.#isLast ? 1000 : 1006, '');
  }

  #take(frame: GatewayFrame | { type: 'close'; code: number; reason: string }): void {
    if (this.#isOver) return;
    if (frame.type === 'close') {
      this.#end(frame.code, frame.reason);
      return;
    }
    if (frame.type === 'ok') this.isOpen = true;
    this.#isLast = frame.type === 'unsubscribed';
    this.#listener.frame(frame);
  }

  /** A timer that was held up, in a hidden tab or a machine that slept, gives what came meanwhile a chance to be read. */
  #watch(ms: number): void {
    const from = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (performance.now() - from > 2 * ms) this.#watch(lastChanceMs);
      else this.#end(1006, 'silence');
    }, ms);
  }
}
