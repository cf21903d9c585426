/**
 * A room as an application sees it.
 *
 * Owns the loops over its messages. Everything else is in subscription.ts and requests.ts.
 */
import type { JoinLeaveFrame, MessageFrame, OkFrame, Position, PresentMember } from '../protocol.ts';
import { Reader } from './reader.ts';
import { membersOf } from './session/requests.ts';
import type { Session } from './session/session.ts';
import type { Message, RoomEvents, RoomState, Subscription } from './session/subscription.ts';

export type Members = JoinLeaveFrame['members'];

export interface Published {
  /** The position of the message, in a room with history. */
  epoch?: string;
  offset?: number;
  /** A message with this key had been taken before. */
  duplicate?: true;
}

export interface History {
  epoch: string;
  /** The newest message. */
  offset: number;
  /** The oldest message that is kept. */
  first: number;
  messages: MessageFrame[];
  more?: true;
}

export interface Presence {
  /** Connections. */
  count: number;
  users: number;
  members: PresentMember[];
  more?: true;
}

export interface Bounds {
  /** How long a publish is tried: less than the dedupe time of the gateway (120 s), so that no retry is a second message. */
  publishMs: number;
  questionMs: number;
  /** Messages that one loop may be behind. */
  loop: number;
  /** JSON text of `data`; undefined if it has none. */
  stringify(data: unknown): string | undefined;
}

export class Room implements AsyncIterable<Message> {
  readonly #session: Session;
  readonly #subscription: Subscription;
  readonly #bounds: Bounds;

  /** For `Client.room`. */
  constructor(session: Session, subscription: Subscription, bounds: Bounds) {
    this.#session = session;
    this.#subscription = subscription;
    this.#bounds = bounds;
  }

  get name(): string {
    return this.#subscription.name;
  }

  get state(): RoomState {
    return this.#subscription.state;
  }

  /** The last message that was told, in a room with history. Given back as `since`, the room goes on behind it. */
  get position(): Position | undefined {
    return this.#subscription.position;
  }

  /** Returns a function that removes the listener again. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void {
    return this.#subscription.events.on(name, listener);
  }

  /** Resolves when it is in the room. Rejects if it must not be; a lost connection only makes it take longer. */
  subscribe(): Promise<void> {
    return this.#session.subscribe(this.#subscription);
  }

  unsubscribe(): Promise<void> {
    return this.#session.unsubscribe(this.#subscription);
  }

  /**
   * Resolves when the gateway has acknowledged it. `key` makes it idempotent beyond this client. With `echo: false` this
   * client is not told of its own message.
   */
  async publish(data: unknown, options: { key?: string; echo?: boolean } = {}): Promise<Published> {
    const { key = crypto.getRandomValues(new BigUint64Array(2)).join('-'), echo = true } = options;
    const text = this.#bounds.stringify(data);
    if (text === undefined) throw new TypeError('data must be JSON');
    if (!echo) this.#subscription.hide(key);
    const members = `"data":${text},${membersOf({ type: 'publish', room: this.name, key })}`;
    const ok = await this.#session.requests.ask(members, this.#bounds.publishMs, () => this.#session.newest);
    return answerOf(ok);
  }

  history(options: { limit?: number; after?: number; before?: number; epoch?: string } = {}): Promise<History> {
    return this.#question('history', options);
  }

  presence(options: { limit?: number; after?: string } = {}): Promise<Presence> {
    return this.#question('presence', options);
  }

  /** Messages from now on. It subscribes if nobody has, and ends with an error when the membership does. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message> {
    const stops = [
      this.on('message', (message) => reader.push(message)),
      this.on('state', ({ state, error }) => {
        if (state === 'idle') reader.end(error ?? null);
      }),
    ];
    const reader = new Reader<Message>(this.#bounds.loop, () => {
      for (const stop of stops) stop();
    });
    this.subscribe().catch((error) => reader.end(error));
    return reader;
  }

  /** Members may ask, so it waits until this client is one, if it is to be. */
  async #question<Answered>(type: 'history' | 'presence', options: object): Promise<Answered> {
    const members = membersOf({ ...options, type, room: this.name });
    const route = () => (this.#subscription.isWanted ? this.#subscription.lead : this.#session.newest);
    return answerOf(await this.#session.requests.ask(members, this.#bounds.questionMs, route));
  }
}

/** What the protocol says of an answer to this frame is what `ok` carries. */
function answerOf<Answered>({ type, id, room, ...answer }: OkFrame): Answered {
  return answer as Answered;
}
