/**
 * The `history` frame: what it asks of the backplane, and the text of its answer. Pure functions.
 *
 * Messages are put into the answer as the bytes that every member got; nothing is parsed.
 */
import type { HistoryPage, HistoryQuery } from '../backplane/backplane.ts';
import type { HistoryFrame } from './frame.ts';

/** An answer is cut here, or at `maxBytes` if that is less, with `more: true`; a single message may be larger. */
const maxAnswerBytes = 262_144;
/** Left for the answer's other fields and the commas. */
const reservedBytes = 2_048;

/**
 * Without `after` the newest messages are asked for. An offset without `epoch` means the present one. `maxBytes` is what
 * the asking connection can be given at once.
 */
export function historyQuery({ after, before, epoch, limit }: HistoryFrame, maxBytes: number): HistoryQuery {
  return {
    after: after === undefined ? undefined : { epoch, offset: after },
    // Below 1 there is as little as below 0, which a query takes for no limit.
    before: before === 0 ? 1 : before,
    limit,
    maxBytes: Math.max(1, Math.min(maxAnswerBytes, maxBytes) - reservedBytes),
  };
}

/** Of another epoch than the one asked for there are no messages: offsets mean nothing across epochs. */
export function historyAnswer({ id, after, before, epoch: asked }: HistoryFrame, page: HistoryPage): string {
  const { epoch, top, first } = page;
  const messages = asked === undefined || asked === epoch ? page.messages : [];
  const head = JSON.stringify({ type: 'ok', id, epoch, offset: top, first });
  const frames = messages.map(({ frame }) => Buffer.from(frame).toString()).join(',');
  return `${head.slice(0, -1)},"messages":[${frames}]${isMore() ? ',"more":true' : ''}}`;

  function isMore(): boolean {
    const [oldest, newest] = [messages[0], messages.at(-1)];
    if (oldest === undefined || newest === undefined) return false;
    return after === undefined ? oldest.offset > first : newest.offset < Math.min(top, (before ?? top + 1) - 1);
  }
}
