/**
 * How a room goes on from a position: what was kept, then what came live meanwhile, without a hole that is not told.
 *
 * Pure functions, the heart of resume, healing and catching up alike. A page of history was read after the position was
 * known, and every live message since the read was asked for is in the tail; so together they hold all there is. They
 * know no connections and no Redis; test/unit/rooms/continuation.test.ts holds them against a naive oracle.
 */
import type { Position } from '../../shared/protocol.ts';
import type { HistoryPage } from '../backplane/backplane.ts';

/** A message in its place. */
export interface PlacedMessage {
  position: Position;
  frame: Uint8Array;
}

/** Messages that cannot be had any more, in their place; `position` is where it goes on behind them. */
export interface Hole {
  reason: 'trimmed' | 'epoch';
  /** The missing offsets, inclusive. Unknown where another epoch began. */
  first?: number;
  last?: number;
  position: Position;
}

export type Step = PlacedMessage | Hole;

export interface Continuation {
  steps: Step[];
  /** Behind the last step. */
  position: Position;
  /** False: there is more, to be read from `position`. */
  complete: boolean;
}

export function isHole(step: Step): step is Hole {
  return 'reason' in step;
}

/** What a `gap` frame tells of a hole. */
export function missing({ reason, first, last, position }: Hole) {
  return first === undefined || last === undefined
    ? { reason, ...position }
    : { reason, first, last, count: last - first + 1, ...position };
}

export function samePosition(one: Position, other: Position): boolean {
  return one.offset === other.offset && one.epoch === other.epoch;
}

/** `page` was read with `after` at or before `from` (or, from another epoch, from the start), and with a limit above 0. */
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
    // Another epoch, or a hole: only a new read tells which.
    if (position.epoch !== epoch || position.offset > offset + 1) {
      return { steps, position: { epoch, offset }, complete: false };
    }
    offset = position.offset;
    steps.push(message);
  }
  return { steps, position: { epoch, offset }, complete: true };
}

/** The steps up to an offset of their epoch. A hole that reaches beyond it ends there. */
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
