/**
 * What each fault of a run did: how long it lasted, what was refused in the rooms that it concerns, and how much slower messages
 * came to bystanders in all others than before the first fault.
 *
 * Figures only: whether others noticed anything is judged by others.ts.
 */
import type { Entry, EntryOf } from '../log.ts';
import type { Sample } from './bystanders.ts';

export interface Span {
  from: number;
  to: number;
}

interface Effect extends Span {
  kind: string;
  rooms: ReadonlySet<string>;
  refused: number;
  /** Of messages to bystanders in other rooms, ms. */
  elsewhere: number[];
}

/** Rows for the summary. `calm`: a time under load without faults. */
export function effectRows(log: readonly Entry[], measured: readonly Sample[], calm: Span): [string, string][] {
  const effects = readEffects(log);
  const before: number[] = [];
  for (const { at, room, ms } of measured) {
    if (at >= calm.from && at < calm.to) before.push(ms);
    const effect = effects.find(({ from, to }) => at >= from && at < to);
    if (effect !== undefined && !effect.rooms.has(room)) effect.elsewhere.push(ms);
  }
  const p99 = p99Of(before);
  const compared = (all: number[]) =>
    `p99 elsewhere ${p99Of(all).toFixed(0)} ms, ${(p99Of(all) / p99).toFixed(1)} times`;
  return [
    ['p99 before the faults', `${p99.toFixed(0)} ms of ${before.length} messages`],
    ...effects.map(({ kind, from, to, rooms, refused, elsewhere }): [string, string] => {
      const seconds = ((to - from) / 1000).toFixed(1);
      return [`  ${kind}`, `${seconds} s, ${rooms.size} rooms, ${refused} refused there; ${compared(elsewhere)}`];
    }),
    ['p99 elsewhere, all faults', compared(effects.flatMap(({ elsewhere }) => elsewhere))],
  ];
}

/** Acknowledged messages of rooms with history that are not there at the end, among those that keep all. */
export function lostOf(log: readonly Entry[]): number {
  const kept = new Map(
    log.flatMap((entry) => (entry.event === 'history' && entry.first <= 1 ? [[entry.room, idsOf(entry)]] : [])),
  );
  const lost = new Set<string>();
  for (const entry of log)
    if (entry.event === 'ack' && kept.get(entry.room)?.has(entry.id) === false) lost.add(entry.id);
  return lost.size;
}

const idsOf = ({ items }: EntryOf<'history'>) => new Set(items.map(({ id }) => id));

/** One for each fault that has healed. */
function readEffects(log: readonly Entry[]): Effect[] {
  const effects: Effect[] = [];
  let open: Effect | undefined;
  for (const entry of log) {
    if (entry.event === 'fault') {
      open = { kind: entry.kind, from: entry.t, to: entry.t, rooms: new Set(), refused: 0, elsewhere: [] };
    }
    if (open === undefined) continue;
    if (entry.event === 'concerns') open.rooms = new Set(entry.rooms);
    if (entry.event === 'nack' && open.rooms.has(entry.room)) open.refused++;
    if (entry.event !== 'healed') continue;
    effects.push({ ...open, to: entry.t });
    open = undefined;
  }
  return effects;
}

function p99Of(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.floor(0.99 * (sorted.length - 1))] ?? Number.NaN;
}
