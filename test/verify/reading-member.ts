/**
 * A member of one room with history that only checks and counts: each offset is the next one, or a `gap` names the missing
 * ones. It can stop reading, like a phone in a tunnel.
 *
 * It is cheap enough for hundreds of them at thousands of messages a second. `faults` lists what it finds wrong.
 */
import type { GapFrame } from '../../shared/protocol.ts';
import { type Client, connectWelcomed } from '../support/client.ts';
import { mintToken } from '../support/token.ts';

export class ReadingMember {
  readonly faults: string[] = [];
  readonly gaps: GapFrame[] = [];
  /** From publish to here, in ms, of every message since the last `reset`. */
  latencies: number[] = [];
  messages = 0;
  offset = 0;
  readonly #client: Client;
  #leaving = false;

  static async join(node: { url: string }, user: string, room: string): Promise<ReadingMember> {
    const token = await mintToken({ sub: user, exp: Math.floor(Date.now() / 1000) + 3_600 });
    const client = await connectWelcomed(node.url, token);
    const { offset = 0 } = await client.subscribe(room);
    return new ReadingMember(client, offset);
  }

  private constructor(client: Client, offset: number) {
    this.#client = client;
    this.offset = offset;
    // From here on the client must not keep every frame.
    client.socket.removeAllListeners('message');
    client.socket.on('message', (bytes: Buffer) => this.#take(bytes));
    void client.closed.then(({ code }) => this.#leaving || this.faults.push(`closed with ${code}`));
  }

  /** The end of the run: nothing that happens now is a fault. */
  leave(): Promise<unknown> {
    this.#leaving = true;
    return this.#client.close();
  }

  stopReading(): void {
    this.#client.socket.pause();
  }

  readAgain(): void {
    this.#client.socket.resume();
  }

  #take(bytes: Buffer): void {
    const head = bytes.toString('latin1', 0, 160);
    if (head.startsWith('{"type":"gap"')) this.#gap(JSON.parse(bytes.toString()) as GapFrame);
    const found = /^\{"type":"message","room":"[^"]+","offset":(\d+),"data":\[([\d.]+)/.exec(head);
    if (found === null) return;
    const offset = Number(found[1]);
    if (offset !== this.offset + 1) this.faults.push(`offset ${offset} after ${this.offset}`);
    this.offset = offset;
    this.messages++;
    this.latencies.push(performance.now() - Number(found[2]));
  }

  #gap(gap: GapFrame): void {
    this.gaps.push(gap);
    const { first = 0, last = 0, count, offset } = gap;
    if (first !== this.offset + 1 || offset !== last || count !== last - first + 1) {
      this.faults.push(`${JSON.stringify(gap)} after ${this.offset}`);
    }
    this.offset = last;
  }
}
