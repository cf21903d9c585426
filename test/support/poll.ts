/**
 * Long polls over node:http: one at a time, each on a connection of its own, and never repeated by itself.
 */
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { GapFrame, MessageFrame } from '../../shared/protocol.ts';
import { onCleanup } from './cleanup.ts';

export interface PollOptions {
  token?: string | undefined;
  since?: string | undefined;
  /** Seconds. */
  wait?: number;
  headers?: Record<string, string>;
  /** Certificate authority, PEM, for a node with TLS. */
  ca?: string;
}

export interface PollAnswer {
  epoch: string;
  offset: number;
  messages: MessageFrame[];
  recovered?: boolean;
  gap?: Omit<GapFrame, 'type' | 'room'>;
}

export interface Poll {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface PollUnderWay {
  /** Rejects if the connection ends without a whole answer. */
  answer: Promise<Poll>;
  /** The answer once its head has come. The body is read from then on. */
  head: Promise<IncomingMessage>;
  abort(): void;
}

/** Begins a poll. `read`: false leaves the body of the answer unread. */
export function beginPoll(
  node: { port: number },
  room: string,
  { token, since, wait, headers = {}, ca }: PollOptions = {},
  read = true,
): PollUnderWay {
  const query = new URLSearchParams();
  if (since !== undefined) query.set('since', since);
  if (wait !== undefined) query.set('wait', String(wait));
  const request = (ca === undefined ? httpRequest : httpsRequest)({
    ...{
      host: '127.0.0.1',
      port: node.port,
      path: `/rooms/${encodeURIComponent(room)}/messages?${query}`,
      agent: false,
    },
    ca,
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
  });
  onCleanup(() => void request.destroy());
  const head = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', resolve);
  });
  const answer = head.then(
    (response) =>
      new Promise<Poll>((resolve, reject) => {
        let text = '';
        response.setEncoding('utf8');
        if (read) response.on('data', (chunk) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
      }),
  );
  for (const each of [head, answer]) each.catch(() => undefined);
  request.end();
  return { answer, head, abort: () => request.destroy() };
}

/** One poll to its end. Throws for an answer other than 200. */
export async function poll(node: { port: number }, room: string, options: PollOptions = {}): Promise<PollAnswer> {
  const { status, text } = await beginPoll(node, room, options).answer;
  if (status !== 200) throw new Error(`the poll was answered by ${status}: ${text}`);
  return JSON.parse(text) as PollAnswer;
}

/** The position of an answer, for the next poll. */
export function positionOf({ epoch, offset }: PollAnswer): string {
  return `${epoch}:${offset}`;
}
