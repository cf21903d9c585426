/**
 * Long polls: `GET /rooms/{room}/messages`. Each is a full member of its room while it waits, by a connection whose socket
 * is a response.
 *
 * Owns the open polls and how long they wait. The client names its position, so what comes between two polls is read from
 * history by the `subscribe` of the next one. Rights, limits and the drain are those of every connection; the rate is that of
 * all polls of a client, because each is a connection of its own.
 */
import type { Connections } from '../../connection/connections.ts';
import type { LibraryResponse } from '../response.ts';
import type { ClientRates } from './client-rates.ts';
import { polled } from './poll-dialect.ts';
import { PollSocket } from './poll-socket.ts';
import { type Following, Subscriber } from './subscriber.ts';

export interface PollRequest extends Following {
  waitMs: number;
  draining(): boolean;
}

export class Polls {
  readonly #connections: Connections;
  readonly #rates: ClientRates;
  #size = 0;

  constructor(connections: Connections, rates: ClientRates) {
    this.#connections = connections;
    this.#rates = rates;
  }

  get size(): number {
    return this.#size;
  }

  /** `ended` is called once. */
  open(res: LibraryResponse, { waitMs, draining, ...following }: PollRequest, ended: () => void): void {
    const { since, address, headers } = following;
    const overRate = (user: string | null) => this.#rates.take(user, address);
    const socket = new PollSocket(res, { fresh: since === undefined, address, headers, draining, overRate });
    const timer = setTimeout(() => socket.hurry(), waitMs);
    this.#size++;
    Subscriber.open(this.#connections, socket, polled, following, () => {
      this.#size--;
      clearTimeout(timer);
      ended();
    });
  }
}
