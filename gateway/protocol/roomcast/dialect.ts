/** The native dialect, `roomcast.v1.json`: one JSON object per WebSocket text message (docs/protocol.md). */
import { subprotocol } from '../../../shared/protocol.ts';
import type { Dialect } from '../dialect.ts';
import { readFrame } from './decode.ts';
import { encode, joinOfOthers } from './encode.ts';

/** Keeps a byte order mark in the text, which makes it invalid JSON. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

export const roomcast: Dialect = {
  subprotocol,
  binary: false,
  decode: (message) => readFrame(utf8.decode(message)),
  encode,
  message: (frame) => frame,
  joinOfOthers,
};
