/**
 * gateway/redis/envelope.ts: what a node of either version writes, this one reads; what no node wrote is refused, and nothing
 * makes the reader throw.
 */
import { describe, expect, test } from 'vitest';
import type { Publication } from '../../../gateway/backplane/backplane.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import {
  behindMark,
  type EnvelopeVersion,
  EnvelopeWriter,
  kindOf,
  readMessage,
  readPresence,
  writtenVersion,
} from '../../../gateway/redis/envelope.ts';
import { Random } from '../random.ts';
import { randomJsonText } from '../random-json.ts';

const bytesOf = (text: string) => Buffer.from(text, 'utf8');
const at = 1_700_000_000_123;
const versions: EnvelopeVersion[] = [1, 2];
const stamper = new MessageStamper();
const history = { size: 1, maxBytes: 1, ttlSeconds: 1 };

/** A publication as a client's `publish` makes it. */
function published(random: Random, data: string, kept: boolean): Publication {
  const user = random.pick([null, 'ann', 'é😀"\\']);
  const key = random.pick([undefined, 'k', '\u2028😀']);
  return stamper.stamp({ room: 'a', data, key }, user, kept ? history : undefined);
}

/** A publication whose frame is this text. */
const framed = (frame: string, time = at): Publication => ({ room: 'a', prefix: frame, suffix: '', at: time });

/** What history/append.lua puts together. */
function appended(version: EnvelopeVersion, publication: Publication, epoch: string, offset: number): string {
  const { prefix, suffix } = publication;
  return `${new EnvelopeWriter(version).historyHeader(publication)}${epoch} ${offset}\n${prefix}${offset}${suffix}`;
}

/** An envelope with a position, and any frame. */
function placed(version: EnvelopeVersion, frame: string, epoch: string, offset: number, time = at): string {
  return `${new EnvelopeWriter(version).historyHeader(framed('', time))}${epoch} ${offset}\n${frame}`;
}

const plain = (version: EnvelopeVersion, frame: string, time = at) =>
  new EnvelopeWriter(version).message(framed(frame, time));

test('nodes of the release before read what this one writes: version 1, byte for byte', () => {
  expect(writtenVersion).toBe(1);
  const writer = new EnvelopeWriter();
  const publication = { ...framed('{"a":1', 7), suffix: ',"data":2}', dataStart: 8, dataLength: 1 };
  expect(writer.message(publication)).toBe('1m0000000000007\n{"a":1,"data":2}');
  expect(writer.historyHeader(publication)).toBe('1h0000000000007');
  expect(writer.presenceHeader(7)).toBe('1p0000000000007\n');
  expect(writer.gap(7)).toBe('1g0000000000007\n');
});

test('version 2 as it is written from the next release on', () => {
  const writer = new EnvelopeWriter(2);
  const publication = { ...framed('{"a":1', 7), suffix: ',"data":"é"}', dataStart: 8, dataLength: 3 };
  expect(writer.message(publication)).toBe('2m000000000000074 1\n{"a":1,"data":"é"}');
  expect(writer.message(framed('{}', 7))).toBe('2m000000000000070 0\n{}');
  expect(writer.historyHeader(publication)).toBe('2h000000000000074 1 ');
  expect(writer.presenceHeader(7)).toBe('2p00000000000007\n');
  expect(writer.gap(7)).toBe('2g00000000000007\n');
});

describe.each(versions)('version %s', (version) => {
  const writer = new EnvelopeWriter(version);

  test('carries the time, the position, and the very bytes of the frame (random messages)', () => {
    const random = new Random(40);
    for (let round = 0; round < 4_000; round++) {
      const kept = random.chance(0.5);
      const publication = {
        ...published(random, randomJsonText(random), kept),
        at: random.pick([0, 1, at, random.integer(0, 9_999_999_999_999)]),
      };
      const epoch = random.text([...'aZ09-_'], random.integer(1, 64));
      const offset = random.pick([1, 9, 10, Number.MAX_SAFE_INTEGER, random.integer(1, 1_000_000_000)]);
      const { prefix, suffix } = publication;
      const text = kept ? appended(version, publication, epoch, offset) : writer.message(publication);
      const envelope = readMessage(bytesOf(text));
      if (kindOf(bytesOf(text), 0) !== 'message' || envelope === undefined) expect.fail(text);
      expect(Buffer.from(envelope.frame).toString()).toBe(kept ? `${prefix}${offset}${suffix}` : prefix + suffix);
      expect([envelope.at, envelope.position]).toEqual([publication.at, kept ? { epoch, offset } : undefined]);
    }
  });

  test('the frame is not copied: it shares the memory of what came', () => {
    const bytes = bytesOf(plain(version, '{}'));
    expect(readMessage(bytes)?.frame.buffer).toBe(bytes.buffer);
  });

  const good = plain(version, '{"type":"message"}');
  const goodPlaced = placed(version, '{"type":"message"}', 'e-_9', 120);

  test('is read from among other bytes, which are not taken for a part of it', () => {
    for (const text of [good, goodPlaced]) {
      const bytes = bytesOf(`{}${text}${text}`);
      const [start, end] = [2, 2 + text.length];
      const read = (to: number) => readMessage(bytes, start, to);
      expect(read(end)).toEqual(readMessage(bytesOf(text)));
      for (let length = 0; length <= text.indexOf('{'); length++) expect(read(start + length)).toBeUndefined();
    }
  });

  test('cut anywhere before its frame it is refused', () => {
    for (const text of [good, goodPlaced]) {
      const bytes = bytesOf(text);
      const frameAt = text.indexOf('{');
      for (let length = 0; length <= frameAt; length++)
        expect(readMessage(bytes.subarray(0, length)), `${length} bytes`).toBeUndefined();
      expect(readMessage(bytes.subarray(0, frameAt + 1))).toBeDefined();
    }
  });

  test('with any other byte in its header it is refused, or reads as exactly what then stands there', () => {
    const withData = writer.message({ ...framed('{"data":'), suffix: '"é😀"}', dataStart: 0, dataLength: 5 });
    for (const text of [good, goodPlaced, withData]) {
      const original = bytesOf(text);
      for (let index = 0; index <= text.indexOf('{'); index++) {
        for (let value = 0; value < 256; value++) {
          const bytes = Buffer.from(original);
          bytes[index] = value;
          const envelope = readMessage(bytes);
          if (envelope === undefined) continue;
          expect(rewritten(version, envelope), `byte ${index} is ${value}`).toBe(bytes.toString('latin1'));
        }
      }
    }
  });

  test.each([
    ['a later version', good.replace(String(version), '3')],
    ['another kind', good.replace('m', 'k')],
    ['a frame without a header', '{"type":"message"}'],
    ['a header without a frame', plain(version, '')],
    ['a frame that is no object', plain(version, '[1]')],
    ['a byte too many in the time', good.replace(String(at), `${at}0`)],
    ['a byte too few in the time', good.replace(String(at), String(at).slice(1))],
    ['a time with a sign', good.replace(String(at), `-${String(at).slice(1)}`)],
    ['a line feed too many', good.replace('\n', '\n\n')],
    ['a carriage return', good.replace('\n', '\r')],
    ['a byte order mark', `\ufeff${good}`],
    ['a position of a plain room', goodPlaced.replace('h', 'm')],
    ['no position in a room with history', good.replace('m', 'h')],
    ['nothing', ''],
    ['text', 'hello'],
  ])('%s is refused', (_, text) => {
    expect(readMessage(bytesOf(text))).toBeUndefined();
  });

  const header = new EnvelopeWriter(version).historyHeader(framed(''));
  test.each([
    ['no position', `${header}\n{}`],
    ['no epoch', `${header} 1\n{}`],
    ['no offset', `${header}epoch \n{}`],
    ['no space', `${header}epoch1\n{}`],
    ['an offset of 0', `${header}epoch 0\n{}`],
    ['a negative offset', `${header}epoch -1\n{}`],
    ['a fraction', `${header}epoch 1.5\n{}`],
    ['an offset that is no whole number of a double', `${header}epoch ${2 ** 53}\n{}`],
    ['an offset in another notation', `${header}epoch 1e3\n{}`],
    ['an offset in hexadecimal', `${header}epoch 0x10\n{}`],
    ['an offset with a sign', `${header}epoch +1\n{}`],
    ['an offset with a zero before it', `${header}epoch 01\n{}`],
    ['white space around the offset', `${header}epoch  1\n{}`],
    ['two offsets', `${header}epoch 1 1\n{}`],
    ['an epoch without end', `${header}${'e'.repeat(200)} 1\n{}`],
    ['a frame that is no object', `${header}epoch 1\n[1]`],
    ['no frame', `${header}epoch 1\n`],
  ])('a position with %s is refused', (_, text) => {
    expect(readMessage(bytesOf(text))).toBeUndefined();
  });

  test('random bytes never make it throw, and are refused', () => {
    const random = new Random(41);
    for (let round = 0; round < 5_000; round++) {
      const bytes = Buffer.from(Array.from({ length: random.integer(0, 40) }, () => random.integer(0, 255)));
      if (readMessage(bytes) !== undefined) expect.fail(bytes.toString('hex'));
      // And behind the header of an envelope with a position.
      const marked = Buffer.concat([bytesOf(header), bytes]);
      const position = readMessage(marked)?.position;
      if (position !== undefined && !Number.isSafeInteger(position.offset)) expect.fail(marked.toString('hex'));
    }
  });

  test('presence is that of its room, of a kind that is known and whole; all else is nothing', () => {
    const read = (news: unknown) => {
      const bytes = bytesOf(writer.presenceHeader(at) + (typeof news === 'string' ? news : JSON.stringify(news)));
      expect(kindOf(bytes, 0)).toBe('presence');
      return readPresence(bytes, 0, bytes.length, 'a');
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

  test('a gap is one, and no message', () => {
    const bytes = bytesOf(writer.gap(at));
    expect([kindOf(bytes, 0), readMessage(bytes)]).toEqual(['gap', undefined]);
  });
});

test('in a cluster it begins behind the mark of its server; with that of another one, or a part of it, it is not read', () => {
  const mark = '@0123abcd';
  const startOf = (text: string, own = mark) => behindMark(Buffer.from(`--${text}`), 2, own);
  expect(startOf(`${mark}1m`)).toBe(11);
  expect(startOf('1m')).toBe(2);
  expect([startOf('@0123abce1m'), startOf('@0123abc'), startOf('@')]).toEqual([undefined, undefined, undefined]);
  // One Redis has no mark, and takes these bytes for an envelope that it cannot read.
  expect(startOf(`${mark}1m`, '')).toBe(2);
  expect(kindOf(Buffer.from(`${mark}1m`), 0)).toBeUndefined();
});

test('a flag of a later release makes an envelope of any kind unreadable', () => {
  for (const kind of ['m', 'h', 'p', 'g']) {
    const kindWith = (flags: string) => kindOf(bytesOf(`2${kind}${flags}${at}0 0 e 1\n{}`), 0);
    expect(['0', '1'].map(kindWith)).not.toContain(undefined);
    expect(['2', '3', '9', 'a', '/', ' ', '\n'].map(kindWith).filter((each) => each !== undefined)).toEqual([]);
  }
});

describe('where data lies', () => {
  test('version 2 says so to the byte, whatever stands around it and however long the offset is (random messages)', () => {
    const random = new Random(43);
    for (let round = 0; round < 4_000; round++) {
      const kept = random.chance(0.5);
      const data = randomJsonText(random);
      const publication = published(random, data, kept);
      const offset = random.pick([1, 9, 10, 99_999, Number.MAX_SAFE_INTEGER]);
      const text = kept ? appended(2, publication, 'e', offset) : new EnvelopeWriter(2).message(publication);
      const envelope = readMessage(bytesOf(text));
      if (envelope?.data === undefined) expect.fail(text);
      const { start, length, isBinary } = envelope.data;
      const found = Buffer.from(envelope.frame).toString('utf8', start, start + length);
      expect([found, isBinary]).toEqual([data, false]);
    }
  });

  test('is not known of version 1, nor of a frame of which nobody said it', () => {
    for (const version of versions) {
      const envelope = readMessage(bytesOf(plain(version, '{"data":1}')));
      expect([envelope?.at, envelope?.data]).toEqual([at, undefined]);
    }
    const publication = published(new Random(1), '1', false);
    expect(readMessage(bytesOf(new EnvelopeWriter(1).message(publication)))?.data).toBeUndefined();
  });

  test.each([
    ['reaches to the end', '2m0{at}8 2\n{"data":1}', { start: 0, length: 8, isBinary: false }],
    ['is binary, by its flag', '2m1{at}6 1\n{"data":"aGk="}', { start: 8, length: 6, isBinary: true }],
    ['begins before the frame', '2m0{at}9 2\n{"data":1}', 'refused'],
    ['is longer than any frame', '2m0{at}99999999999 1\n{"data":1}', 'refused'],
    ['has a zero before its length', '2m0{at}01 1\n{"data":1}', 'refused'],
    ['has no length', '2m0{at} 1\n{"data":1}', 'refused'],
    ['has no end', '2m0{at}1\n{"data":1}', 'refused'],
    ['has a third number', '2m0{at}1 1 1\n{"data":1}', 'refused'],
    ['has a sign', '2m0{at}-1 1\n{"data":1}', 'refused'],
    ['has no length, and an end', '2m0{at}0 1\n{"data":1}', 'refused'],
    ['has no length, and is binary', '2m1{at}0 0\n{"data":1}', 'refused'],
    ['stands behind a flag of a later release', '2m2{at}1 1\n{"data":1}', 'refused'],
    ['stands behind no flags', '2m{at}1 1\n{"data":1}', 'refused'],
  ])('of data that %s', (_, text, expected) => {
    const envelope = readMessage(bytesOf(text.replace('{at}', String(at))));
    expect(envelope === undefined ? 'refused' : envelope.data).toEqual(expected);
  });
});

/** The bytes that read as this envelope does, each as a character. */
function rewritten(version: EnvelopeVersion, envelope: NonNullable<ReturnType<typeof readMessage>>): string {
  const { position, at: time, data } = envelope;
  const frame = Buffer.from(envelope.frame).toString('latin1');
  const head = `${version}${position === undefined ? 'm' : 'h'}`;
  const behind = data === undefined ? 0 : envelope.frame.length - data.start - data.length;
  const flags = version === 1 ? '' : data?.isBinary ? '1' : '0';
  const fields = [
    ...(version === 1 ? [] : [data?.length ?? 0, behind]),
    ...(position === undefined ? [] : [position.epoch, position.offset]),
  ];
  return `${head}${flags}${String(time).padStart(13, '0')}${fields.join(' ')}\n${frame}`;
}
