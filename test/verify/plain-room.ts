/**
 * Judges the streams of a plain room: messages carry no offset, so what is missing is found by comparing.
 *
 * Each `gap` cuts a stream into segments. A segment is a part of the room's one order without a hole, so:
 * - after a given message, all segments have the same next one (else GAP, LOST_GAP or REORDER);
 * - let a message be sent after the segment began, and acknowledged before another message of the segment was sent. Then it
 *   is in the segment too (LOST_GAP). If the segment lasts to the end, this holds for every acknowledged one (LOST_TAIL).
 * Where a dialect does not tell the id of the gateway, it is the one that others were told. Where they were told two, a segment ends.
 * Messages accepted by a former master are excused if a gap follows them later: nobody can report them in their place.
 */
import type { EntryOf } from './log.ts';
import type { Publication, Publications, Report } from './publications.ts';
import { ensure, type Stream } from './streams.ts';

interface Segment {
  client: string;
  startedAt: number;
  began: Stream['opened'] | EntryOf<'gap' | 'deliver'>;
  lines: EntryOf<'deliver'>[];
  ids: Set<string>;
  alive: boolean;
  /** The time of the gap after it, or of the end of the stream. */
  endedAt: number;
}

/** The gateway's ids of each message, as members were told. */
type Names = ReadonlyMap<string, ReadonlySet<string>>;

interface Facts {
  publications: Publications;
  report: Report;
}

export function judgePlainRoom(room: string, streams: readonly Stream[], facts: Facts): void {
  const names = namesIn(streams);
  const segments = streams.flatMap((stream) => cut(stream, names, facts));
  judgeNames(segments, facts);
  judgeSuccessors(room, segments, facts);
  const acknowledged = facts.publications.of(room).filter(({ acks }) => acks.length > 0);
  for (const segment of segments) {
    judgeAcknowledged(room, segment, acknowledged, facts);
    judgeFifo(room, segment, facts);
  }
}

function namesIn(streams: readonly Stream[]): Names {
  const names = new Map<string, Set<string>>();
  for (const line of streams.flatMap(({ lines }) => lines)) {
    if (line.event === 'deliver' && line.wire !== undefined) ensure(names, line.id, () => new Set()).add(line.wire);
  }
  return names;
}

/** Undefined if it may be one of several. */
function nameOf({ id, wire }: EntryOf<'deliver'>, names: Names, publications: Publications): string | undefined {
  if (wire !== undefined) return wire;
  const publication = publications.get(id);
  const mayComeTwice = publication && (publications.mayBeDouble(publication) || publications.mayBeLate(publication));
  if (mayComeTwice) return undefined;
  const [name = id, ...others] = names.get(id) ?? [];
  return others.length > 0 ? undefined : name;
}

function cut(
  { client, room, opened, lines, alive, endedAt }: Stream,
  names: Names,
  { publications, report }: Facts,
): Segment[] {
  if (opened.epoch !== undefined || opened.recovered) {
    report('BAD_RESUME', `${client} was given a position in ${room}, which has no history`, opened);
  }
  const begin = (began: Segment['began']): Segment => {
    return { client, startedAt: began.t, began, lines: [], ids: new Set(), alive: false, endedAt };
  };
  let segment = begin(opened);
  const segments = [segment];
  const seen = new Map<string, EntryOf<'deliver'>>();
  for (const line of lines) {
    if (line.event === 'gap') {
      segment.endedAt = line.t;
      segment = begin(line);
      segments.push(segment);
      continue;
    }
    publications.seen(line.id, room, line);
    const wire = nameOf(line, names, publications);
    const before = wire === undefined ? undefined : seen.get(wire);
    if (before) {
      report('DUP', `${client} got ${wire} of ${room} twice`, before, line);
      continue;
    }
    segment.ids.add(line.id);
    if (wire === undefined) {
      segment.endedAt = line.t;
      segment = begin(line);
      segments.push(segment);
      segment.ids.add(line.id);
    } else {
      seen.set(wire, line);
      segment.lines.push({ ...line, wire });
    }
  }
  segment.alive = alive;
  return segments;
}

/** One message, one id of the gateway. */
function judgeNames(segments: Segment[], { publications, report }: Facts): void {
  const byWire = new Map<string, EntryOf<'deliver'>>();
  const byId = new Map<string, EntryOf<'deliver'>>();
  for (const line of segments.flatMap((segment) => segment.lines)) {
    const sameWire = ensure(byWire, line.wire ?? '', () => line);
    if (sameWire.id !== line.id)
      report('DIVERGE', `${sameWire.id} and ${line.id} are both ${line.wire}`, sameWire, line);
    const sameId = ensure(byId, line.id, () => line);
    const publication = publications.get(line.id);
    if (sameId.wire === line.wire) continue;
    if (publication && (publications.mayBeDouble(publication) || publications.mayBeLate(publication))) continue;
    report('DOUBLE', `${line.id} was published as ${sameId.wire} and as ${line.wire}`, sameId, line);
  }
}

function judgeSuccessors(room: string, segments: Segment[], { publications, report }: Facts): void {
  const next = new Map<string, Map<string, { segment: Segment; index: number }>>();
  for (const segment of segments) {
    for (let index = 1; index < segment.lines.length; index++) {
      const after = ensure(next, segment.lines[index - 1]?.wire ?? '', () => new Map());
      ensure(after, segment.lines[index]?.wire ?? '', () => ({ segment, index }));
    }
  }
  for (const after of next.values()) {
    const [one, ...others] = after.values();
    for (const other of one ? others : []) judgePair(one as NonNullable<typeof one>, other);
  }

  function judgePair(one: { segment: Segment; index: number }, other: { segment: Segment; index: number }): void {
    const [mine, theirs] = [one.segment.lines[one.index], other.segment.lines[other.index]];
    const lines = [one.segment.lines[one.index - 1], mine, other.segment.lines[other.index - 1], theirs];
    const [haveBoth, theyHaveBoth] = [one.segment.ids.has(theirs?.id ?? ''), other.segment.ids.has(mine?.id ?? '')];
    const who = `after the same message of ${room} ${one.segment.client} got ${mine?.id}, ${other.segment.client} ${theirs?.id}`;
    if (haveBoth && theyHaveBoth) report('REORDER', who, ...lines);
    else {
      const lost = publications.get((haveBoth ? mine?.id : theirs?.id) ?? '');
      report(lost?.acks.length ? 'LOST_GAP' : 'GAP', who, ...lines);
    }
  }
}

/** `acknowledged` in the order of first attempts. */
function judgeAcknowledged(
  room: string,
  segment: Segment,
  acknowledged: Publication[],
  { publications, report }: Facts,
): void {
  let lastSent = 0;
  for (const { id } of segment.lines) lastSent = Math.max(lastSent, publications.get(id)?.firstAt ?? 0);
  for (let index = firstAfter(acknowledged, segment.startedAt); index < acknowledged.length; index++) {
    const publication = acknowledged[index] as Publication;
    const { id, ackedAt, attempts, firstAt } = publication;
    if (firstAt > lastSent && !segment.alive) return;
    if (segment.ids.has(id) || (ackedAt >= lastSent && !segment.alive)) continue;
    if (publications.mayBeMissed(publication, segment.endedAt)) continue;
    const kind = ackedAt < lastSent ? 'LOST_GAP' : 'LOST_TAIL';
    report(kind, `${segment.client} was not given ${id} of ${room}`, segment.began, ...attempts, segment.lines.at(-1));
  }
}

function firstAfter(publications: Publication[], time: number): number {
  let [low, high] = [0, publications.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((publications[middle]?.firstAt ?? 0) > time) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Any attempt may have delivered a retried message. */
function judgeFifo(room: string, segment: Segment, { publications, report }: Facts): void {
  const last = new Map<number, { publication: Publication; line: EntryOf<'deliver'> }>();
  for (const line of segment.lines) {
    const publication = publications.get(line.id);
    if (publication?.attempts.length !== 1) continue;
    const before = last.get(publication.conn);
    if (before && before.publication.firstAt > publication.firstAt) {
      report(
        'FIFO',
        `${line.id} was sent before ${before.publication.id} of ${room}, and came later`,
        before.line,
        line,
      );
    }
    last.set(publication.conn, { publication, line });
  }
}
