/**
 * One connection of a load client: the requests without an answer yet, and the heartbeat.
 *
 * Every request resolves once: with its answer, or with the reason why there is none. It owns no room and no position, and
 * never reconnects. Next: client.ts.
 */
import type { GatewayFrame } from '../../shared/protocol.ts';
import { HttpStream } from './http-stream.ts';
import { isEmulated, type Question, type Said, type Speech } from './speech.ts';
import { bySocket, type Wire } from './wire.ts';

type Answer = Extract<GatewayFrame, { type: 'ok' | 'error' }>;
/** In both cases the request may have been carried out, or not. */
export type NoAnswer = 'no answer in time' | 'connection ended';
type OnAnswer = (answer: Answer | NoAnswer) => void;
/** What answers no request. */
export type Push = Exclude<Said, { type: 'ok' | 'ping' | 'pong' | 'welcome' | 'session' | 'closing' }>;

export interface LinkListener {
  welcome(link: Link): void;
  push(link: Link, frame: Push): void;
  /** Called once, at the end; also without a welcome. */
  closed(link: Link, code: number): void;
}

const answerTimeoutMs = 8_000;
/** Silence after which it asks whether anybody is there; without an answer it then gives the connection up. */
const silentMs = 2_000;
const deadMs = 4_500;

let links = 0;

export class Link {
  readonly number = ++links;
  welcomed = false;
  readonly #wire: Wire;
  readonly #speech: Speech;
  readonly #listener: LinkListener;
  readonly #questions = new Map<number, { onAnswer: OnAnswer; askedAt: number }>();
  #lastId = 0;
  #heardAt = performance.now();
  #pinged = false;
  #closed = false;

  /** `url`: without a path. */
  constructor(url: string, token: string, speech: Speech, listener: LinkListener) {
    this.#speech = speech;
    this.#listener = listener;
    const heard = { said: (said: Said) => this.#take(said), closed: (code: number) => this.#end(code) };
    this.#wire = isEmulated(speech) ? new HttpStream(url, token, speech, heard) : bySocket(url, token, speech, heard);
  }

  get usable(): boolean {
    return this.welcomed && !this.#closed;
  }

  /** Resolves at once if the connection has ended. */
  ask(question: Question, onAnswer: OnAnswer): void {
    if (!this.usable) {
      onAnswer('connection ended');
      return;
    }
    const id = ++this.#lastId;
    this.#questions.set(id, { onAnswer, askedAt: performance.now() });
    this.#wire.send(this.#speech.ask(question, id));
  }

  /** Call it a few times a second. */
  tick(): void {
    if (this.#closed) return;
    const now = performance.now();
    for (const [id, { onAnswer, askedAt }] of this.#questions) {
      if (now - askedAt < answerTimeoutMs) break;
      this.#questions.delete(id);
      onAnswer('no answer in time');
    }
    if (now - this.#heardAt > deadMs) this.drop();
    else if (now - this.#heardAt > silentMs && this.welcomed && !this.#pinged) {
      this.#pinged = true;
      this.#wire.send(this.#speech.probe);
    }
  }

  close(): void {
    this.#wire.close();
  }

  /** Ends the TCP connection without a close frame. */
  drop(): void {
    this.#wire.drop();
  }

  /** Acts like a lost network: reads and sends nothing any more. `drop` ends it. */
  vanish(): void {
    this.#wire.vanish();
    this.#end(1006);
  }

  #take(frame: Said): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    this.#pinged = false;
    if (frame.type === 'welcome') {
      this.welcomed = true;
      this.#listener.welcome(this);
    } else if (frame.type === 'ping') this.#wire.send(this.#speech.pong);
    else if (frame.type === 'ok' || (frame.type === 'error' && frame.id !== undefined)) {
      const question = this.#questions.get(Number(frame.id));
      this.#questions.delete(Number(frame.id));
      question?.onAnswer(frame);
    } else if (frame.type !== 'pong' && frame.type !== 'session' && frame.type !== 'closing') {
      this.#listener.push(this, frame);
    }
  }

  #end(code: number): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.closed(this, code);
    const open = [...this.#questions.values()];
    this.#questions.clear();
    for (const { onAnswer } of open) onAnswer('connection ended');
  }
}
