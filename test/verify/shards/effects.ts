/**
 * What each fault of a run did: how long it lasted, what was refused in the rooms that it concerns, and how much slower messages
 * came to bystanders in all others than before the first fault, and to those of the node apart.
 *
 * Figures only: whether others noticed anything is judged by others.ts.
 */
import type { Entry, EntryOf } from '../log.ts';
import { isApart, type Sample } from './bystanders.ts';

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
  /** By the node apart, ms. */
  apart: number[];
}

/** Rows for the summary. `calm`: a time under load without faults. */
export function effectRows(log: readonly Entry[], measured: readonly Sample[], calm: Span): [string, string][] {
  const effects = readEffects(log);
  const before: Pick<Effect, 'elsewhere' | 'apart'> = { elsewhere: [], apart: [] };
  for (const sample of measured) {
    const { at, room, ms } = sample;
    const where = isApart(sample) ? 'apart' : 'elsewhere';
    if (at >= calm.from && at < calm.to) before[where].push(ms);
    const effect = effects.find(({ from, to }) => at >= from && at < to);
    if (effect !== undefined && !effect.rooms.has(room)) effect[where].push(ms);
  }
  // A node that is killed concerns its clients, and no shard.
  const ofShards = effects.filter(({ rooms }) => rooms.size > 0);
  const ofAll = {
    elsewhere: ofShards.flatMap((each) => each.elsewhere),
    apart: ofShards.flatMap((each) => each.apart),
  };
  const told = (all: number[], than: number[]) =>
    `${p99Of(all).toFixed(0)} ms, ${(p99Of(all) / p99Of(than)).toFixed(1)} times`;
  const compared = ({ elsewhere, apart }: typeof before) =>
    `p99 elsewhere ${told(elsewhere, before.elsewhere)}; apart ${told(apart, before.apart)}`;
  const atFirst = `${p99Of(before.elsewhere).toFixed(1)} ms of ${before.elsewhere.length} messages; apart`;
  return [
    ['p99 before the faults', `${atFirst} ${p99Of(before.apart).toFixed(1)} ms of ${before.apart.length}`],
    ...effects.map((effect): [string, string] => {
      const { kind, from, to, rooms, refused } = effect;
      const seconds = ((to - from) / 1000).toFixed(1);
      return [`  ${kind}`, `${seconds} s, ${rooms.size} rooms, ${refused} refused there; ${compared(effect)}`];
    }),
    ['all faults of shards', compared(ofAll)],
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
      open = { kind: entry.kind, from: entry.t, to: entry.t, rooms: new Set(), refused: 0, elsewhere: [], apart: [] };
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
