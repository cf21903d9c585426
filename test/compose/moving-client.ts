/**
 * A client as the protocol wants it, for deploys: it obeys `reconnect` by making the new connection before it breaks the
 * old one, resumes with `since`, publishes with a key until there is an `ok`, and writes down what went wrong.
 *
 * Owns its connections and, of each room, where it is and what it heard. It judges only what one client can see: holes,
 * doubles, gaps, refused resumes, and time without an open connection. Knows nothing of containers.
 */
import type { GatewayFrame, Position } from '../../shared/protocol.ts';
import { type Client, connect, okOf } from '../support/client.ts';
import { until } from '../support/until.ts';

const deadlineMs = 20_000;
const retryMs = 100;

interface Heard {
  position: Position;
  /** By offset. */
  data: Map<number, unknown>;
}

export interface MovingClientOptions {
  url: string;
  token: string;
  rooms: string[];
}

export class MovingClient {
  readonly heard = new Map<string, Heard>();
  /** What must not happen to it, in words. */
  readonly troubles: string[] = [];
  readonly closeCodes: number[] = [];
  moves = 0;
  /** The longest time without an open connection, in ms. */
  longestAwayMs = 0;
  /** The node of the connection it is at home on. */
  node = '';
  readonly #options: MovingClientOptions;
  readonly #open = new Set<Client>();
  readonly #publishing = new Map<Client, number>();
  #current: Client | undefined;
  #awaySince: number | undefined;
  #ended = false;

  static async enter(options: MovingClientOptions): Promise<MovingClient> {
    const client = new MovingClient(options);
    await client.#connect();
    return client;
  }

  private constructor(options: MovingClientOptions) {
    this.#options = options;
  }

  /** Resolves with the position when the message is acknowledged, on whichever connection that is. */
  async publish(room: string, data: string): Promise<Position> {
    return until(() => this.#publishOnce(room, data), deadlineMs, `${data} is taken`);
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#open].map((connection) => connection.close()));
  }

  async #publishOnce(room: string, data: string): Promise<Position> {
    const connection = this.#current;
    if (connection === undefined) throw new Error('not connected');
    this.#publishing.set(connection, (this.#publishing.get(connection) ?? 0) + 1);
    try {
      const answer = okOf(await connection.request({ type: 'publish', room, data, key: data }));
      return { epoch: answer.epoch ?? '', offset: answer.offset ?? 0 };
    } finally {
      this.#publishing.set(connection, (this.#publishing.get(connection) ?? 0) - 1);
    }
  }

  /** Opens a connection, is in all rooms on it, and is at home there from then on. */
  async #connect(): Promise<void> {
    const connection = await connect(this.#options.url, { token: this.#options.token });
    this.#open.add(connection);
    if (this.#awaySince !== undefined) {
      this.longestAwayMs = Math.max(this.longestAwayMs, performance.now() - this.#awaySince);
      this.#awaySince = undefined;
    }
    void connection.closed.then(({ code }) => this.#closed(connection, code));
    try {
      const { node } = await connection.next('welcome', deadlineMs);
      this.#listen(connection);
      for (const room of this.#options.rooms) await this.#subscribe(connection, room);
      this.#current = connection;
      this.node = node;
    } catch (error) {
      connection.socket.terminate();
      throw error;
    }
  }

  async #subscribe(connection: Client, room: string): Promise<void> {
    const since = this.heard.get(room)?.position;
    const question = { type: 'subscribe', room, ...(since === undefined ? {} : { since: { ...since } }) };
    const { recovered } = okOf(await connection.request(question, deadlineMs));
    if (since !== undefined && recovered !== true) this.troubles.push(`${room}: not recovered from ${since.offset}`);
  }

  #listen(connection: Client): void {
    /** By room, on this connection alone. */
    const offsets = new Map<string, number>();
    connection.socket.on('message', (text) => {
      const frame = JSON.parse(String(text)) as GatewayFrame;
      if (frame.type === 'gap') this.troubles.push(`${frame.room}: gap ${JSON.stringify(frame)}`);
      else if (frame.type === 'reconnect') {
        if (connection === this.#current) setTimeout(() => void this.#move(connection), frame.afterMs);
      } else if (frame.type === 'ok' && frame.room !== undefined) {
        const { room, epoch = '', offset = 0 } = frame;
        offsets.set(room, offset);
        if (!this.heard.has(room)) this.heard.set(room, { position: { epoch, offset }, data: new Map() });
      } else if (frame.type === 'message') {
        const { room, offset = 0, data } = frame;
        const expected = (offsets.get(room) ?? 0) + 1;
        if (offset !== expected) this.troubles.push(`${room}: ${offset} instead of ${expected} on one connection`);
        offsets.set(room, offset);
        this.#hear(room, offset, data);
      }
    });
  }

  /** While it moves, both connections may bring the same messages. */
  #hear(room: string, offset: number, data: unknown): void {
    const heard = this.heard.get(room);
    if (heard === undefined) return;
    const { position } = heard;
    if (offset > position.offset + 1) this.troubles.push(`${room}: ${offset} after ${position.offset}`);
    if (offset <= position.offset && heard.data.has(offset) && heard.data.get(offset) !== data) {
      this.troubles.push(`${room}: two messages at ${offset}`);
    }
    heard.data.set(offset, data);
    position.offset = Math.max(position.offset, offset);
  }

  async #move(old: Client): Promise<void> {
    this.moves++;
    const moved = () => this.#connect().then(() => true);
    // Where that fails the old connection is kept, as long as it lasts.
    await until(() => this.#ended || this.#current !== old || moved(), deadlineMs, 'a new connection').catch(
      (error: Error) => this.troubles.push(error.message),
    );
    await until(() => (this.#publishing.get(old) ?? 0) === 0, deadlineMs, 'the last ok').catch((error: Error) =>
      this.troubles.push(error.message),
    );
    if (this.#current !== old) await old.close();
  }

  #closed(connection: Client, code: number): void {
    this.closeCodes.push(code);
    this.#open.delete(connection);
    if (this.#ended || this.#open.size > 0) return;
    this.#awaySince = performance.now();
    this.#current = undefined;
    const again = () => this.#connect().catch(() => setTimeout(again, Math.random() * retryMs));
    void again();
  }
}
