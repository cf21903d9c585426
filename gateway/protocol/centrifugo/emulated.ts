/**
 * The protocol for clients that only have HTTP: replies and pushes come as one response that does not end, and commands go by
 * requests of their own, which name the session. Lines of JSON, Protobuf messages, or server-sent events.
 *
 * It adds to the dialects what such a response needs: the session in the answer to `connect`, and a push in place of a close
 * frame. It knows no responses: gateway/http/centrifugo.
 */
import type { Dialect, Frame } from '../dialect.ts';
import { centrifugo } from './dialect.ts';
import { memberPushes, repliesTo } from './encode.ts';
import { centrifugoProtobuf } from './protobuf/dialect.ts';
import { writeReplies } from './protobuf/write.ts';
import { publicationPush } from './publication.ts';
import { type Fields, writeJson } from './value.ts';

export interface EmulatedDialect extends Dialect {
  /** What the response begins with. */
  readonly opening: Frame;
  /** Clients ignore it. */
  readonly filler: Frame;
  /** The last push. */
  goodbye(code: number, reason: string): Frame;
}

/** What a client names with each of its commands. */
export interface SessionName {
  session: string;
  node: string;
}

/** `sessionOf`: by the id of the connection. */
export function emulatedDialects(sessionOf: (connection: string) => SessionName) {
  const line = (text: string) => `${text}\n`;
  const event = (text: string) => `data: ${text}\n\n`;
  return {
    lines: asText('http_stream json', sessionOf, '', line),
    // A line feed alone: where a carriage return comes in the same chunk as an event, eventsource 2 for Node keeps that back.
    events: asText('sse json', sessionOf, '\n', event),
    messages: {
      ...emulated(centrifugoProtobuf, sessionOf, '', (replies) => writeReplies(replies)),
      subprotocol: 'http_stream protobuf',
    } satisfies EmulatedDialect,
  };
}

/** Each reply in a frame of text. */
function asText(
  subprotocol: string,
  sessionOf: (connection: string) => SessionName,
  opening: string,
  wrap: (text: string) => string,
): EmulatedDialect {
  return {
    ...emulated(centrifugo, sessionOf, opening, (replies) => replies.map((each) => wrap(writeJson(each))).join('')),
    subprotocol,
    message: (frame) => wrap(String(publicationPush(frame))),
  };
}

function emulated(
  base: Dialect,
  sessionOf: (connection: string) => SessionName,
  opening: string,
  write: (replies: readonly Fields[]) => Frame,
): EmulatedDialect {
  return {
    ...base,
    opening,
    ping: write([{}]),
    filler: write([{ push: {} }]),
    encode: (reply) => {
      const replies = repliesTo(reply);
      return write(
        reply.type === 'welcome' ? replies.map((each) => named(each, sessionOf(reply.connection))) : replies,
      );
    },
    goodbye: (code, reason) => write([{ push: { disconnect: { code, reason } } }]),
    joinOfOthers: (frame) => {
      const pushes = memberPushes(frame);
      return (index) => write(pushes.toSpliced(index, 1));
    },
  };
}

function named({ connect, ...rest }: Fields, session: SessionName): Fields {
  return { ...rest, connect: { ...(connect as Fields), ...session } };
}
