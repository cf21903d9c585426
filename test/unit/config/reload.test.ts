/**
 * gateway/reload.ts: when a change of a file counts. That files are read again at all, and how that is told, is shown by
 * test/integration/reload-rooms.test.ts and test/chaos/reload-certificate.test.ts.
 */
import { expect, test } from 'vitest';
import { Content } from '../../../gateway/reload.ts';

/** What looks in a row say, each at the content of a letter; what is due is taken. */
function looks(contents: string): string {
  const content = new Content();
  return [...contents]
    .map((digest) => {
      const due = content.isDue(digest);
      if (due) content.taken(digest);
      return due ? digest : '-';
    })
    .join('');
}

test('a content is taken at the second look in a row that sees it, and once', () => {
  expect(looks('aaaa')).toBe('-a--');
  expect(looks('aabbb')).toBe('-a-b-');
});

test('one that is half written at a look is never taken', () => {
  expect(looks('aaxbb')).toBe('-a--b');
  expect(looks('aaxyzbb')).toBe('-a----b');
});

test('one that comes back is taken again if another one was taken in between, and only then', () => {
  expect(looks('aabbaa')).toBe('-a-b-a');
  expect(looks('aabaa')).toBe('-a---');
});

test('what was taken for another reason is not taken again', () => {
  const content = new Content();
  content.isDue('a');
  content.taken('b');
  expect([content.isDue('b'), content.isDue('b'), content.isDue('a'), content.isDue('a')]).toEqual([
    false,
    false,
    false,
    true,
  ]);
});
