/**
 * The continuation of a room from a position: messages from history, then live ones, and a hole wherever any are
 * missing.
 *
 * Pure functions, shared by resume, healing and catch-up. The page of history is read after the position is known, and
 * the tail holds every live message since the read began. So the two together are complete. They know no connections
 * and no Redis; test/unit/rooms/continuation.test.ts checks them against a naive oracle.
 */
import type { Position } from '../../shared/protocol.ts';
import type { HistoryPage } from '../backplane/backplane.ts';

/** A message with its position. */
export interface PlacedMessage {
  position: Position;
  frame: Uint8Array;
}

/** Messages that are lost for good, in order with the others. `position` is the position after them. */
export interface Hole {
  reason: 'trimmed' | 'epoch';
  /** The missing offsets, inclusive. Undefined where a new epoch began. */
  first?: number;
  last?: number;
  position: Position;
}

/** What moves a position forward: one message, or one hole. */
export type Step = PlacedMessage | Hole;

export interface Continuation {
  steps: Step[];
  /** The position after the last step. */
  position: Position;
  /** False: there may be more; read again from `position`. */
  complete: boolean;
}

export function isHole(step: Step): step is Hole {
  return 'reason' in step;
}

/** The fields of a `gap` frame for a hole. */
export function gapFields({ reason, first, last, position }: Hole) {
  return first === undefined || last === undefined
    ? { reason, ...position }
    : { reason, first, last, count: last - first + 1, ...position };
}

export function samePosition(one: Position, other: Position): boolean {
  return one.offset === other.offset && one.epoch === other.epoch;
}

/**
 * `page` must be read with a limit above 0, and with `after` at or before `from`, or from the start of the epoch if
 * `from` is of another epoch.
 */
export function continueFrom(from: Position, page: HistoryPage, tail: readonly PlacedMessage[]): Continuation {
  const steps: Step[] = [];
  const { epoch } = page;
  let { offset } = from;
  if (from.epoch !== epoch) {
    offset = Math.max(page.first - 1, page.base);
    steps.push({ reason: 'epoch', position: { epoch, offset } });
  }
  const skipTo = (next: number) => {
    if (next <= offset + 1) return;
    steps.push({ reason: 'trimmed', first: offset + 1, last: next - 1, position: { epoch, offset: next - 1 } });
    offset = next - 1;
  };
  for (const message of page.messages) {
    if (message.offset <= offset) continue;
    skipTo(message.offset);
    offset = message.offset;
    steps.push({ position: { epoch, offset }, frame: message.frame });
  }
  const last = page.messages.at(-1)?.offset ?? page.top;
  if (last < page.top) return { steps, position: { epoch, offset }, complete: false };
  skipTo(page.top + 1);
  for (const message of tail) {
    const { position } = message;
    if (position.epoch === epoch && position.offset <= offset) continue;
    // A new epoch or a hole: only another read can tell which.
    if (position.epoch !== epoch || position.offset > offset + 1) {
      return { steps, position: { epoch, offset }, complete: false };
    }
    offset = position.offset;
    steps.push(message);
  }
  return { steps, position: { epoch, offset }, complete: true };
}

/** The steps up to `limit`. A hole that reaches beyond it is shortened to end there. */
export function upTo(steps: readonly Step[], limit: Position): Step[] {
  const within: Step[] = [];
  for (const step of steps) {
    const { epoch, offset } = step.position;
    if (epoch !== limit.epoch || offset <= limit.offset) within.push(step);
    else {
      if (!isHole(step)) break;
      if (step.first === undefined) within.push({ ...step, position: limit });
      else if (step.first <= limit.offset) within.push({ ...step, last: limit.offset, position: limit });
      break;
    }
  }
  return within;
}
