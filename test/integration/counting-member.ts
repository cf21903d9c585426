/**
 * Members that only count: for crowds and floods in which recording every frame would cost more than the gateway
 * itself.
 *
 * Messages carry `[number, padding]`. A member records only the numbers and gaps of each room, in order. It can stop
 * reading, like a phone in a tunnel: the bytes then wait in the kernel and in the gateway.
 */
import type { GapFrame } from '../../shared/protocol.ts';
import { type Client, type Closed, connectWelcomed } from '../support/client.ts';
import { until } from '../support/until.ts';
import { tokenOf } from './people.ts';

/** The number of a message, or a gap. */
export type Heard = number | Pick<GapFrame, 'reason' | 'count'>;

export class CountingMember {
  readonly closed: Promise<Closed>;
  readonly #client: Client;
  readonly #heard = new Map<string, Heard[]>();

  static async join(node: { url: string }, user: string, rooms: string[]): Promise<CountingMember> {
    const client = await connectWelcomed(node.url, await tokenOf(user));
    for (const room of rooms) await client.subscribe(room);
    return new CountingMember(client, rooms);
  }

  private constructor(client: Client, rooms: string[]) {
    this.#client = client;
    this.closed = client.closed;
    for (const room of rooms) this.#heard.set(room, []);
    // From here on the client must not record every frame itself.
    client.socket.removeAllListeners('message');
    client.socket.on('message', (bytes) => this.#take(String(bytes)));
  }

  /** Everything received in a room so far. */
  heard(room: string): Heard[] {
    return this.#heard.get(room) ?? [];
  }

  stopReading(): void {
    this.#client.socket.pause();
  }

  readAgain(): void {
    this.#client.socket.resume();
  }

  /** Resolves when the message with this number came; `last` is the last one to come. */
  async untilHeard(room: string, last: number, deadlineMs: number): Promise<void> {
    const heard = this.heard(room);
    await until(() => heard.at(-1) === last, deadlineMs, `message ${last} of ${room}`);
  }

  #take(text: string): void {
    const room = /"room":"([^"]+)"/.exec(text)?.[1] ?? '';
    const number = /"data":\[(\d+)/.exec(text)?.[1];
    if (number !== undefined) this.#heard.get(room)?.push(Number(number));
    else if (text.includes('"gap"')) {
      const { reason, count } = JSON.parse(text) as GapFrame;
      this.#heard.get(room)?.push({ reason, ...(count === undefined ? {} : { count }) });
    }
  }
}

/** Publishes the numbers from `from` up to, not including, `end` to a room, a few at a time, each acknowledged. */
export async function publishNumbers(
  publisher: Client,
  room: string,
  from: number,
  end: number,
  paddingBytes = 0,
): Promise<void> {
  const padding = 'x'.repeat(paddingBytes);
  for (let start = from; start < end; start += 20) {
    const numbers = Array.from({ length: Math.min(20, end - start) }, (_, index) => start + index);
    await Promise.all(numbers.map((number) => publisher.publish(room, [number, padding])));
  }
}

/** `from` to `end`, without `end`. */
export function range(from: number, end: number): number[] {
  return Array.from({ length: end - from }, (_, index) => from + index);
}
