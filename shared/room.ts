/**
 * Room names: their grammar, the personal room of a user, and the patterns of rules and tokens.
 *
 * Pure functions; runs in browsers. A name that passes `isRoomName` needs no escaping in JSON and none in a Redis key.
 */

/** 1 to 200 bytes of the grammar; a name holds ASCII only, so its length in bytes is its length. */
const grammar = /^[A-Za-z0-9_\-.:@/#$~=+%|,!]{1,200}$/;
const patternGrammar = /^[A-Za-z0-9_\-.:@/#$~=+%|,!*]{1,200}$/;
const dotSegment = /(^|\/)\.{1,2}(\/|$)/;

/** Names the rule in an error message. */
export const roomNameRule =
  '1 to 200 characters of A-Z a-z 0-9 _ - . : @ / # $ ~ = + % | , ! with no segment "." or ".."';

/** Says whether `name` is a room name; false for anything that is not a string. */
export function isRoomName(name: unknown): name is string {
  return typeof name === 'string' && grammar.test(name) && !(name.includes('.') && dotSegment.test(name));
}

/** A room that begins with `@` belongs to one user (or, where no user has that name, to nobody). */
export function isPersonalRoom(room: string): boolean {
  return room.charCodeAt(0) === 0x40;
}

/**
 * The personal room of a user: `@` and the user, in which each UTF-8 byte outside the room grammar is `%XX`.
 * `%` itself is encoded too, and so are the dots of a segment `.` or `..`: two users never share a room.
 * The result of a user with many such bytes can be longer than a room name may be; then that user has none.
 */
export function personalRoom(user: string): string {
  let room = '@';
  for (const byte of new TextEncoder().encode(user)) {
    const character = String.fromCharCode(byte);
    const plain = character !== '%' && grammar.test(character);
    room += plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return room.replace(/(?<=^|\/)\.{1,2}(?=\/|$)/g, (dots) => dots.replaceAll('.', '%2E'));
}

/** At most this many `*` in one pattern: it bounds the work of a match. */
export const maxPatternStars = 4;

/** Says whether `pattern` may stand in a rule or a `rooms` claim: 1 to 200 characters of the grammar or `*`, up to 4 `*`. */
export function isRoomPattern(pattern: string): boolean {
  return patternGrammar.test(pattern) && pattern.split('*').length - 1 <= maxPatternStars;
}

/**
 * Says whether a room matches a pattern. `*` matches any run of characters, the empty one too; every other character
 * matches itself. A room that begins with `@` is matched only by a pattern that begins with `@` itself.
 */
export function matchesPattern(pattern: string, room: string): boolean {
  if (isPersonalRoom(room) && !isPersonalRoom(pattern)) return false;
  const first = pattern.indexOf('*');
  if (first === -1) return pattern === room;
  const last = pattern.lastIndexOf('*');
  const end = room.length - (pattern.length - last - 1);
  if (end < first || !room.startsWith(pattern.slice(0, first)) || !room.endsWith(pattern.slice(last + 1))) return false;
  let from = first;
  for (let star = first; star !== last; ) {
    const next = pattern.indexOf('*', star + 1);
    const part = pattern.slice(star + 1, next);
    const at = room.indexOf(part, from);
    if (at === -1 || at + part.length > end) return false;
    from = at + part.length;
    star = next;
  }
  return true;
}
