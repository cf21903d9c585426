/**
 * One connection of the load client, from the handshake to the answers to its joins. Afterwards its owner gets every text in
 * place, in the thread's read buffer.
 *
 * Made for tens of thousands in one thread: its first frames are built before it opens.
 */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectSecurely } from 'node:tls';
import { type Dialect, dialects, tokenOf } from './dialects.ts';
import { BusyError, clientFrame, FrameReader, type FrameSink, handshake, opcode, type ReadBuffer } from './frames.ts';
import type { Place } from './plan.ts';

/** With more connections per source address, or with ports used a minute ago, the kernel is slow to find a free port. */
const connectionsPerAddress = 4000;

export interface ConnectionPlan {
  place: Place;
  port: number;
  /** Of all connections of the audience. */
  index: number;
  /** 127.<block>.0.* are the source addresses to a host of 127.*. */
  block: number;
  user: string;
  /** Texts that join rooms. */
  joins: readonly string[];
}

export interface Owner {
  /** Bytes have come; their texts follow. */
  reading(): void;
  ready(connection: Connection): void;
  /** A text after all joins were answered; it is in `bytes` during the call only. */
  text(connection: Connection, bytes: Buffer, start: number, end: number): void;
  closed(connection: Connection, reason: string): void;
}

export class Connection implements FrameSink {
  readonly index: number;
  /** Where the stamp stood in the last message. */
  stampAt = 0;
  /** How often the server was too busy for its handshake. It tries again at the time that the server named. */
  refusals = 0;
  #socket: Socket | undefined;
  #isReady = false;
  #joined = 0;
  #opened = 0;
  #lastText = '';
  #failure = '';
  readonly #hello: Buffer;
  readonly #greeting: Buffer | undefined;
  readonly #joins: Buffer;
  readonly #plan: ConnectionPlan;
  readonly #dialect: Dialect;
  readonly #owner: Owner;
  readonly #buffer: ReadBuffer;
  #reader = new FrameReader();
  #retry: NodeJS.Timeout | undefined;

  constructor(plan: ConnectionPlan, owner: Owner, buffer: ReadBuffer) {
    this.index = plan.index;
    this.#plan = plan;
    this.#owner = owner;
    this.#buffer = buffer;
    const { place, port, user } = plan;
    this.#dialect = dialects[place.dialect];
    const host = `${isIP(place.host) === 6 ? `[${place.host}]` : place.host}:${port}`;
    const name = `${place.userPrefix}${user}`;
    this.#hello = handshake(place.path, host, this.#dialect.headers(name, place.credentials));
    this.#greeting = this.#dialect.hello && this.#frameOf(this.#dialect.hello(tokenOf(name, place.credentials)));
    this.#joins = Buffer.concat(plan.joins.map((join) => this.#frameOf(join)));
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** The state of the connection, for an error report. */
  get state(): string {
    return `joined ${this.#joined} of ${this.#plan.joins.length} rooms, last heard ${this.#lastText || 'nothing'}`;
  }

  get unsentBytes(): number {
    return this.#socket?.writableLength ?? 0;
  }

  open(): void {
    const { block, index, place, port } = this.#plan;
    const { host, secure } = place;
    const localAddress = `127.${block}.0.${1 + Math.floor(index / connectionsPerAddress)}`;
    const callback = (length: number) => this.#read(length);
    const onread = { buffer: this.#buffer.chunk, callback };
    const options = { host, port, noDelay: true, onread, ...(host.startsWith('127.') && { localAddress }) };
    // A server name is a name, never an address (RFC 6066 section 3).
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = secure ? connectSecurely({ ...options, ...name }) : connect(options);
    this.#socket = socket;
    socket.on('error', (error) => {
      this.#failure ||= error.message;
    });
    socket.on('close', () => {
      if (this.#retry === undefined) this.#owner.closed(this, this.#failure || 'the server ended the connection');
    });
    socket.write(this.#hello);
  }

  send(bytes: Buffer): void {
    this.#socket?.write(bytes);
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #frameOf(message: string): Buffer {
    return this.#dialect.binary ? clientFrame(Buffer.from(message, 'latin1'), opcode.binary) : clientFrame(message);
  }

  upgraded(): void {
    if (this.#greeting !== undefined) this.send(this.#greeting);
    if (this.#dialect.opening.length === 0) this.#join();
  }

  frame(code: number, start: number, end: number): void {
    const { bytes } = this.#buffer;
    if (code === opcode.text || code === opcode.binary) {
      if (this.#dialect.messageEnd === undefined) this.#message(bytes, start, end);
      else this.#messages(bytes, start, end);
    } else if (code === opcode.ping) {
      this.send(clientFrame(bytes.subarray(start, end), opcode.pong));
    } else if (code === opcode.close) {
      this.#failure ||= `closed with ${end - start < 2 ? 'no code' : bytes.readUInt16BE(start)}`;
    }
  }

  #messages(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const next = this.#dialect.messageEnd?.(bytes, at, end) ?? end;
      this.#message(bytes, at, next);
      at = next;
    }
  }

  #message(bytes: Buffer, start: number, end: number): void {
    const { heartbeat } = this.#dialect;
    const maybePing = heartbeat !== undefined && end - start <= heartbeat.ping.length + 1;
    if (this.#isReady && !maybePing) this.#owner.text(this, bytes, start, end);
    else this.#readText(bytes, start, end);
  }

  #read(length: number): boolean {
    this.#owner.reading();
    try {
      this.#reader.read(this.#buffer, length, this);
    } catch (error) {
      if (error instanceof BusyError) this.#openLater(error.retryAfterSeconds);
      else this.#socket?.destroy(error as Error);
    }
    return true;
  }

  /** Within a second after the time that the server named. */
  #openLater(seconds: number): void {
    this.refusals++;
    this.#retry = setTimeout(
      () => {
        this.#retry = undefined;
        this.#reader = new FrameReader();
        this.open();
      },
      (seconds + Math.random()) * 1_000,
    );
    this.#socket?.destroy();
  }

  #readText(bytes: Buffer, start: number, end: number): void {
    const { opening, joined, refused, heartbeat } = this.#dialect;
    const text = bytes.toString('latin1', start, Math.min(end, start + 200));
    const step = opening[this.#opened];
    if (heartbeat !== undefined && text.trimEnd() === heartbeat.ping) {
      this.send(this.#frameOf(heartbeat.pong));
    } else if (this.#isReady) {
      this.#owner.text(this, bytes, start, end);
    } else if (step !== undefined && text.includes(step.awaits)) {
      this.#opened++;
      if (step.say !== undefined) this.send(this.#frameOf(step.say));
      if (this.#opened === opening.length) this.#join();
    } else if (refused !== undefined && text.includes(refused)) {
      this.#failure ||= `refused: ${text}`;
      this.close();
    } else if (text.includes(joined)) {
      this.#joined++;
      if (this.#joined === this.#plan.joins.length) this.#becomeReady();
    }
    this.#lastText = text;
  }

  #join(): void {
    if (this.#plan.joins.length > 0) this.send(this.#joins);
    else this.#becomeReady();
  }

  #becomeReady(): void {
    this.#isReady = true;
    this.#owner.ready(this);
  }
}
