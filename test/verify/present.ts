/**
 * Judges presence after the quiet time (PRESENCE): it lists exactly the clients in the room, with correct counts. It does not
 * check how often a client is listed: a connection that vanished counts until the gateway gives it up.
 */
import type { EntryOf } from './log.ts';
import type { Report } from './publications.ts';
import type { Stream } from './streams.ts';

export function judgePresence(
  room: string,
  streams: readonly Stream[],
  told: EntryOf<'presence'> | undefined,
  report: Report,
): void {
  if (told === undefined) {
    report('PRESENCE', `nobody was asked who is in ${room} at the end`);
    return;
  }
  const here = new Set(streams.filter(({ alive }) => alive).map(({ client }) => client));
  const listed = new Set(told.members);
  const only = (one: Set<string>, other: Set<string>) => [...one].filter((name) => !other.has(name)).join(', ');
  const [missing, ghosts] = [only(here, listed), only(listed, here)];
  if (missing !== '') report('PRESENCE', `${missing} is in ${room}, and not listed`, told);
  if (ghosts !== '') report('PRESENCE', `${ghosts} is listed in ${room}, and not there`, told);
  if (told.users !== listed.size || told.count !== told.members.length) {
    const listing = `${told.members.length} connections of ${listed.size} users are listed`;
    report('PRESENCE', `${room} counts ${told.count} connections of ${told.users} users; ${listing}`, told);
  }
}
