/**
 * `history`, out of polls that do not wait. `before` has no counterpart.
 *
 * A poll answers what follows on a position, or that it is not kept any more. So where the oldest messages are gone, the
 * position is sought by halves, and `first` is the oldest message of the answer.
 */
import type { ErrorFrame, MessageFrame, OkFrame, Position } from '../../protocol.ts';
import { type Api, refusalOf } from './api.ts';

export interface HistoryRequest {
  room: string;
  limit?: number;
  after?: number;
  before?: number;
  epoch?: string;
}

interface PollAnswer extends Position {
  messages: MessageFrame[];
  recovered?: boolean;
}

/** 2^53 positions are halved 53 times; more polls than this are a room that trims faster than we ask. */
const maxPolls = 100;

/** Rejects if no answer came. */
export async function readHistory(
  api: Api,
  request: HistoryRequest,
  signal: AbortSignal,
): Promise<OkFrame | ErrorFrame> {
  const { room, limit = 100, after, before, epoch } = request;
  if (before !== undefined) {
    return { type: 'error', code: 'unsupported', message: 'over plain HTTP there is no `before`; use `after`.' };
  }
  const newest = await poll(api, room, undefined, signal);
  if ('type' in newest) return newest;
  const answer = { type: 'ok', epoch: newest.epoch, offset: newest.offset, messages: [] as MessageFrame[] } as const;
  if (epoch !== undefined && epoch !== newest.epoch) return { ...answer, first: newest.offset + 1 };
  const { messages } = answer;
  let from = after ?? Math.max(0, newest.offset - limit);
  for (let polls = 0; from < newest.offset && messages.length < limit && polls < maxPolls; polls++) {
    const next = await poll(api, room, { epoch: newest.epoch, offset: from }, signal);
    if ('type' in next) return next;
    if (next.recovered === true) {
      // Redis is away just now.
      if (next.messages.length === 0) break;
      messages.push(...next.messages);
      from = next.offset;
    } else from = Math.ceil((from + newest.offset) / 2);
  }
  const isCut = messages.splice(limit).length > 0 || from < newest.offset;
  const first = messages[0]?.offset ?? newest.offset + 1;
  return { ...answer, first, ...(isCut ? { more: true } : {}) };
}

async function poll(
  api: Api,
  room: string,
  since: Position | undefined,
  signal: AbortSignal,
): Promise<PollAnswer | ErrorFrame> {
  const response = await api.fetch(room, 'messages', { since, wait: 0, signal });
  return response.ok ? ((await response.json()) as PollAnswer) : refusalOf(response);
}
