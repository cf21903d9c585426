/**
 * The dialect of polls: the frames of the native dialect, as far as a poll answers them, and the body of its answer. Pure
 * functions.
 *
 * A message comes behind a line with its position, so that an answer can say how far it reaches. Frames that are no
 * answer to a poll, such as `join`, are empty. It knows no responses: gateway/http/fallback/poll-socket.ts gathers.
 */
import type { Position } from '../../../shared/protocol.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import type { GapReply, Reply } from '../../protocol/reply.ts';
import { roomcast } from '../../protocol/roomcast/dialect.ts';

const lineFeed = 0x0a;

/** The replies that decide what becomes of a poll. */
export type PollReply = Extract<Reply, { type: 'ok' | 'error' | 'gap' | 'unsubscribed' | 'reconnect' }>;
const answered: ReadonlySet<Reply['type']> = new Set(['ok', 'error', 'gap', 'unsubscribed', 'reconnect']);

export const polled: Dialect = {
  subprotocol: 'poll',
  binary: false,
  oneRoom: true,
  brief: true,
  decode: () => ({ type: 'rejected', id: undefined, code: 'unsupported', message: 'A poll takes no frames.' }),
  encode: (reply) => (answered.has(reply.type) ? roomcast.encode(reply) : ''),
  // A room without a position refuses polls.
  message: (frame, position) =>
    position === undefined ? '' : Buffer.concat([Buffer.from(`${position.epoch}:${position.offset}\n`), frame]),
  joinOfOthers: () => () => '',
};

export function readReply(frame: string): PollReply {
  return JSON.parse(frame) as PollReply;
}

/** Splits a message of this dialect into its position and its `message` frame. */
export function readMessage(message: Uint8Array): { position: Position; frame: Uint8Array } {
  const end = message.indexOf(lineFeed);
  const line = Buffer.from(message.buffer, message.byteOffset, end).toString('latin1');
  const colon = line.lastIndexOf(':');
  const position = { epoch: line.slice(0, colon), offset: Number(line.slice(colon + 1)) };
  return { position, frame: message.subarray(end + 1) };
}

/** What a poll answers. `position`: behind everything that it tells. */
export interface PollAnswer {
  position: Position;
  /** `message` frames of the native dialect. */
  messages: readonly Uint8Array[];
  /** Undefined if the poll named no position. */
  recovered: boolean | undefined;
  gap: GapReply | undefined;
}

/** The JSON text of the answer. The finished frames are not parsed. */
export function pollBody({ position, messages, recovered, gap }: PollAnswer): Buffer {
  const { type: _, room: __, ...missing } = gap ?? {};
  const rest = { recovered, gap: gap === undefined ? undefined : missing };
  const end = JSON.stringify(rest).slice(1);
  return Buffer.concat([
    Buffer.from(`${JSON.stringify(position).slice(0, -1)},"messages":[`),
    ...messages.flatMap((frame, index) => (index === 0 ? [frame] : [comma, frame])),
    Buffer.from(end === '}' ? ']}' : `],${end}`),
  ]);
}

const comma = Buffer.from(',');
