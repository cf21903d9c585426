/** `roomcast/socketio` cannot run code on the server, nor send bytes, volatile events or acknowledgements of other clients.
 *
 * The calls of a Socket.IO client over rooms, for moving an application step by step. An event is a message
 * `{"event": "name", "args": [...]}` in a room, so what a Socket.IO server would decide is decided by room rules and tokens, and
 * what it would send is published by the backend. Rooms are joined by the client. An acknowledgement means that the gateway has
 * taken the event. Owns the listeners by name of the event, and nothing else; docs/client.md compares the calls.
 */
import {
  type Client,
  connect,
  type Message,
  type Options,
  type Published,
  type Room,
  RoomcastError,
} from './client.ts';

export interface SocketOptions extends Omit<Options, 'token'> {
  /** As Socket.IO has it: `token` is a JWT. */
  auth?: { token?: string };
  /** Of the WebSocket endpoint: `/ws`. */
  path?: string;
  /** The room that `emit` goes to, and that is joined from the start. Without it: the path of the URL, as a namespace. */
  room?: string;
  /** Tell this client of its own events too. A Socket.IO client is not told either. */
  echo?: boolean;
  /** `false`: nothing happens before `connect()`. */
  autoConnect?: boolean;
}

type Listener = (...args: never[]) => void;
type Told = (...args: unknown[]) => void;

/** What only this file tells: a message of another client cannot. */
const reserved = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'error', 'gap']);
const defaultRoom = 'main';

/** `io('https://example.com/chat')` is in the room `chat`. Without a URL: the host of the page. */
export function io(url?: string | URL, options: SocketOptions = {}): Socket {
  const { href: here } = (globalThis as { location?: { href: string } }).location ?? {};
  const base = url === undefined ? here && new URL('/', here).href : new URL(url, here).href;
  if (base === undefined) throw new TypeError('io() needs a URL where there is no page');
  const { pathname } = new URL(base);
  const endpoint = new URL(options.path ?? '/ws', base.replace(/^http/, 'ws'));
  const room = options.room ?? (decodeURIComponent(pathname).replace(/^\/|\/$/g, '') || defaultRoom);
  const socket = new Socket(endpoint, room, options);
  if (options.autoConnect !== false) socket.connect();
  return socket;
}

export class Socket {
  /** The rooms that it is in, or on its way to. */
  readonly rooms = new Set<string>();
  readonly #endpoint: URL;
  readonly #home: string;
  readonly #options: SocketOptions;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #any = new Set<(event: string, ...args: never[]) => void>();
  readonly #followed = new WeakSet<Room>();
  #client: Client | undefined;
  #isOpen = false;

  /** For `io`. */
  constructor(endpoint: URL, room: string, options: SocketOptions) {
    this.#endpoint = endpoint;
    this.#home = room;
    this.#options = options;
  }

  /** For what Socket.IO does not have: positions, history, presence. Undefined before `connect`. */
  get client(): Client | undefined {
    return this.#client;
  }

  get connected(): boolean {
    return this.#client?.state === 'open';
  }

  /** Of the connection; another one after each reconnect. */
  get id(): string | undefined {
    return this.#client?.connection;
  }

  connect(): this {
    if (this.#client !== undefined && this.#client.state !== 'closed') return this;
    const { auth: { token } = {}, path: _, room: __, echo: ___, autoConnect: ____, ...options } = this.#options;
    const client = connect(this.#endpoint, { ...options, ...(token === undefined ? {} : { token }) });
    this.#client = client;
    client.on('state', (state) => this.#changed(state));
    client.on('subscribed', (room) => this.#follow(room));
    const failed = (error: unknown) => this.#client === client && this.#tell('connect_error', error);
    client.on('error', failed);
    for (const room of new Set([this.#home, ...this.rooms])) this.join(room).catch(failed);
    return this;
  }

  disconnect(): this {
    const client = this.#client;
    this.#client = undefined;
    if (this.#isOpen) this.#close('io client disconnect');
    void client?.close();
    return this;
  }

  /** Resolves when it is in the room, and rejects if it must not be. */
  join(name: string): Promise<void> {
    const room = this.#connected().room(name);
    this.#follow(room);
    return room.subscribe();
  }

  async leave(name: string): Promise<void> {
    await this.#connected().room(name).unsubscribe();
  }

  on(event: string, listener: Listener): this {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return this;
  }

  once(event: string, listener: Listener): this {
    const first = (...args: never[]) => {
      this.off(event, first);
      listener(...args);
    };
    return this.on(event, first);
  }

  /** Without a listener: all of the event. */
  off(event: string, listener?: Listener): this {
    if (listener === undefined) this.#listeners.delete(event);
    else this.#listeners.get(event)?.delete(listener);
    return this;
  }

  /** Every event from a room, behind its name. */
  onAny(listener: (event: string, ...args: never[]) => void): this {
    this.#any.add(listener);
    return this;
  }

  /** If the last argument is a function, it is called with what the gateway answers. What fails is told as `error`. */
  emit(event: string, ...args: unknown[]): this {
    this.to(this.#home).emit(event, ...args);
    return this;
  }

  /** Resolves with what the gateway has answered: `{epoch?, offset?, duplicate?}`. Rejects with a RoomcastError. */
  emitWithAck(event: string, ...args: unknown[]): Promise<Published> {
    return this.to(this.#home).emitWithAck(event, ...args);
  }

  send(...args: unknown[]): this {
    return this.emit('message', ...args);
  }

  /** `to('room').emit(…)`: to this room instead. */
  to(...rooms: string[]): Emitting {
    return this.#emitting(rooms);
  }

  /** `timeout(5000).emit('event', (error, answer) => …)`. */
  timeout(ms: number): Emitting {
    return this.to(this.#home).timeout(ms);
  }

  /** `timeoutMs`: how long the acknowledgement may take. */
  #emitting(rooms: string[], timeoutMs?: number): Emitting {
    return {
      emit: (event, ...args) => this.#emit(rooms, event, args, timeoutMs),
      emitWithAck: (event, ...args) => this.#publish(rooms, event, args, timeoutMs),
      timeout: (ms) => this.#emitting(rooms, ms),
    };
  }

  #emit(rooms: string[], event: string, args: unknown[], timeoutMs?: number): void {
    const ack = args.at(-1);
    const isAsked = typeof ack === 'function';
    const withError = timeoutMs !== undefined;
    this.#publish(rooms, event, isAsked ? args.slice(0, -1) : args, timeoutMs).then(
      (answer) => isAsked && (withError ? ack(null, answer) : ack(answer)),
      (error) => (isAsked && withError ? ack(error) : this.#tell('error', error)),
    );
  }

  async #publish(rooms: string[], event: string, args: unknown[], timeoutMs?: number): Promise<Published> {
    if (reserved.has(event)) throw new RoomcastError('bad_request', `"${event}" is a name of the library`);
    const { echo = false } = this.#options;
    const publish = (room: string) => this.#connected().room(room).publish({ event, args }, { echo });
    const published = Promise.all(rooms.map(publish)).then(([answer]) => answer ?? {});
    return timeoutMs === undefined ? published : within(published, timeoutMs);
  }

  #connected(): Client {
    if (this.#client === undefined) throw new RoomcastError('closed', 'call connect() first');
    return this.#client;
  }

  #follow(room: Room): void {
    this.rooms.add(room.name);
    if (this.#followed.has(room)) return;
    this.#followed.add(room);
    room.on('message', ({ data }) => this.#take(data));
    room.on('gap', (gap) => this.#tell('gap', room.name, gap));
    room.on('state', ({ state }) => {
      if (state === 'idle' && this.#client?.state !== 'closed') this.rooms.delete(room.name);
    });
  }

  /** What the backend publishes in another form is the event `message`. */
  #take(data: Message['data']): void {
    const { event, args } = (data ?? {}) as Record<string, unknown>;
    const [name, ...told] = typeof event === 'string' && Array.isArray(args) ? [event, ...args] : ['message', data];
    if (reserved.has(name)) return;
    this.#tell(name, ...told);
    for (const listener of this.#any) (listener as Told)(name, ...told);
  }

  #changed(state: Client['state']): void {
    if (state === 'open') {
      this.#isOpen = true;
      this.#tell('connect');
    } else if (this.#isOpen) this.#close(state === 'closed' ? 'io server disconnect' : 'transport close');
    else if (state === 'waiting') this.#tell('connect_error', new RoomcastError('unavailable', 'not connected yet'));
  }

  #close(reason: string): void {
    this.#isOpen = false;
    this.#tell('disconnect', reason);
  }

  #tell(event: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) (listener as Told)(...args);
  }
}

async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RoomcastError('timeout', `no answer in ${ms} ms; it is still tried`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What `to` and `timeout` return. */
export interface Emitting {
  emit(event: string, ...args: unknown[]): void;
  emitWithAck(event: string, ...args: unknown[]): Promise<Published>;
  timeout(ms: number): Emitting;
}
