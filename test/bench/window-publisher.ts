/**
 * Publishes by one WebSocket, and waits for the `ok` of each publish: at most as many are unanswered as the HTTP API has
 * requests under way on 16 connections. What may be sent goes out in one write, as with any client that sends in a loop.
 */
import { Connection, type Owner } from '../../gateway/cli/load/connection.ts';
import { dialects } from '../../gateway/cli/load/dialects.ts';
import { clientFrame, ReadBuffer } from '../../gateway/cli/load/frames.ts';
import { publisherData, serve, type Way } from './answered-publisher.ts';

const { place, port, block } = publisherData;
const dialect = dialects[place.dialect];
const mostUnanswered = 16;

class ByWindow implements Way, Owner {
  readonly #buffer = new ReadBuffer();
  #connection: Connection | undefined;
  #unanswered = 0;
  #batch: Buffer[] = [];
  failure: string | undefined;
  changed: () => void = () => undefined;

  async connect(deadlineMs: number): Promise<void> {
    this.#connection?.close();
    const plan = { place, port, index: 0, block, user: 'publisher', joins: [] };
    const connection = new Connection(plan, this, this.#buffer);
    this.#connection = connection;
    this.#unanswered = 0;
    this.failure = undefined;
    const signal = AbortSignal.timeout(deadlineMs);
    await new Promise<void>((resolve, reject) => {
      this.changed = () => {
        if (this.failure !== undefined) reject(new Error(this.failure));
        else if (connection.isReady) resolve();
      };
      signal.addEventListener('abort', () => reject(new Error(connection.state)));
      connection.open();
    });
  }

  request(room: number, payload: string): Buffer {
    return clientFrame(dialect.publish(`${place.roomPrefix}${room}`, payload).replace('{', '{"id":1,'));
  }

  isFree(): boolean {
    return this.#unanswered < mostUnanswered;
  }

  get isIdle(): boolean {
    return this.#unanswered === 0;
  }

  send(_room: number, request: Buffer): void {
    this.#unanswered++;
    // A copy: the next message to the room is written into `request`.
    this.#batch.push(Buffer.from(request));
  }

  flush(): void {
    if (this.#batch.length > 0) this.#connection?.send(Buffer.concat(this.#batch));
    this.#batch = [];
  }

  reading(): void {
    // Nothing is measured here.
  }

  ready(): void {
    this.changed();
  }

  text(_connection: Connection, bytes: Buffer, start: number, end: number): void {
    const text = bytes.toString('latin1', start, Math.min(end, start + 200));
    if (text.includes('"type":"welcome"')) return;
    if (text.includes(dialect.joined)) this.#unanswered--;
    else this.failure ??= `an unexpected answer: ${text}`;
    this.changed();
  }

  closed(connection: Connection, reason: string): void {
    if (connection !== this.#connection) return;
    this.failure ??= `the publisher: ${reason}`;
    this.changed();
  }
}

serve(new ByWindow());
