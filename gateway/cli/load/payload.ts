/**
 * The text of a message: a mark, the room, the number of the message in its room, its scheduled time, and padding up to the
 * wanted size. All numbers have a fixed width, so they are read from the bytes in place, without making a string.
 */
const mark = 0x40;
const roomDigits = 6;
const numberDigits = 8;
/** Microseconds of the monotonic clock: 115 days. */
const timeDigits = 13;
const roomAt = 2;
const numberAt = roomAt + roomDigits;
const timeAt = numberAt + numberDigits;
const stampBytes = timeAt + timeDigits;

export const leastPayloadBytes = stampBytes;

/** A payload with its stamp still to be written. */
export function blankPayload(size: number): string {
  return '@@'.padEnd(stampBytes, '0').padEnd(size, 'x');
}

/** `at` is where the payload begins. */
export function writeStamp(bytes: Uint8Array, at: number, room: number, number: number, timeUs: number): void {
  writeDigits(bytes, at + roomAt, roomDigits, room);
  writeDigits(bytes, at + numberAt, numberDigits, number);
  writeDigits(bytes, at + timeAt, timeDigits, Math.floor(timeUs));
}

/** Where the payload begins in the frame from `start` to `end`; -1 without one. `guess`: its place in the last frame. */
export function findStamp(bytes: Uint8Array, start: number, end: number, guess: number): number {
  const guessed = start + guess;
  if (guessed + stampBytes <= end && isMark(bytes, guessed)) return guessed;
  for (let at = start; at + stampBytes <= end; at++) if (isMark(bytes, at)) return at;
  return -1;
}

export function roomOf(bytes: Uint8Array, at: number): number {
  return readDigits(bytes, at + roomAt, roomDigits);
}

export function numberOf(bytes: Uint8Array, at: number): number {
  return readDigits(bytes, at + numberAt, numberDigits);
}

export function timeUsOf(bytes: Uint8Array, at: number): number {
  const high = readDigits(bytes, at + timeAt, timeDigits - 8);
  return high * 1e8 + readDigits(bytes, at + timeAt + timeDigits - 8, 8);
}

function isMark(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === mark && bytes[at + 1] === mark;
}

function writeDigits(bytes: Uint8Array, at: number, digits: number, value: number): void {
  for (let index = at + digits - 1, rest = value; index >= at; index--) {
    const tens = Math.floor(rest / 10);
    bytes[index] = 0x30 + (rest - tens * 10);
    rest = tens;
  }
}

/** At most 9 digits, so that the sum stays a small integer. */
function readDigits(bytes: Uint8Array, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index++) value = value * 10 + ((bytes[index] as number) - 0x30);
  return value;
}
