/**
 * The client protocol of Centrifugo, version 2, as Protobuf: one command or reply or more in a binary message, each behind its
 * length (docs/centrifugo.md).
 *
 * It has no rules of its own: a command is read as the JSON text that says the same, and replies are those of the JSON form,
 * written otherwise.
 */
import type { Dialect } from '../../dialect.ts';
import type { Rejected } from '../../request.ts';
import { readCommand } from '../decode.ts';
import { centrifugo } from '../dialect.ts';
import { memberPushes, repliesTo } from '../encode.ts';
import { publicationPush } from './publication.ts';
import { endOfDelimited, readDelimited, Unreadable } from './read.ts';
import { command } from './schema.ts';
import { writeReplies } from './write.ts';

export const centrifugoProtobuf: Dialect = {
  ...centrifugo,
  subprotocol: 'centrifuge-protobuf',
  binary: true,
  ping: writeReplies([{}]),
  split,
  decode: (message) => {
    const text = readText(Buffer.from(message));
    return typeof text === 'string' ? readCommand(text) : text;
  },
  encode: (reply) => writeReplies(repliesTo(reply)),
  message: publicationPush,
  joinOfOthers: (frame) => {
    const pushes = memberPushes(frame).map((push) => writeReplies([push]));
    return (index) => Buffer.concat(pushes.toSpliced(index, 1));
  },
};

/** The last part is whatever has no whole message: to decode it is an error. */
function* split(message: ArrayBuffer): Generator<ArrayBuffer> {
  const bytes = Buffer.from(message);
  let from = 0;
  do {
    const end = endOf(bytes, from);
    yield message.slice(from, end);
    from = end;
  } while (from < bytes.length);
}

function endOf(bytes: Buffer, from: number): number {
  try {
    return Math.min(endOfDelimited(bytes, from), bytes.length);
  } catch (error) {
    if (error instanceof Unreadable) return bytes.length;
    throw error;
  }
}

function readText(bytes: Buffer): string | Rejected {
  try {
    return readDelimited(bytes, command);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return {
      type: 'rejected',
      id: undefined,
      code: 'bad_request',
      message: `The frame cannot be read: ${error.message}.`,
    };
  }
}
