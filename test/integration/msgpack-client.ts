/**
 * A client of `roomcast.v1.msgpack` for tests: `ws` and the MessagePack library of npm, so that others judge the gateway.
 *
 * Owns the socket and the frames that came. It never reconnects.
 */
import { decode, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';

export type Fields = Record<string, unknown>;

export class MsgpackClient {
  readonly frames: Fields[] = [];
  closeCode: number | undefined;
  readonly socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('close', (code) => {
      this.closeCode = code;
    });
    socket.on('message', (message: Buffer, isBinary) => {
      this.frames.push(isBinary ? (decode(new Uint8Array(message)) as Fields) : { type: 'a text message' });
    });
  }

  static async connect(url: string, token: string): Promise<MsgpackClient> {
    const socket = new WebSocket(url, ['roomcast.v1.msgpack', `roomcast.token.${token}`]);
    onCleanup(() => socket.terminate());
    const client = new MsgpackClient(socket);
    await client.next({ type: 'welcome' });
    return client;
  }

  send(frame: Fields): void {
    this.socket.send(encode(frame));
  }

  /** Resolves with the first frame that has these fields. */
  next(fields: Fields): Promise<Fields> {
    const wanted = Object.entries(fields);
    const find = () => this.frames.find((frame) => wanted.every(([name, value]) => frame[name] === value));
    return until(() => find() as Fields, 5_000, `${JSON.stringify(fields)} comes`);
  }
}
