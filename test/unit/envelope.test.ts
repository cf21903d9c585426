/**
 * gateway/envelope.ts: what one node wraps, another reads; what no node of this version wrote is refused, and nothing
 * makes the reader throw.
 */
import { expect, test } from 'vitest';
import { unwrap, wrap } from '../../gateway/envelope.ts';
import { Random } from './random.ts';
import { randomJsonText } from './random-json.ts';

const bytesOf = (text: string) => Buffer.from(text, 'utf8');
const at = 1_700_000_000_123;
const good = wrap('{"type":"message"}', at);

test('an envelope carries the time and the very bytes of the frame (random frames)', () => {
  const random = new Random(40);
  for (let round = 0; round < 2_000; round++) {
    const frame = `{"data":${randomJsonText(random)}}`;
    const time = random.pick([0, 1, at, random.integer(0, 9_999_999_999_999)]);
    const envelope = unwrap(bytesOf(wrap(frame, time)));
    if (envelope?.at !== time || bytesOf(frame).compare(envelope.frame) !== 0) expect.fail(`${time} ${frame}`);
  }
});

test('the frame is not copied: it shares the memory of what came', () => {
  const bytes = bytesOf(good);
  expect(unwrap(bytes)?.frame.buffer).toBe(bytes.buffer);
});

test('an envelope cut anywhere before its frame is refused', () => {
  const bytes = bytesOf(good);
  for (let length = 0; length <= 16; length++)
    expect(unwrap(bytes.subarray(0, length)), `${length} bytes`).toBeUndefined();
  expect(unwrap(bytes.subarray(0, 17))).toBeDefined();
});

test('every other value of every byte of the header is refused, except another digit of the time', () => {
  const original = bytesOf(good);
  for (let index = 0; index <= 16; index++) {
    const taken: number[] = [];
    for (let value = 0; value < 256; value++) {
      const bytes = Buffer.from(original);
      bytes[index] = value;
      if (unwrap(bytes) !== undefined) taken.push(value);
    }
    const digits = [...'0123456789'].map((digit) => digit.charCodeAt(0));
    expect(taken, `byte ${index}`).toEqual(index >= 2 && index <= 14 ? digits : [original[index]]);
  }
});

test.each([
  ['a later version', good.replace('1m', '2m')],
  ['another kind', good.replace('1m', '1k')],
  ['a frame without a header', '{"type":"message"}'],
  ['a header without a frame', wrap('', at)],
  ['a frame that is no object', wrap('[1]', at)],
  ['a byte too many in the time', `1m${at}0\n{}`],
  ['a byte too few in the time', `1m${String(at).slice(1)}\n{}`],
  ['a time with a sign', `1m-${String(at).slice(1)}\n{}`],
  ['a line feed too many', `1m${at}\n\n{}`],
  ['a carriage return', `1m${at}\r{}`],
  ['a byte order mark', `\ufeff${good}`],
  ['nothing', ''],
  ['text', 'hello'],
])('%s is refused', (_, text) => {
  expect(unwrap(bytesOf(text))).toBeUndefined();
});

test('random bytes never make it throw, and are refused', () => {
  const random = new Random(41);
  for (let round = 0; round < 5_000; round++) {
    const bytes = Buffer.from(Array.from({ length: random.integer(0, 40) }, () => random.integer(0, 255)));
    if (unwrap(bytes) !== undefined) expect.fail(bytes.toString('hex'));
  }
});
