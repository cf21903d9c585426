/**
 * What clients of the library hold in this process: timers, listeners of the process, sockets and rooms. After many lost
 * connections it must be what it was before them.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LibraryMember } from './member.ts';

export type Holdings = Record<'timers' | 'listeners' | 'sockets' | 'rooms', number>;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** Sockets that have ended, and rooms that were left, count as long as anything refers to them. */
export function holdings(members: readonly LibraryMember[]): Holdings {
  collect();
  const sum = (of: (member: LibraryMember) => number) => members.reduce((total, member) => total + of(member), 0);
  return {
    timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length,
    listeners: process.eventNames().reduce((total, name) => total + process.listenerCount(name), 0),
    sockets: sum(({ sockets }) => sockets.held),
    rooms: sum(({ heldRooms }) => heldRooms),
  };
}

/** What is held now beyond `most`, in words; empty if nothing is. */
export function growth(most: Holdings, now: Holdings): string {
  const names = Object.keys(most) as (keyof Holdings)[];
  const grown = names.filter((name) => now[name] > most[name]);
  return grown.map((name) => `${name}: ${most[name]} before, ${now[name]} after`).join('; ');
}
