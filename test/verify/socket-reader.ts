/** A reader by WebSocket. Asked to move, it subscribes elsewhere before it leaves. */
import { WebSocket } from 'ws';
import { type GatewayFrame, subprotocol } from '../../shared/protocol.ts';
import { type Chapter, type Messages, type Place, Reader } from './reader.ts';

const longestBackoffMs = 1_000;

export class SocketReader {
  readonly reader: Reader;
  readonly #place: Place;
  readonly #token: string;
  readonly #messages: Messages;
  readonly #sockets = new Set<WebSocket>();
  /** The one whose chapter is the newest. */
  #current: WebSocket | undefined;
  #stopped = false;

  constructor(name: string, room: string, token: string, place: Place, messages: Messages) {
    this.reader = new Reader(name, room);
    this.#place = place;
    this.#token = token;
    this.#messages = messages;
  }

  get listens(): boolean {
    return this.#current !== undefined;
  }

  connect(): void {
    if (this.#stopped || this.#sockets.size > 1) return;
    const port = this.#place();
    if (port === undefined) {
      this.#again();
      return;
    }
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, [subprotocol], {
      headers: { authorization: `Bearer ${this.#token}` },
      perMessageDeflate: false,
    });
    this.#sockets.add(socket);
    let chapter: Chapter | undefined;
    const from = () => this.reader.position;
    let since = from();
    socket.on('message', (bytes: Buffer) => {
      const text = String(bytes);
      if (text.startsWith('{"type":"message"')) {
        if (chapter !== undefined) this.reader.hear(chapter, this.#messages.read(text));
        return;
      }
      const frame = JSON.parse(text) as GatewayFrame;
      if (frame.type === 'welcome') {
        since = from();
        socket.send(JSON.stringify({ type: 'subscribe', id: 1, room: this.reader.room, ...(since && { since }) }));
      } else if (frame.type === 'ok') {
        const { epoch = '', offset = 0, recovered } = frame;
        chapter = this.reader.begin(since, { epoch, offset, recovered });
        const old = this.#current;
        this.#current = socket;
        old?.close();
      } else if (frame.type === 'gap' && chapter !== undefined) this.reader.gap(chapter, frame);
      else if (frame.type === 'reconnect') this.connect();
      else if (frame.type === 'error') socket.terminate();
    });
    // `close` follows every error.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (chapter !== undefined) this.reader.end(chapter);
      if (socket === this.#current) this.#current = undefined;
      if (this.#current === undefined && this.#sockets.size === 0) this.#again();
    });
  }

  stop(): void {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.terminate();
  }

  #again(): void {
    if (!this.#stopped) setTimeout(() => this.connect(), Math.random() * longestBackoffMs);
  }
}
