/** The Protobuf codec of the unmodified client for JavaScript (`centrifuge` from npm), and Protobuf bytes made by hand. */
import { Centrifuge } from 'centrifuge/build/protobuf';
import { centrifugoProtobuf } from '../../../gateway/protocol/centrifugo/protobuf/dialect.ts';
import type { Rejected, Request } from '../../../gateway/protocol/request.ts';

interface Codec {
  encodeCommands(commands: readonly object[]): Uint8Array;
  /** Each also has its `toJSON`. */
  decodeReplies(data: Uint8Array): object[];
  /** `pos`: where the first reply ends, if it is whole. */
  decodeReply(data: Uint8Array): { ok: false } | { ok: true; pos: number };
  encodeEmulationRequest(request: object): Uint8Array;
}

/** It is not public: the only way to it is a client. It connects to nothing. */
export const codec = (new Centrifuge('ws://127.0.0.1:1', { websocket: WebSocketNever }) as unknown as { _codec: Codec })
  ._codec;

function WebSocketNever(): never {
  throw new Error('nothing connects here');
}

export function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

/** What a node reads in the bytes of a WebSocket message. */
export function readAll(bytes: Uint8Array): (Request | Rejected)[] {
  return [...(centrifugoProtobuf.split?.(arrayBuffer(bytes)) ?? [])].map((part) => centrifugoProtobuf.decode(part));
}

/** Replies as plain objects, with text in place of bytes. */
export function decodeReplies(frame: unknown): unknown[] {
  const text = (_: string, value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString() : value);
  const plain = (value: unknown): unknown => {
    if (value instanceof Uint8Array) return text('', value);
    if (Array.isArray(value)) return value.map(plain);
    if (typeof value !== 'object' || value === null) return value;
    if ('toNumber' in value) return Number(value);
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  };
  return codec.decodeReplies(frame as Uint8Array).map(plain);
}
