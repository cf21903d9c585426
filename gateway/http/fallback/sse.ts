/**
 * The dialect of streams: server-sent events (https://html.spec.whatwg.org, section 9.2). Each frame is one event, named
 * by its type, with the JSON of the native dialect as its data.
 *
 * The event id is the position behind the event: a client that comes back with it continues there. So `ok` and `gap`
 * have one too, not only messages. A stream has one member and makes one request, its `subscribe`. So an `error` is
 * always the refusal of the whole stream. It stays as it is; gateway/http/fallback/stream-socket.ts answers it by HTTP.
 */
import type { JoinLeaveFrame, Position } from '../../../shared/protocol.ts';
import type { Dialect, Frame } from '../../protocol/dialect.ts';
import type { Reply } from '../../protocol/reply.ts';
import { roomcast } from '../../protocol/roomcast/dialect.ts';

/** A client whose stream ended comes back after this time, at random, so that clients of one node do not come at once. */
const leastRetryMs = 1_000;
const mostRetryMs = 5_000;
/** After a close code that says not to reconnect (4500 and more): EventSource reconnects all the same. */
const noRetryMs = 60_000;
const firstFatalCode = 4500;

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export const sse: Dialect = {
  subprotocol: 'sse',
  binary: false,
  oneRoom: true,
  decode: () => ({ type: 'rejected', id: undefined, code: 'unsupported', message: 'A stream takes no frames.' }),
  encode,
  message: (frame, position) => Buffer.concat([messageHead(position), inOneEvent(frame), eventEnd]),
  joinOfOthers: (frame: JoinLeaveFrame) => {
    const without = roomcast.joinOfOthers(frame);
    return (index) => event('join', String(without(index)));
  },
};

const eventEnd = Buffer.from('\n\n');
const plainHead = Buffer.from('event: message\ndata: ');

function messageHead(position: Position | undefined): Buffer {
  return position === undefined ? plainHead : Buffer.from(`${idLine(position)}event: message\ndata: `);
}

/** An event ends at an empty line. Line breaks in JSON are white space between tokens, so each may begin a line of data. */
function inOneEvent(frame: Uint8Array): Uint8Array {
  if (!frame.includes(lineFeed) && !frame.includes(carriageReturn)) return frame;
  return Buffer.from(
    Buffer.from(frame)
      .toString()
      .replace(/\r\n|\r|\n/g, '\ndata: '),
  );
}

function encode(reply: Reply): string {
  switch (reply.type) {
    case 'welcome':
    case 'pong':
      return '';
    case 'error':
      return roomcast.encode(reply) as string;
    case 'ok': {
      const { id: _, ...fields } = reply;
      return `retry: ${retryMs(0)}\n${idOf(reply)}${event('ok', JSON.stringify(fields))}`;
    }
    case 'gap':
      return `${idOf(reply)}${event('gap', JSON.stringify(reply))}`;
    default:
      return event(reply.type, JSON.stringify(reply));
  }
}

/** The last event of a stream that the gateway ends. */
export function closeEvent(code: number, reason: string): string {
  return `retry: ${retryMs(code)}\n${event('close', JSON.stringify({ type: 'close', code, reason }))}`;
}

function retryMs(code: number): number {
  const least = code >= firstFatalCode ? noRetryMs : leastRetryMs;
  return Math.round(least + Math.random() * (mostRetryMs - leastRetryMs));
}

function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`;
}

function idLine({ epoch, offset }: Position): string {
  return `id: ${epoch}:${offset}\n`;
}

function idOf({ epoch, offset }: { epoch?: string | undefined; offset?: number | undefined }): string {
  return epoch === undefined || offset === undefined ? '' : idLine({ epoch, offset });
}

/** What a frame of this dialect means to the stream that sends it. */
export function meaningOf(frame: Frame): 'begin' | 'refusal' | 'last' | 'event' {
  if (typeof frame !== 'string') return 'event';
  if (frame.startsWith('retry: ')) return 'begin';
  if (frame.startsWith('{')) return 'refusal';
  return frame.startsWith('event: unsubscribed\n') ? 'last' : 'event';
}
