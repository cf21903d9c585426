/**
 * Judges the streams of a room with history: offsets rise by one, from the position of the `ok` to the top at the end.
 *
 * A `gap` excuses only what it names: up to `last`, or up to its position. It reports a message that comes twice or too late,
 * a hole, a resume that does not begin at `since`, and an end before the top. It also reports a refusal or a gap for
 * messages that the room still holds at the end: they could have been delivered. Where a gap ends the membership, it is the
 * next resume that has to be refused.
 */
import type { Position } from '../../shared/protocol.ts';
import type { EntryOf } from './log.ts';
import type { Places } from './places.ts';
import type { Publications, Report } from './publications.ts';
import { ensure, type Stream } from './streams.ts';

type Final = EntryOf<'history'>;

export function judgeOrderedRoom(
  room: string,
  streams: readonly Stream[],
  final: Final | undefined,
  facts: { publications: Publications; places: Places; report: Report },
): void {
  const { report } = facts;
  /** The highest offset that each client saw, by client and epoch. */
  const reached = new Map<string, number>();
  for (const stream of streams) follow(stream, final, facts, reached);
  if (final) judgeHistory(final, facts);
  else report('HISTORY', `the history of ${room} was not read at the end`);
  judgeEndsByGap(streams, report);
  for (const { client, opened } of streams) {
    if (final && isNeedless(opened, final)) {
      report(
        'BAD_RESUME',
        `${client} was refused in ${room}, which still holds all that it missed`,
        opened,
        brief(final),
      );
    }
    if (opened.event !== 'resume' || opened.from.offset <= (reached.get(`${client} ${opened.from.epoch}`) ?? 0))
      continue;
    report('BAD_RESUME', `${client} resumed ${room} from a position where it has not been`, opened);
  }
}

/** Something is lost there, so what is asked for next cannot be whole. */
function judgeEndsByGap(streams: readonly Stream[], report: Report): void {
  const ended = new Map<number, Stream['endedByGap']>();
  for (const { opened, endedByGap } of streams) {
    const { client, conn, room } = opened;
    const told = ended.get(conn);
    if (told !== undefined && opened.event === 'resume' && opened.recovered) {
      report('GAP', `${client} was told that messages of ${room} are missing, and none is`, told, opened);
    }
    ended.set(conn, endedByGap);
  }
}

/** Call it when all deliveries are placed. */
function judgeHistory(final: Final, { publications, places, report }: Facts): void {
  const { room, epoch, first, offset, items } = final;
  const line = brief(final);
  let expected = first;
  for (const item of items) {
    publications.seen(item.id, room, line);
    const place = { epoch, offset: item.offset };
    if (!places.isLeft(item.id, place)) places.put(room, place, item.id, line);
    if (item.offset !== expected) report('HISTORY', `${room} holds ${item.offset} where ${expected} belongs`, line);
    expected = item.offset + 1;
  }
  if (items.length > 0 && expected !== offset + 1) {
    report('HISTORY', `${room} ends at ${expected - 1}, its top is ${offset}`, line);
  }
  const held = new Map(items.map((item) => [item.offset, item.id]));
  const lostUntil = publications.lostUntil(room);
  const oldestAckedAt = publications.get(items[0]?.id ?? '')?.ackedAt ?? Number.POSITIVE_INFINITY;
  const isGone = ({ offset: at }: Position, id: string) => at > offset || (at >= first && held.get(at) !== id);
  for (const { id, acks, firstAt } of publications.of(room)) {
    // The key of a deleted message may still be known.
    const isKept = (place: Position) => place.epoch === epoch || firstAt > lostUntil;
    for (const ack of acks) {
      const [place] = ack.untold ? places.of(id) : [ack];
      if (place === undefined) {
        // Nobody got it. It is among those that are kept, if none was trimmed, or if it was sent behind the oldest one.
        if ((first === 1 || firstAt > oldestAckedAt) && firstAt > lostUntil)
          report('HISTORY', `${id} was acknowledged, and is not there`, ack, line);
      } else if (place.offset === undefined || place.epoch === undefined) {
        report('HISTORY', `the ok for ${id} in ${room} has no position`, ack);
      } else if (isKept(place as Position) && isGone(place as Position, id)) {
        report('HISTORY', `${id} was acknowledged at ${place.offset} of ${room}, and is not there`, ack, line);
      }
    }
  }
}

/** Messages kept at the end were kept all the time. */
function isNeedless(opened: Stream['opened'], { epoch, first }: Final): boolean {
  if (opened.event !== 'resume' || opened.recovered) return false;
  const { from, offset = 0 } = opened;
  return opened.epoch === epoch && from.epoch === epoch && from.offset <= offset && from.offset + 1 >= first;
}

/** The room's rule may give a slow reader a gap; all other members are healed from history. */
function isNeedlessGap({ reason, first = 0, epoch: next }: EntryOf<'gap'>, epoch: string, final: Final): boolean {
  return reason !== 'slow' && (next ?? epoch) === epoch && epoch === final.epoch && first >= final.first;
}

/** For the report: a short form, as there are too many items to read. */
function brief(final: Final): Final {
  return { ...final, items: [] };
}

type Facts = Parameters<typeof judgeOrderedRoom>[3];

/** Walks one stream from its opening to its end. */
function follow(stream: Stream, final: Final | undefined, facts: Facts, reached: Map<string, number>): void {
  const { client, room, opened } = stream;
  const { report } = facts;
  const start = opening(opened, report);
  if (start === undefined) return;
  let { epoch, offset } = start;
  /** After a gap without a position, the next message says where the stream goes on. */
  let lost = false;
  let begin = offset;
  const holes = new Set<number>();
  let before: Stream['opened'] | Stream['lines'][number] = opened;
  const noteReached = () => {
    const key = `${client} ${epoch}`;
    reached.set(
      key,
      Math.max(
        offset,
        ensure(reached, key, () => 0),
      ),
    );
  };
  noteReached();
  for (const line of stream.lines) {
    if (line.event === 'deliver') facts.publications.seen(line.id, room, line);
    if (line.event === 'gap') {
      if (final && isNeedlessGap(line, epoch, final)) {
        report(
          'GAP',
          `${client} was told that ${line.first} of ${room} is gone, which is still held`,
          line,
          brief(final),
        );
      }
      const after = afterGap(line, { epoch, offset }, facts);
      if (after?.epoch !== epoch) {
        holes.clear();
        begin = after?.offset ?? offset;
      }
      lost = after === undefined;
      ({ epoch, offset } = after ?? { epoch, offset });
    } else if (line.offset === undefined) {
      report('REORDER', `${client} got ${line.id} in ${room} without an offset`, line);
    } else {
      if (lost) offset = Math.max(offset, line.offset - 1);
      lost = false;
      if (line.offset <= offset) {
        const kind = holes.delete(line.offset) || line.offset <= begin ? 'REORDER' : 'DUP';
        report(kind, `${client} got ${line.offset} of ${room} when it was at ${offset}`, before, line);
      } else if (line.offset > offset + 1) {
        for (let hole = offset + 1; hole < line.offset; hole++) holes.add(hole);
        reportHole({ epoch, offset }, line.offset - 1, line, facts, before);
      }
      facts.places.put(room, { epoch, offset: line.offset }, line.id, line);
      offset = Math.max(offset, line.offset);
    }
    noteReached();
    before = line;
  }
  if (stream.alive && final && !lost) judgeEnd(stream, { epoch, offset }, final, facts);
}

/** Where the stream begins; undefined if the `ok` does not say. */
function opening(opened: Stream['opened'], report: Report): Position | undefined {
  const { client, room, epoch, offset, recovered } = opened;
  const from = opened.event === 'resume' ? opened.from : undefined;
  if ((recovered !== undefined) !== (from !== undefined)) {
    report('BAD_RESUME', `recovered stands exactly in the answer to since (${client}, ${room})`, opened);
  }
  if (epoch === undefined || offset === undefined) {
    report('BAD_RESUME', `${client} was given no position in ${room}`, opened);
    return undefined;
  }
  if (from && recovered && (from.epoch !== epoch || from.offset !== offset)) {
    report(
      'BAD_RESUME',
      `${client} asked for ${from.epoch}:${from.offset}, and goes on from ${epoch}:${offset}`,
      opened,
    );
  }
  return from && recovered ? from : { epoch, offset };
}

/** Where the stream goes on after a gap; undefined if the gap does not say. */
function afterGap(gap: EntryOf<'gap'>, at: Position, facts: Facts): Position | undefined {
  const { client, room, reason, first, last, offset } = gap;
  const epoch = gap.epoch ?? at.epoch;
  if (reason === 'epoch' && (gap.epoch === undefined || offset === undefined)) {
    facts.report('EPOCH', `${client} was told of a new epoch of ${room} without its position`, gap);
  }
  if (epoch !== at.epoch) return offset === undefined ? undefined : { epoch, offset };
  if (last === undefined) return offset === undefined ? undefined : { epoch, offset: Math.max(offset, at.offset) };
  if (first !== undefined && first > at.offset + 1) reportHole(at, first - 1, gap, facts);
  if (offset !== undefined && offset > last) reportHole({ epoch, offset: last }, offset, gap, facts);
  return { epoch, offset: Math.max(at.offset, last) };
}

function reportHole(
  at: Position,
  last: number,
  line: Stream['lines'][number],
  facts: Facts,
  before?: Stream['opened'] | Stream['lines'][number],
): void {
  const { client, room } = line;
  const acknowledged = facts.places.acknowledged(room, at.epoch, at.offset + 1, last);
  const what = `${client} was not given ${at.offset + 1} to ${last} of ${room}`;
  if (acknowledged.length === 0) facts.report('GAP', what, before, line);
  else facts.report('LOST_GAP', `${what}, with ${acknowledged.join(', ')} acknowledged`, before, line);
}

function judgeEnd(stream: Stream, at: Position, final: Final, { places, report }: Facts): void {
  const { client, room } = stream;
  const line = stream.lines.at(-1) ?? stream.opened;
  const top = brief(final);
  if (at.epoch !== final.epoch) {
    // A new epoch is told before its first message; without a message there is no gap yet.
    if (final.offset > 0) report('EPOCH', `${client} ends in ${at.epoch} of ${room}, not in ${final.epoch}`, line, top);
  } else if (at.offset < final.offset) {
    const acknowledged = places.acknowledged(room, at.epoch, at.offset + 1, final.offset).join(', ');
    report(
      'LOST_TAIL',
      `${client} ends at ${at.offset} of ${room}, the top is ${final.offset} (${acknowledged})`,
      line,
      top,
    );
  } else if (at.offset > final.offset) {
    report('HISTORY', `${client} ends at ${at.offset} of ${room}, above the top ${final.offset}`, line, top);
  }
}
