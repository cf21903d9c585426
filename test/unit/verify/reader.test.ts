/**
 * What a reader of `npm run verify -- --fallback` records, as the judge sees it: a whole story is clean, and a message that is
 * missing, doubled or out of order is found.
 */
import { expect, test } from 'vitest';
import { check } from '../../verify/checker.ts';
import type { Entry } from '../../verify/log.ts';
import { payload } from '../../verify/payload.ts';
import { Messages, Reader } from '../../verify/reader.ts';

const room = 'h:1';
const epoch = 'e';
const ids = [1, 2, 3, 4].map((number) => payload(room, `poster-${number}`, 1));

function published(): Entry[] {
  return ids.flatMap(({ id }, index) => {
    const place = { t: index, client: 'poster', conn: index + 1, room, id };
    return [
      { ...place, event: 'publish' },
      { ...place, event: 'ack', epoch, offset: index + 1 },
    ] as Entry[];
  });
}

/** A reader that begins anew before each list of offsets, from where it is. */
function judged(...chapters: number[][]): string[] {
  const reader = new Reader('reader', room);
  const messages = new Messages(room);
  for (const offsets of chapters) {
    const from = reader.position;
    const chapter = reader.begin(from, from === undefined ? { epoch, offset: 0 } : { ...from, recovered: true });
    for (const offset of offsets) {
      reader.hear(chapter, messages.read(JSON.stringify({ data: ids[offset - 1], offset, at: Date.now() })));
    }
    reader.end(chapter);
  }
  const log: Entry[] = [
    { t: 0, event: 'run', seed: 0, minutes: 1, rooms: [{ name: room, history: true }], schedule: [] },
    ...published(),
    ...reader.entries(),
    {
      ...{ t: 99, event: 'history', room, epoch, first: 1, offset: 4 },
      items: ids.map(({ id }, index) => ({ id, offset: index + 1 })),
    },
  ];
  return check(log).map(({ kind }) => kind);
}

test('a story over several connections is clean when it is whole', () => {
  expect(judged([1, 2, 3, 4])).toEqual([]);
  expect(judged([1, 2], [], [3], [4])).toEqual([]);
});

test('a message that is missing, comes twice, out of order or not at all is found', () => {
  expect(judged([1, 2, 4])).toEqual(['LOST_GAP']);
  expect(judged([1, 2], [2, 3, 4])).not.toEqual([]);
  expect(judged([1, 3, 2, 4])).toContain('REORDER');
  expect(judged([1, 2], [3])).toEqual(['LOST_TAIL']);
});
