/**
 * The other end of a client in unit tests: WebSockets that a test opens, answers and breaks by hand.
 *
 * Owns the list of all sockets that the client has made. It judges nothing.
 */
import type { Client, Options } from '../../../shared/client/client.ts';
import { connect } from '../../../shared/client/client.ts';
import type { WebSocketLike } from '../../../shared/client/connection/websocket.ts';
import { onCleanup } from '../../support/cleanup.ts';

export interface SentFrame {
  type: string;
  id?: number;
  [field: string]: unknown;
}

export const intervalMs = 25_000;

export class FakeSocket implements WebSocketLike {
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly protocols: string[];
  readonly sent: SentFrame[] = [];
  closedWith: number | undefined;

  constructor(protocols: string[]) {
    this.protocols = protocols;
  }

  get token(): string | undefined {
    return this.protocols[1]?.slice('roomcast.token.'.length);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(code?: number): void {
    this.closedWith = code;
  }

  tell(frame: object): void {
    (this.onmessage as ((event: object) => void) | null)?.({ data: JSON.stringify(frame) });
  }

  welcome(fields: object = {}): this {
    this.tell({
      ...{ type: 'welcome', version: 1, connection: 'c', user: 'alice', node: 'n', now: 1_000_000, expiresAt: null },
      ...{ pingIntervalMs: intervalMs, maxMessageBytes: 65_536, maxRooms: 128, features: [], ...fields },
    });
    return this;
  }

  fail(): void {
    (this.onerror as ((event: object) => void) | null)?.({});
  }

  end(code: number, reason = ''): void {
    (this.onclose as ((event: object) => void) | null)?.({ code, reason });
  }

  sentOf(type: string): SentFrame[] {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** Answers the last frame of the type, for this room if one is named. */
  answer(type: string, fields: object = {}, room?: string): void {
    const asked = this.sentOf(type).findLast((frame) => room === undefined || frame.room === room);
    if (asked === undefined) throw new Error(`no ${type} was sent`);
    this.tell({ type: 'ok', id: asked.id, room: asked.room, ...fields });
  }

  refuse(type: string, code: string, fields: object = {}): void {
    this.answer(type, { type: 'error', code, message: code, ...fields });
  }
}

export class FakeGateway {
  readonly sockets: FakeSocket[] = [];
  /** What the next constructor throws. */
  throws: Error | undefined;
  readonly client: Client;

  constructor(options: Options = {}) {
    const { sockets } = this;
    const next = () => this.throws;
    class WebSocket extends FakeSocket {
      constructor(_url: string, protocols: string[]) {
        super(protocols);
        sockets.push(this);
        const error = next();
        if (error !== undefined) throw error;
      }
    }
    this.client = connect('ws://gateway.example/ws', { WebSocket, ...options });
    onCleanup(() => void this.client.close());
  }

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('nothing was opened');
    return socket;
  }
}
