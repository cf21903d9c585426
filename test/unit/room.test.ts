/**
 * shared/room.ts: the grammar and the patterns against naive oracles written another way, and the promise that no two
 * users ever share a personal room.
 */
import { expect, test } from 'vitest';
import { isPersonalRoom, isRoomName, isRoomPattern, matchesPattern, personalRoom } from '../../shared/room.ts';
import { Random } from './random.ts';

const grammar = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:@/#$~=+%|,!';

/** The grammar of docs/protocol.md, checked character by character and segment by segment. */
function naiveIsRoomName(name: string): boolean {
  if (name.length < 1 || name.length > 200) return false;
  for (const character of name) if (!grammar.includes(character)) return false;
  return name.split('/').every((segment) => segment !== '.' && segment !== '..');
}

/** Tries every split of the room over the pattern. */
function naiveMatches(pattern: string, room: string): boolean {
  if (room.startsWith('@') && !pattern.startsWith('@')) return false;
  const spread = (p: number, r: number): boolean => {
    if (p === pattern.length) return r === room.length;
    if (pattern[p] === '*') return spread(p + 1, r) || (r < room.length && spread(p, r + 1));
    return pattern[p] === room[r] && spread(p + 1, r + 1);
  };
  return spread(0, 0);
}

test('every single character is in the grammar or not, as the protocol lists them (all of Unicode up to U+FFFF)', () => {
  const all = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code));
  // A single dot is in the grammar, but is not a room.
  expect(all.filter((character) => isRoomName(`x${character}`)).sort()).toEqual([...grammar].sort());
  expect(isRoomName('x😀')).toBe(false);
});

test.each([
  ['a', true],
  ['chat:general', true],
  ['@ann', true],
  ['a'.repeat(200), true],
  ['a'.repeat(201), false],
  ['', false],
  ['.', false],
  ['..', false],
  ['...', true],
  ['.a', true],
  ['a.', true],
  ['a/.', false],
  ['./a', false],
  ['a/../b', false],
  ['a/./b', false],
  ['/..', false],
  ['a..b', true],
  ['a/.../b', true],
  ['//', true],
  ['%2e%2e', true],
  ['__proto__', true],
  ['a\n', false],
  ['a\r\nb', false],
  ['a b', false],
  ['{tag}', false],
  ['a*', false],
  ['a?', false],
  ['[a]', false],
  ['caf\u00e9', false],
  ['cafe\u0301', false],
  ['\u202eabc', false],
])('%j is a room: %s', (name, expected) => {
  expect(isRoomName(name)).toBe(expected);
  expect(naiveIsRoomName(name)).toBe(expected);
});

test.each([undefined, null, 5, {}, ['chat:1'], { toString: () => 'chat:1' }])('%j is no room name', (value) => {
  expect(isRoomName(value)).toBe(false);
});

test('random names are rooms exactly if the naive check says so', () => {
  const random = new Random(10);
  const alphabet = ['a', 'Z', '0', '.', '.', '/', '/', '@', '%', '*', ' ', 'é', '\n', '~', '|'];
  const names = Array.from({ length: 20_000 }, () => random.text(alphabet, random.integer(0, 8)));
  expect(names.filter((name) => isRoomName(name) !== naiveIsRoomName(name))).toEqual([]);
  expect(names.filter(isRoomName).length).toBeGreaterThan(1_000);
});

test('a pattern is 1 to 200 characters of the grammar or *, with at most four *', () => {
  for (const good of ['*', 'a', 'chat:*', '@*', '****', '*a*b*c*', 'a'.repeat(200)])
    expect(isRoomPattern(good)).toBe(true);
  for (const bad of ['', '*****', 'a*b*c*d*e*', 'a'.repeat(201), 'a b', '[a]', 'a?', 'é', 'a\n']) {
    expect(isRoomPattern(bad), bad).toBe(false);
  }
});

test('* matches any run of characters, as in the naive search', () => {
  const random = new Random(11);
  const matched = { yes: 0, no: 0 };
  for (let round = 0; round < 30_000; round++) {
    const pattern = random.text(['a', 'b', 'ab', '@', '*', '*', ':'], random.integer(1, 6));
    const room = random.chance(0.7)
      ? [...pattern].map((c) => (c === '*' ? random.text(['a', 'b', '@', ':'], random.integer(0, 3)) : c)).join('')
      : random.text(['a', 'b', '@', ':'], random.integer(1, 8));
    if (room === '') continue;
    const expected = naiveMatches(pattern, room);
    if (matchesPattern(pattern, room) !== expected) expect.fail(`${pattern} and ${room}: expected ${expected}`);
    matched[expected ? 'yes' : 'no']++;
  }
  expect(Math.min(matched.yes, matched.no)).toBeGreaterThan(5_000);
});

test('special characters of regular expressions match only themselves', () => {
  for (const special of '.$+|^') {
    expect(matchesPattern(`a${special}b*`, `a${special}bc`)).toBe(true);
    expect(matchesPattern(`a${special}b*`, 'axbc')).toBe(false);
    expect(matchesPattern(`a${special}b*`, 'abc')).toBe(false);
  }
});

test('matching four stars against the longest room is fast: no backtracking', () => {
  const room = 'a'.repeat(200);
  const startedAt = performance.now();
  for (let round = 0; round < 10_000; round++) matchesPattern('a*a*a*a*b', room);
  // Backtracking would need about 10^7 steps for each.
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect(matchesPattern('a*a*a*a*b', room)).toBe(false);
});

test('an @ room is matched only by a pattern that begins with @ itself', () => {
  expect(matchesPattern('*', '@ann')).toBe(false);
  expect(matchesPattern('*ann', '@ann')).toBe(false);
  expect(matchesPattern('@*', '@ann')).toBe(true);
  expect(matchesPattern('@ann', '@ann')).toBe(true);
  expect(matchesPattern('*', 'a@ann')).toBe(true);
  expect(matchesPattern('*@ann', '@ann')).toBe(false);
  expect(matchesPattern('@*', 'ann')).toBe(false);
});

test.each([
  ['ann', '@ann'],
  ['ann@example.org', '@ann@example.org'],
  ['a b', '@a%20b'],
  ['50%', '@50%25'],
  ['%20', '@%2520'],
  ['é', '@%C3%A9'],
  ['😀', '@%F0%9F%98%80'],
  ['a*', '@a%2A'],
  ['a/..', '@a/%2E%2E'],
  ['a/./b', '@a/%2E/b'],
  ['a\n', '@a%0A'],
])('the personal room of %j is %s', (user, room) => {
  expect(personalRoom(user)).toBe(room);
  expect(isRoomName(room)).toBe(true);
});

test('no two users share a personal room, and each personal room that is short enough is valid (20,000 random users)', () => {
  const random = new Random(12);
  const alphabet = [
    'a',
    'A',
    '%',
    '%2E',
    '%2e',
    '.',
    '..',
    '/',
    '/..',
    '/.',
    '@',
    ' ',
    'é',
    'e\u0301',
    '😀',
    '*',
    '\u0000',
  ];
  const owner = new Map<string, string>();
  for (let round = 0; round < 20_000; round++) {
    const user = random.text(alphabet, random.integer(1, 4));
    const room = personalRoom(user);
    const shared = (owner.get(room) ?? user) !== user;
    const good = isPersonalRoom(room) && isRoomName(room) && decodeURIComponent(room.slice(1)) === user;
    if (shared || !good) expect.fail(`${JSON.stringify(user)} has ${room}${shared ? `, as ${owner.get(room)}` : ''}`);
    owner.set(room, user);
  }
  expect(owner.size).toBeGreaterThan(5_000);
});
