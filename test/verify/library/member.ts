/**
 * A member of the crowd that is an application with the client library: it is in its rooms, publishes, loses its connection,
 * leaves a room and comes back with the position that it saved.
 *
 * The library does the rest, and this one only writes down what it was told. What the library must never do is a line of its
 * own: two connections, an end for good, an error that is none of its own. It judges no message; checker.ts does.
 */
import type { Client, Options, Room } from '../../../shared/client/client.ts';
import { mintToken } from '../../support/token.ts';
import { Random } from '../../unit/random.ts';
import type { LoadClientOptions } from '../client.ts';
import type { CrowdClient } from '../crowd.ts';
import type { Entry } from '../log.ts';
import { type Payload, payload } from '../payload.ts';
import type { Library } from './builds.ts';
import { Hearing } from './hearing.ts';
import { Sockets } from './sockets.ts';

/** Short, so that tokens are renewed on open connections during the run. */
const tokenSeconds = 30;
/** Share of messages with a key of the application's own. The library makes one for the others. */
const keyedShare = 0.5;
/** Share of messages that wait for the `ok` of the one before, because their order matters. */
const awaitedShare = 0.5;

let connections = 2_000_000;

export interface MemberOptions extends Omit<LoadClientOptions, 'token'> {
  library: Library;
  /** Nobody waits until it is in all of its rooms: it may never be. */
  isBroken?: true;
}

interface Followed {
  room: Room;
  hearing: Hearing;
}

export class LibraryMember implements CrowdClient {
  readonly name: string;
  readonly sockets: Sockets;
  readonly latencies: number[] = [];
  unsettled = 0;
  /** Frames that asked it to move. */
  moves = 0;
  readonly #options: MemberOptions;
  readonly #random: Random;
  readonly #conn = ++connections;
  readonly #followed = new Map<string, Followed>();
  /** The newest of each name; it can publish after it was left. */
  readonly #rooms = new Map<string, Room>();
  readonly #made: WeakRef<Room>[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  #client: Client | undefined;
  /** The last of the messages that are published one after the other. */
  #chain = Promise.resolve();
  #published = 0;
  #stopped = false;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.name = options.name;
    this.#random = new Random(options.seed);
    this.sockets = new Sockets({ misbehaved: (what) => this.#misbehaved(what), asked: () => this.moves++ });
  }

  get rooms(): readonly string[] {
    return this.#options.rooms;
  }

  /** Left or not: somebody still refers to them. True after a collection. */
  get heldRooms(): number {
    return this.#made.filter((made) => made.deref() !== undefined).length;
  }

  get settled(): boolean {
    if (this.#options.isBroken) return this.sockets.open > 0;
    return (
      this.sockets.open > 0 &&
      this.#followed.size === this.rooms.length &&
      [...this.#followed.values()].every(({ room }) => room.state === 'joined')
    );
  }

  connect(): void {
    const { library, url } = this.#options;
    const getToken = () => mintToken({ sub: this.name, exp: Math.floor(Date.now() / 1000) + tokenSeconds });
    const options: Options = { getToken, WebSocket: this.sockets.WebSocket };
    this.#client = library.connect(url, options);
    this.#client.on('state', (state) => {
      if (state === 'closed' && !this.#stopped) this.#misbehaved('it has ended for good');
    });
    for (const room of this.rooms) this.#follow(room);
  }

  publish(room: string, length: number): void {
    const data = payload(room, `${this.name}-${++this.#published}`, length);
    this.unsettled++;
    if (this.#random.chance(awaitedShare)) {
      this.#chain = this.#chain.then(() => this.#publish(room, data, this.#conn));
    } else void this.#publish(room, data, ++connections);
  }

  lose(_awayMs: number, silently: boolean): void {
    this.sockets.lose(silently);
  }

  wander(name: string, awayMs: number): void {
    const followed = this.#followed.get(name);
    if (followed === undefined || followed.room.state !== 'joined') return;
    this.#followed.delete(name);
    followed.hearing.left();
    const leaving = followed.room.unsubscribe();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void leaving.then(() => this.#stopped || this.#follow(name, followed.hearing));
    }, awayMs);
    this.#timers.add(timer);
  }

  end(): void {
    if (this.#stopped) return;
    this.#note({ event: 'end', rooms: [...this.rooms] });
    if (this.sockets.open !== 1) this.#misbehaved(`it has ${this.sockets.open} open connections in quiet times`);
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    void this.#client?.close();
  }

  #follow(name: string, hearing = this.#hearing(name)): void {
    const { position } = hearing;
    const room = this.#client?.room(name, { since: position });
    if (room === undefined) return;
    this.#followed.set(name, { room, hearing });
    this.#rooms.set(name, room);
    this.#made.push(new WeakRef(room));
    // What comes after `end` is not judged, and what comes after `unsubscribe` is told to nobody.
    const isCurrent = () => !this.#stopped && this.#followed.get(name)?.room === room;
    const unlessLate = (what: string) => isCurrent() || this.#stopped || this.#misbehaved(`${what} of a room it left`);
    room.on('state', ({ state, error }) => {
      if (error !== undefined && !this.#stopped) this.#misbehaved(`it left ${name}: ${error.message}`);
      if (isCurrent()) hearing.state(state, room);
    });
    room.on('message', (message) => {
      unlessLate('it tells a message');
      if (!isCurrent()) return;
      this.latencies.push(Date.now() - message.at);
      hearing.message(message, room);
    });
    room.on('gap', (gap) => {
      unlessLate('it tells a gap');
      if (isCurrent() && gap.count !== 0) hearing.gap(gap, room);
    });
    room.subscribe().then(
      () => isCurrent() && hearing.flush(),
      (error: Error) => this.#stopped || this.#misbehaved(`it could not subscribe to ${name}: ${error.message}`),
    );
  }

  #hearing(name: string): Hearing {
    return new Hearing(name, {
      line: (line) => this.#note({ room: name, ...line }),
      misbehaved: (what) => this.#misbehaved(what),
    });
  }

  /** Never rejects. */
  async #publish(name: string, data: Payload, conn: number): Promise<void> {
    const { library } = this.#options;
    const { id } = data;
    const place = { conn, room: name, id };
    this.#note({ event: 'publish', ...place });
    try {
      const ok = await this.#rooms.get(name)?.publish(data, this.#random.chance(keyedShare) ? { key: id } : {});
      this.#note({ event: 'ack', ...ok, ...place });
    } catch (error) {
      if (this.#stopped) return;
      if (!(error instanceof library.RoomcastError)) this.#misbehaved(`it rejects a publish with ${error}`);
      const { code } = error as { code: string };
      // docs/client.md: `timeout` says that it may have been taken or not; every other code, that it was not.
      this.#note({ event: code === 'timeout' ? 'unknown' : 'nack', code, ...place });
    }
    this.unsettled--;
  }

  #misbehaved(what: string): void {
    this.#options.log.push({ t: performance.now(), event: 'misbehaviour', client: this.name, what });
  }

  #note(what: object): void {
    if (this.#stopped) return;
    this.#options.log.push({ t: performance.now(), client: this.name, conn: this.#conn, ...what } as Entry);
  }
}
