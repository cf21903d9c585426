/**
 * The client protocol of Centrifugo, version 2, as JSON over WebSocket: commands, replies and pushes, one or more of them in a
 * text message, each on a line (docs/centrifugo.md).
 */
import type { Dialect } from '../dialect.ts';
import { closes } from './codes.ts';
import { readCommand } from './decode.ts';
import { memberPushes, repliesTo } from './encode.ts';
import { publicationPush } from './publication.ts';
import { writeJson } from './value.ts';

const lineFeed = 0x0a;
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

export const centrifugo: Dialect = {
  subprotocol: 'centrifuge-json',
  binary: false,
  opensByRequest: true,
  gapEndsMembership: true,
  ping: '{}',
  closes,
  split,
  decode: (message) => readCommand(utf8.decode(message)),
  encode: (reply) => repliesTo(reply).map(writeJson).join('\n'),
  message: publicationPush,
  joinOfOthers: (frame) => {
    const pushes = memberPushes(frame).map(writeJson);
    return (index) => pushes.toSpliced(index, 1).join('\n');
  },
};

/** By lines. One line feed may end the last one. */
function split(message: ArrayBuffer): Iterable<ArrayBuffer> {
  return new Uint8Array(message).includes(lineFeed) ? lines(message) : [message];
}

function* lines(message: ArrayBuffer): Generator<ArrayBuffer> {
  const bytes = new Uint8Array(message);
  for (let from = 0; from < bytes.length; ) {
    const found = bytes.indexOf(lineFeed, from);
    const end = found === -1 ? bytes.length : found;
    yield message.slice(from, end);
    from = end + 1;
  }
}
