/**
 * `roomcast/client/binary`: MessagePack on the line and bytes in `data`, for `connect(url, { binary })`.
 *
 * Owns the translation at the edge of the library. Inside, what waits to be sent is JSON text, where bytes are
 * `{"$bytes": "<base64>"}` (docs/protocol.md); a WebSocket of here sends it as MessagePack. Over plain HTTP it stays JSON.
 */
import { jsonKey, withBytes } from '../bytes.ts';
import { decodeMsgpack, MsgpackEncoder } from '../msgpack.ts';
import { msgpackSubprotocol } from '../protocol.ts';
import type { Binary, Fallback } from './client.ts';
import type { Connection, Open } from './connection/connection.ts';
import type { WebSocketConstructor, WebSocketLike } from './connection/websocket.ts';

export const binary: Binary = (options) => {
  const { fallback, WebSocket = (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket } = options;
  return {
    ...options,
    ...(WebSocket === undefined ? {} : { WebSocket: speaking(WebSocket) }),
    ...(fallback === undefined ? {} : { fallback: telling(fallback) }),
    stringify,
  };
};

// What is sent

function stringify(data: unknown): string | undefined {
  return JSON.stringify(data, replace);
}

/** For JSON.stringify. `value` is what `toJSON` has made of it, which a Buffer has, too. */
function replace(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const original = this[key];
  if (original instanceof ArrayBuffer) return { $bytes: toBase64(new Uint8Array(original)) };
  if (ArrayBuffer.isView(original)) {
    return { $bytes: toBase64(new Uint8Array(original.buffer, original.byteOffset, original.byteLength)) };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const [only, ...others] = Object.entries(value).filter(([, inner]) => isSent(inner));
  if (only === undefined || others.length > 0) return value;
  return { [jsonKey(only[0], 1)]: only[1] };
}

/** JSON leaves out the others. */
function isSent(value: unknown): boolean {
  return !['undefined', 'function', 'symbol'].includes(typeof value);
}

/** The most arguments of one call. */
const chunk = 8_192;

function toBase64(bytes: Uint8Array): string {
  let characters = '';
  for (let at = 0; at < bytes.length; at += chunk) {
    characters += String.fromCharCode(...bytes.subarray(at, at + chunk));
  }
  return btoa(characters);
}

function fromBase64(text: string): Uint8Array | undefined {
  let characters: string;
  try {
    characters = atob(text);
  } catch {
    // Not base64, so it is no bytes.
    return undefined;
  }
  if (btoa(characters) !== text) return undefined;
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

// Over a WebSocket

const encoder = new MsgpackEncoder();

function speaking(WebSocket: WebSocketConstructor): WebSocketConstructor {
  function MsgpackWebSocket(url: string, [, ...token]: string[]): WebSocketLike {
    return new MsgpackSocket(new WebSocket(url, [msgpackSubprotocol, ...token]));
  }
  return MsgpackWebSocket as unknown as WebSocketConstructor;
}

class MsgpackSocket implements WebSocketLike {
  readonly #socket: WebSocketLike;

  constructor(socket: WebSocketLike) {
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
  }

  set onmessage(listener: (event: never) => void) {
    this.#socket.onmessage = ({ data }: { data: unknown }) => listener({ data: frameIn(data) } as never);
  }

  set onclose(listener: (event: never) => void) {
    this.#socket.onclose = listener;
  }

  set onerror(listener: (event: never) => void) {
    this.#socket.onerror = listener;
  }

  send(text: string): void {
    // `encode` returns a copy in a buffer of its size.
    this.#socket.send(encoder.encode(withBytes(JSON.parse(text), fromBase64)).buffer);
  }

  close(code?: number): void {
    this.#socket.close(code);
  }
}

/** The library refuses this key. JSON has it, as any other, so it goes by another name through the library. */
const proto = '__proto__';
/** Half of a surrogate pair: TextDecoder never returns it, so no key is called so. */
const protoName = '\ud800';
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** For all keys. */
const keyDecoder = {
  canBeCached: () => true,
  decode: (bytes: Uint8Array, at: number, length: number) => {
    const key = utf8.decode(bytes.subarray(at, at + length));
    return key === proto ? protoName : key;
  },
};

/** What is no frame becomes text that is none either: the connection counts as lost. */
function frameIn(data: unknown): unknown {
  try {
    return own(decodeMsgpack(data as ArrayBuffer, { useBigInt64: true, keyDecoder }));
  } catch {
    return '';
  }
}

/** Bytes get their own memory, and integers are numbers unless they are beyond 2^53. In place as far as possible. */
function own(value: unknown): unknown {
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== 'object' || value === null) return value;
  const container = value as Record<string, unknown>;
  for (const key of Object.keys(container)) {
    const inner = own(container[key]);
    if (key !== protoName) container[key] = inner;
    else {
      delete container[key];
      // An own property, as JSON.parse makes it: an assignment would set the prototype.
      Object.defineProperty(container, proto, { value: inner, enumerable: true, writable: true, configurable: true });
    }
  }
  return value;
}

// Over plain HTTP

function telling(fallback: Fallback): Fallback {
  return (url, websocket) => {
    const open: Open = fallback(url, websocket);
    return (token, listener, patienceMs) => {
      const told = { ...listener };
      told.frame = (connection, frame) => listener.frame(connection, heard(connection, frame));
      const connection = open(token, told, patienceMs);
      const ask = connection.ask.bind(connection);
      connection.ask = (members, answered) => ask(members, (answer) => answered(heard(connection, answer)));
      return connection;
    };
  };
}

function heard<Frame>({ transport }: Connection, frame: Frame): Frame {
  return transport === 'sse' ? (withBytes(frame, fromBase64) as Frame) : frame;
}
