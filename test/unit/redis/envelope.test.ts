/**
 * gateway/redis/envelope.ts: what one node wraps, another reads; what no node of this version wrote is refused, and nothing
 * makes the reader throw.
 */
import { expect, test } from 'vitest';
import { isPresence, keptHeader, unwrap, unwrapPresence, wrap } from '../../../gateway/redis/envelope.ts';
import { Random } from '../random.ts';
import { randomJsonText } from '../random-json.ts';

const bytesOf = (text: string) => Buffer.from(text, 'utf8');
const at = 1_700_000_000_123;
const good = wrap('{"type":"message"}', at);
/** What the script of a room with history puts together. */
const kept = (frame: string, time: number, epoch: string, offset: number) =>
  `${keptHeader(time)}${epoch} ${offset}\n${frame}`;
const goodKept = kept('{"type":"message"}', at, 'e-_9', 120);
const headerBytes = goodKept.indexOf('{');

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

test('an envelope is read from among other bytes, which are not taken for a part of it', () => {
  for (const text of [good, goodKept]) {
    const bytes = bytesOf(`{}${text}${text}`);
    const [start, end] = [2, 2 + text.length];
    const read = (to: number) => unwrap(bytes, start, to);
    expect(read(end)).toEqual(unwrap(bytesOf(text)));
    for (let length = 0; length <= text.indexOf('{'); length++) expect(read(start + length)).toBeUndefined();
  }
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

test('an envelope of a room with history carries its position too (random frames and positions)', () => {
  const random = new Random(42);
  for (let round = 0; round < 2_000; round++) {
    const frame = `{"data":${randomJsonText(random)}}`;
    const epoch = random.text([...'aZ09-_'], random.integer(1, 64));
    const offset = random.pick([1, Number.MAX_SAFE_INTEGER, random.integer(1, 1_000_000_000)]);
    const envelope = unwrap(bytesOf(kept(frame, at, epoch, offset)));
    if (envelope === undefined || bytesOf(frame).compare(envelope.frame) !== 0)
      expect.fail(`${epoch} ${offset} ${frame}`);
    expect([envelope.at, envelope.position]).toEqual([at, { epoch, offset }]);
  }
  expect(unwrap(bytesOf(good))?.position).toBeUndefined();
});

test('an envelope with a position that is cut anywhere before its frame is refused', () => {
  const bytes = bytesOf(goodKept);
  for (let length = 0; length <= headerBytes; length++)
    expect(unwrap(bytes.subarray(0, length)), `${length} bytes`).toBeUndefined();
  expect(unwrap(bytes.subarray(0, headerBytes + 1))).toBeDefined();
});

test('with any other byte in a header with a position it is refused, or reads as exactly what then stands there', () => {
  for (let index = 0; index <= headerBytes; index++) {
    for (let value = 0; value < 256; value++) {
      const bytes = bytesOf(goodKept);
      bytes[index] = value;
      const envelope = unwrap(bytes);
      if (envelope === undefined) continue;
      const { position, at: time } = envelope;
      const told = `byte ${index} is ${value}`;
      if (position === undefined) expect.fail(`${told}: the position is gone`);
      const again = kept(Buffer.from(envelope.frame).toString(), time, position.epoch, position.offset);
      expect(again, told).toBe(bytes.toString('latin1'));
    }
  }
});

test.each([
  ['no position', `${keptHeader(at)}\n{}`],
  ['no epoch', kept('{}', at, '', 1)],
  ['no offset', `${keptHeader(at)}epoch \n{}`],
  ['no space', `${keptHeader(at)}epoch1\n{}`],
  ['an offset of 0', kept('{}', at, 'epoch', 0)],
  ['a negative offset', kept('{}', at, 'epoch', -1)],
  ['a fraction', kept('{}', at, 'epoch', 1.5)],
  ['an offset that is no whole number of a double', kept('{}', at, 'epoch', 2 ** 53)],
  ['an offset in another notation', `${keptHeader(at)}epoch 1e3\n{}`],
  ['an offset in hexadecimal', `${keptHeader(at)}epoch 0x10\n{}`],
  ['an offset with a sign', `${keptHeader(at)}epoch +1\n{}`],
  ['an offset with a zero before it', `${keptHeader(at)}epoch 01\n{}`],
  ['white space around the offset', `${keptHeader(at)}epoch  1\n{}`],
  ['two offsets', `${keptHeader(at)}epoch 1 1\n{}`],
  ['an epoch without end', kept('{}', at, 'e'.repeat(200), 1)],
  ['a frame that is no object', kept('[1]', at, 'epoch', 1)],
  ['no frame', kept('', at, 'epoch', 1)],
])('a position with %s is refused', (_, text) => {
  expect(unwrap(bytesOf(text))).toBeUndefined();
});

test('random bytes never make it throw, and are refused', () => {
  const random = new Random(41);
  for (let round = 0; round < 5_000; round++) {
    const bytes = Buffer.from(Array.from({ length: random.integer(0, 40) }, () => random.integer(0, 255)));
    if (unwrap(bytes) !== undefined) expect.fail(bytes.toString('hex'));
    // And behind the marks of an envelope with a position.
    const marked = Buffer.concat([bytesOf(keptHeader(at)), bytes]);
    const position = unwrap(marked)?.position;
    if (position !== undefined && !Number.isSafeInteger(position.offset)) expect.fail(marked.toString('hex'));
  }
});

test('news of presence is that of its room, of a kind that is known and whole; all else is nothing', () => {
  const read = (news: unknown) => {
    const bytes = bytesOf(`1p${String(at)}\n${typeof news === 'string' ? news : JSON.stringify(news)}`);
    expect(isPresence(bytes, 0)).toBe(true);
    return unwrapPresence(bytes, 0, bytes.length, 'a');
  };
  const members = [{ user: 'ann', info: {} }, { connection: 'c' }];
  for (const news of [
    { type: 'join', room: 'a', members },
    { type: 'leave', room: 'a', members: [] },
    { type: 'recount', room: 'a' },
  ]) {
    expect(read(news)).toEqual(news);
    expect(read({ ...news, room: 'b' })).toBeUndefined();
  }
  for (const news of [
    { type: 'gap', room: 'a' },
    { type: 'join', room: 'a' },
    { type: 'join', room: 'a', members: [null] },
  ]) {
    expect(read(news)).toBeUndefined();
  }
  for (const text of ['', '{', 'null', '7', '[]']) expect(read(text)).toBeUndefined();
});
