/**
 * The live tail of a room for one browser: what its members on this node are sent, from now on.
 *
 * It watches the room without being a member: nobody sees it, no webhook tells of it. Bounded: in each `sendEveryMs` at most
 * `mostMessages`, each at most `mostCharacters` long; the number of those left out is told. So a room with ten thousand
 * messages a second costs a node and a browser hardly more than a quiet one.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import type { Watcher } from '../rooms/hub.ts';

const sendEveryMs = 250;
const mostMessages = 20;
const mostCharacters = 4_096;
/** Without a message: shows that the line is there, also to the library, which cuts a silent response. */
const beatEveryMs = 5_000;

export interface WatchedRooms {
  watch(room: string, watcher: Watcher): Promise<void>;
  unwatch(room: string, watcher: Watcher): void;
}

export interface TailResponse {
  send(event: 'open' | 'messages' | 'beat' | 'trouble', data: string): boolean;
  end(): void;
}

/** A message, as the members get it. */
interface Heard {
  /** The frame. Cut: no JSON any more. */
  text: string;
  /** Of the whole frame. */
  bytes: number;
}

export class Tail implements Watcher {
  readonly #room: string;
  readonly #rooms: WatchedRooms;
  readonly #response: TailResponse;
  readonly #timer: NodeJS.Timeout;
  #heard: Heard[] = [];
  #skipped = 0;
  #gaps = 0;
  #sentAt = performance.now();

  /** Begins at once. `hasHistory`: the browser may ask the API for older messages. */
  constructor(room: string, hasHistory: boolean, rooms: WatchedRooms, response: TailResponse) {
    this.#room = room;
    this.#rooms = rooms;
    this.#response = response;
    this.#timer = setInterval(() => this.#send(), sendEveryMs);
    rooms.watch(room, this).then(
      () => response.send('open', JSON.stringify({ history: hasHistory })),
      (error: unknown) => this.#failed(error),
    );
  }

  message(frame: Uint8Array): void {
    if (this.#heard.length >= mostMessages) this.#skipped++;
    else {
      // The bytes belong to others.
      const text = Buffer.from(frame.buffer, frame.byteOffset, Math.min(frame.length, mostCharacters)).toString();
      this.#heard.push({ text, bytes: frame.length });
    }
  }

  gap(): void {
    this.#gaps++;
  }

  ended(): void {
    this.#response.end();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#rooms.unwatch(this.#room, this);
  }

  #send(): void {
    const now = performance.now();
    if (this.#heard.length + this.#skipped + this.#gaps > 0) {
      const sent = JSON.stringify({ messages: this.#heard, skipped: this.#skipped, gaps: this.#gaps });
      // A browser that does not read yet gets the same a little later.
      if (!this.#response.send('messages', sent)) return;
      this.#heard = [];
      this.#skipped = 0;
      this.#gaps = 0;
    } else if (now - this.#sentAt > beatEveryMs) this.#response.send('beat', '{}');
    else return;
    this.#sentAt = now;
  }

  /** The browser comes back. */
  #failed(error: unknown): void {
    const detail = error instanceof BackplaneError ? error.message : 'a fault of the gateway';
    this.#response.send('trouble', JSON.stringify({ detail }));
    this.#response.end();
  }
}
