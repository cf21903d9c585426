/**
 * A lane: publishes that come by one way without a connection of their own, such as the HTTP API.
 *
 * All of them together have what one connection has: a flood in a lane takes half of the places of the node at most
 * (gateway/admission/shares.ts). Owns those that wait for a place, in their order. Whoever uses it bounds how many come at once.
 */
import { type Publishing, publishBytes, type Sharer, type Shares } from './shares.ts';

interface Waiting {
  bytes: number;
  begin(): void;
}

export class Lane implements Sharer {
  readonly publishing: Publishing = { count: 0, bytes: 0 };
  readonly #shares: Shares;
  readonly #waiting: Waiting[] = [];

  constructor(shares: Shares) {
    this.#shares = shares;
  }

  get nextBytes(): number | undefined {
    return this.#waiting[0]?.bytes;
  }

  /** A publish is under way as soon as there is a place for it, until `end`. Returns the bytes that it counts. `data`: JSON text. */
  begin(data: string): number | Promise<number> {
    const bytes = publishBytes(data);
    if (this.#waiting.length > 0 || !this.#shares.hasPlace(this, bytes)) return this.#turn(bytes);
    this.#shares.publishBegan(this, bytes);
    return bytes;
  }

  end(bytes: number): void {
    this.#shares.publishEnded(this, bytes);
  }

  #turn(bytes: number): Promise<number> {
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, begin: () => resolve(bytes) });
      this.#shares.wait(this);
    });
  }

  goOn(most: number): boolean {
    for (let count = 0; count < most && this.#waiting.length > 0 && this.#shares.mayGoOn(this); count++) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      // Before its turn comes in this loop again, so that the place is counted.
      this.#shares.publishBegan(this, next.bytes);
      next.begin();
    }
    return this.#waiting.length > 0;
  }
}
