/**
 * Room names: their grammar, the personal room of a user, and the patterns in rules and tokens.
 *
 * Pure functions; runs in browsers. A name that passes `isRoomName` needs no escaping in JSON or in a Redis key.
 */

/** ASCII only, so a name of 200 characters has 200 bytes. */
const grammar = /^[A-Za-z0-9_\-.:@/#$~=+%|,!]{1,200}$/;
const patternGrammar = /^[A-Za-z0-9_\-.:@/#$~=+%|,!*]{1,200}$/;
const dotSegment = /(^|\/)\.{1,2}(\/|$)/;

/** The rule for error messages. */
export const roomNameRule =
  '1 to 200 characters of A-Z a-z 0-9 _ - . : @ / # $ ~ = + % | , ! with no segment "." or ".."';

/** True for a room name; false for anything that is not a string. */
export function isRoomName(name: unknown): name is string {
  return typeof name === 'string' && grammar.test(name) && !(name.includes('.') && dotSegment.test(name));
}

/** A room that begins with `@` belongs to the user of that name, or to nobody. */
export function isPersonalRoom(room: string): boolean {
  return room.charCodeAt(0) === 0x40;
}

/**
 * The personal room of a user: `@` and the user. Each UTF-8 byte outside the room grammar becomes `%XX`. So do `%` itself
 * and the dots of a segment `.` or `..`: two users never share a room. The result can be longer than a room name may be;
 * such a user has no personal room.
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

/** Bound on the `*` of one pattern, and so on the work of a match. */
export const maxPatternStars = 4;

/** True for a pattern of a rule or a `rooms` claim: 1 to 200 characters of the grammar and up to 4 `*`. */
export function isRoomPattern(pattern: string): boolean {
  return patternGrammar.test(pattern) && pattern.split('*').length - 1 <= maxPatternStars;
}

/**
 * True if the room matches the pattern. `*` matches any run of characters, including none; every other character matches
 * itself. Only a pattern that begins with `@` matches a room that begins with `@`.
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
