/**
 * The judge: reads the log of a run and returns every promise that was broken. Pure, and offline.
 *
 * Built like the kafka workload of Jepsen, reduced to rooms. Violations, by the file that finds them:
 *   publications.ts   PHANTOM, LEAK, UNDEAD
 *   streams.ts        LEAK (not a member), LOST_TAIL (not back at the end)
 *   places.ts         DIVERGE, DOUBLE, EPOCH, FIFO
 *   ordered-room.ts   LOST_GAP, GAP, DUP, REORDER, LOST_TAIL, BAD_RESUME, EPOCH, HISTORY
 *   plain-room.ts     LOST_GAP, GAP, DUP, REORDER, LOST_TAIL, DIVERGE, DOUBLE, FIFO, BAD_RESUME
 *   present.ts        PRESENCE
 *   others.ts         NOTICED
 * and here STUCK: the cluster did not recover from a fault; CLIENT: the client library did what it must never do.
 * A publish without an answer may have been delivered or not, but at most once. A loss that a `gap` reports is no violation.
 */
import type { Entry, EntryOf } from './log.ts';
import { judgeOrderedRoom } from './ordered-room.ts';
import { judgeOthers } from './others.ts';
import { Places } from './places.ts';
import { judgePlainRoom } from './plain-room.ts';
import { judgePresence } from './present.ts';
import { Publications, type Report, type Violation, type ViolationKind } from './publications.ts';
import { readStreams } from './streams.ts';

/** Bound on violations of one kind: a broken build breaks its promise with every message. */
const mostOfAKind = 1_000;

/** Violations by the line that shows them, at most 1,000 of a kind. Throws a TypeError for a log that does not begin with its plan. */
export function check(entries: readonly Entry[]): Violation[] {
  const [plan] = entries;
  if (plan?.event !== 'run') throw new TypeError('the first line of the log must be the plan of the run');
  const violations: Violation[] = [];
  const counts = new Map<ViolationKind, number>();
  const report: Report = (kind, what, ...lines) => {
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    if (count > mostOfAKind) return;
    violations.push({ kind, what, lines: lines.filter((line) => line !== undefined) });
  };
  const publications = new Publications(entries, report);
  const places = new Places(publications, report);
  const streams = readStreams(entries, report);
  const histories = new Map<string, EntryOf<'history'>>();
  const presences = new Map<string, EntryOf<'presence'>>();
  for (const entry of entries) {
    if (entry.event === 'history') histories.set(entry.room, entry);
    if (entry.event === 'presence') presences.set(entry.room, entry);
    if (entry.event === 'stuck') report('STUCK', entry.what, entry);
    if (entry.event === 'misbehaviour') report('CLIENT', `${entry.client}: ${entry.what}`, entry);
  }
  const withHistory = new Set(plan.rooms.filter(({ history }) => history).map(({ name }) => name));

  for (const { room, acks, id } of publications.all()) {
    for (const ack of acks) {
      const { epoch, offset } = ack;
      if (epoch !== undefined && offset !== undefined && withHistory.has(room))
        places.put(room, { epoch, offset }, id, ack);
    }
  }
  for (const { name, history, presence } of plan.rooms) {
    const own = streams.get(name) ?? [];
    if (history) judgeOrderedRoom(name, own, histories.get(name), { publications, places, report });
    else judgePlainRoom(name, own, { publications, report });
    if (presence) judgePresence(name, own, presences.get(name), report);
  }
  judgeOthers(entries, report);
  places.judgeEpochs();
  places.judgeFifo();
  return violations.sort((one, other) => (one.lines.at(-1)?.t ?? 0) - (other.lines.at(-1)?.t ?? 0));
}
