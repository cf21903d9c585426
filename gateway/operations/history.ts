/** History: reads the stored messages of a room. */
import type { HistoryPage, HistoryQuery } from '../backplane/backplane.ts';
import type { HistoryReply } from '../protocol/reply.ts';
import type { HistoryRequest } from '../protocol/request.ts';
import type { Access } from '../rooms/access.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Caller, mayRead, unreadable } from './caller.ts';
import { refusalOf } from './refusal.ts';

export interface HistoryParts {
  access: Access;
  hub: Hub;
  faults: Faults;
}

export type HistoryQuestion = Omit<HistoryRequest, 'type' | 'id'>;

/** Without messages if the question names another epoch than the current one: its offsets mean nothing here. */
export type HistoryAnswer = Omit<HistoryReply, 'type' | 'id'>;

/** Bound of an answer, unless `maxBytes` is less. Beyond it `more` is set. A single message may be larger. */
const maxAnswerBytes = 262_144;
/** Reserved for the other fields of the answer, and commas. */
const reservedBytes = 2_048;

/**
 * `maxBytes`: what the caller can buffer, Infinity without a bound of its own. Rejects with a Refusal: `forbidden`, `unavailable`, `timeout` or `internal`.
 */
export async function history(
  { access, faults, hub }: HistoryParts,
  caller: Caller,
  question: HistoryQuestion,
  maxBytes: number,
): Promise<HistoryAnswer> {
  const { room } = question;
  if (!mayRead(access, caller, 'history', room)) throw unreadable(access, caller, 'history', room);
  try {
    return answer(question, await hub.history(room, query(question, maxBytes)));
  } catch (error) {
    throw refusalOf(faults, 'reading history failed', error, { again: 'ask again' });
  }
}

function query({ after, before, epoch, limit }: HistoryQuestion, maxBytes: number): HistoryQuery {
  return {
    after: after === undefined ? undefined : { epoch, offset: after },
    // Offsets begin at 1, so `before` 0 and 1 alike match nothing. The upper end of a query must be 0 or more.
    before: before === 0 ? 1 : before,
    limit,
    maxBytes: Math.max(1, Math.min(maxAnswerBytes, maxBytes) - reservedBytes),
  };
}

function answer({ after, before, epoch: asked }: HistoryQuestion, page: HistoryPage): HistoryAnswer {
  const { epoch, top, first } = page;
  const messages = asked === undefined || asked === epoch ? page.messages : [];
  const [oldest, newest] = [messages[0], messages.at(-1)];
  const end = Math.min(top, (before ?? top + 1) - 1);
  const more =
    oldest !== undefined && newest !== undefined && (after === undefined ? oldest.offset > first : newest.offset < end);
  return { epoch, offset: top, first, messages: messages.map(({ frame }) => frame), more };
}
