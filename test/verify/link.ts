/**
 * One connection of a load client: the socket, the questions that have no answer yet, and the heartbeat.
 *
 * Every question is answered once: by its frame, or by the reason why there is none. Owns no room and no position, and
 * never reconnects. Next: client.ts.
 */
import { WebSocket } from 'ws';
import { type GatewayFrame, subprotocol } from '../../shared/protocol.ts';

type Answer = Extract<GatewayFrame, { type: 'ok' | 'error' }>;
/** In both cases what was asked for may have been done, or not. */
export type NoAnswer = 'no answer in time' | 'connection ended';
type OnAnswer = (answer: Answer | NoAnswer) => void;
/** Frames that nobody asked for. */
export type Push = Exclude<GatewayFrame, { type: 'ok' | 'pong' | 'welcome' }>;

export interface LinkListener {
  welcome(link: Link, node: string): void;
  push(link: Link, frame: Push): void;
  /** Once, at the end; also when it was never welcomed. */
  closed(link: Link, code: number): void;
}

const handshakeTimeoutMs = 3_000;
const answerTimeoutMs = 8_000;
/** Without any frame for so long it asks; without an answer to that it gives the connection up. */
const silentMs = 2_000;
const deadMs = 4_500;

let links = 0;

export class Link {
  readonly number = ++links;
  welcomed = false;
  readonly #socket: WebSocket;
  readonly #listener: LinkListener;
  readonly #questions = new Map<number, { onAnswer: OnAnswer; askedAt: number }>();
  #lastId = 0;
  #heardAt = performance.now();
  #pinged = false;
  #closed = false;

  constructor(url: string, token: string, listener: LinkListener) {
    this.#listener = listener;
    this.#socket = new WebSocket(url, [subprotocol], {
      headers: { authorization: `Bearer ${token}` },
      handshakeTimeout: handshakeTimeoutMs,
      perMessageDeflate: false,
    });
    this.#socket.on('message', (data) => this.#take(JSON.parse(String(data)) as GatewayFrame));
    // Every error is followed by `close`.
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', (code) => this.#end(code));
  }

  get usable(): boolean {
    return this.welcomed && !this.#closed;
  }

  /** `frame` without an id. Answered at once when the connection is gone. */
  ask(frame: object, onAnswer: OnAnswer): void {
    if (!this.usable) {
      onAnswer('connection ended');
      return;
    }
    const id = ++this.#lastId;
    this.#questions.set(id, { onAnswer, askedAt: performance.now() });
    this.#socket.send(JSON.stringify({ ...frame, id }));
  }

  /** To be called a few times a second. */
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
      this.#socket.send('{"type":"ping"}');
    }
  }

  close(): void {
    this.#socket.close(1000);
  }

  /** The end of the TCP connection without a word. */
  drop(): void {
    this.#socket.terminate();
  }

  /** Gone as if the network were: reads nothing any more, and the gateway is told nothing. `drop` ends that, too. */
  vanish(): void {
    // One that ends already has no socket any more.
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.pause();
    this.#end(1006);
  }

  #take(frame: GatewayFrame): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    this.#pinged = false;
    if (frame.type === 'welcome') {
      this.welcomed = true;
      this.#listener.welcome(this, frame.node);
    } else if (frame.type === 'ok' || (frame.type === 'error' && frame.id !== undefined)) {
      const question = this.#questions.get(Number(frame.id));
      this.#questions.delete(Number(frame.id));
      question?.onAnswer(frame);
    } else if (frame.type !== 'pong') this.#listener.push(this, frame);
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
