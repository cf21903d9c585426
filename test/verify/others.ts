/**
 * Judges the rooms that a fault does not concern (NOTICED), in a Redis Cluster: no publish there is refused as `unavailable`,
 * and no member is told that messages may be missing, or that a new epoch has begun.
 *
 * `concerns` opens a time that lasts to the next one. What comes late, in a room that the fault before concerned, is still an
 * effect of that. Runs without `concerns` are not judged.
 */
import type { Entry } from './log.ts';
import type { Report } from './publications.ts';

export function judgeOthers(entries: readonly Entry[], report: Report): void {
  let concerned: ReadonlySet<string> | undefined;
  let before: ReadonlySet<string> = new Set();
  let kind = 'no fault';
  for (const entry of entries) {
    if (entry.event === 'fault') kind = entry.kind;
    if (entry.event === 'concerns') {
      before = concerned ?? before;
      concerned = new Set(entry.rooms);
    }
    if (entry.event !== 'nack' && entry.event !== 'gap') continue;
    if (concerned === undefined || concerned.has(entry.room) || before.has(entry.room) || !isNotice(entry)) continue;
    const what = entry.event === 'gap' ? `was told a gap in` : `could not publish to`;
    report('NOTICED', `${entry.client} ${what} ${entry.room}, of another shard than "${kind}" concerns`, entry);
  }
}

function isNotice(entry: Extract<Entry, { event: 'nack' | 'gap' }>): boolean {
  if (entry.event === 'nack') return entry.code === 'unavailable';
  // Without a count: in a plain room nobody knows it.
  return (entry.reason === 'backplane' || entry.reason === 'epoch') && entry.count !== 0;
}
