/** What carries the messages of a connection: a WebSocket, or a response and requests (http-stream.ts). */
import { WebSocket } from 'ws';
import type { Said, Speech } from './speech.ts';

export interface Wire {
  send(message: string | Uint8Array): void;
  close(): void;
  /** Ends the TCP connection without a word. */
  drop(): void;
  /** Acts like a lost network: reads nothing any more. `drop` ends it. */
  vanish(): void;
}

export interface WireListener {
  said(said: Said): void;
  /** Called once, at the end. */
  closed(code: number): void;
}

const handshakeTimeoutMs = 3_000;

/** `url`: without a path. */
export function bySocket(url: string, token: string, speech: Speech, listener: WireListener): Wire {
  const socket = new WebSocket(`${url}${speech.path}`, speech.subprotocols, {
    headers: speech.headers(token),
    handshakeTimeout: handshakeTimeoutMs,
    perMessageDeflate: false,
  });
  const { opening } = speech;
  if (opening !== undefined) socket.on('open', () => socket.send(opening(token)));
  socket.on('message', (message: Buffer) => {
    for (const said of speech.hear(message)) listener.said(said);
  });
  // `close` follows every error.
  socket.on('error', () => undefined);
  socket.on('close', (code) => listener.closed(code));
  return {
    send: (message) => socket.send(message),
    close: () => socket.close(1000),
    drop: () => socket.terminate(),
    // A connection that is ending has no socket any more.
    vanish: () => void (socket.readyState === WebSocket.OPEN && socket.pause()),
  };
}
