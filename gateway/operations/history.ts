/** History: messages that are kept of a room. */
import type { HistoryPage, HistoryQuery } from '../backplane/backplane.ts';
import type { Access } from '../rooms/access.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Caller, forbidden, mayRead } from './caller.ts';
import { refusalOf } from './refusal.ts';

export interface HistoryParts {
  access: Access;
  hub: Hub;
  faults: Faults;
}

/** Offsets are exclusive; without `after` the newest messages are asked for. */
export interface HistoryQuestion {
  room: string;
  after: number | undefined;
  before: number | undefined;
  /** The epoch that the offsets belong to; the present one if undefined. */
  epoch: string | undefined;
  /** Messages in the answer, at most. */
  limit: number;
}

export interface HistoryAnswer {
  /** The present epoch, its newest offset, and the oldest offset that is kept. */
  epoch: string;
  offset: number;
  first: number;
  /** `message` frames, ascending. None of another epoch: offsets mean nothing across epochs. */
  messages: Uint8Array[];
  /** There are more than these. */
  more: boolean;
}

/** An answer is cut here, or at `maxBytes` if that is less, with `more`; a single message may be larger. */
const maxAnswerBytes = 262_144;
/** Left for the answer's other fields and the commas. */
const reservedBytes = 2_048;

/** `maxBytes` is what the caller can be given at once. Rejects with a Refusal: `forbidden`, `unavailable`, `timeout`, `internal`. */
export async function history(
  { access, faults, hub }: HistoryParts,
  caller: Caller,
  question: HistoryQuestion,
  maxBytes: number,
): Promise<HistoryAnswer> {
  const { room } = question;
  if (!mayRead(access, caller, 'history', room)) throw forbidden('history');
  try {
    return answer(question, await hub.history(room, query(question, maxBytes)));
  } catch (error) {
    throw refusalOf(faults, 'reading history failed', error, { again: 'ask again' });
  }
}

function query({ after, before, epoch, limit }: HistoryQuestion, maxBytes: number): HistoryQuery {
  return {
    after: after === undefined ? undefined : { epoch, offset: after },
    // Below 1 there is as little as below 0, which a query takes for no limit.
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
