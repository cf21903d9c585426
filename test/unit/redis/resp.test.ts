/** The protocol of Redis (gateway/redis/connection/resp.ts): lengths of commands, and replies whose bytes come in any pieces. */
import { expect, test, vi } from 'vitest';
import { command, ProtocolError, type Reply, ReplyError, ReplyReader } from '../../../gateway/redis/connection/resp.ts';
import { Random } from '../random.ts';

/** What a reader tells, in order, as text. */
function told(chunks: Buffer[], subscribes: boolean): string[] {
  const story: string[] = [];
  const reader = new ReplyReader({
    reply: (reply) => story.push(`reply ${JSON.stringify(plain(reply))}`),
    message: subscribes
      ? (channel, bytes, start, end) => story.push(`message ${channel} ${bytes.toString('hex', start, end)}`)
      : undefined,
  });
  for (const chunk of chunks) reader.read(chunk);
  return story;
}

function plain(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(plain);
  if (reply instanceof ReplyError) return { error: reply.message };
  return reply instanceof Buffer ? { hex: reply.toString('hex') } : reply;
}

function bulk(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);
}

const array = (items: Buffer[]) => Buffer.concat([Buffer.from(`*${items.length}\r\n`), ...items]);
const push = (items: Buffer[]) => Buffer.concat([Buffer.from(`>${items.length}\r\n`), ...items]);
const message = (channel: string, bytes: Buffer) =>
  push([bulk(Buffer.from('message')), bulk(Buffer.from(channel)), bulk(bytes)]);
const randomBytes = (random: Random) =>
  Buffer.from(
    Array.from({ length: random.integer(0, 30) }, () => random.pick([13, 10, 36, 42, random.integer(0, 255)])),
  );

/** A value as Redis writes it, and as `told` shows it. */
function randomValue(random: Random, depth = 0): { bytes: Buffer; value: unknown } {
  const kind = random.integer(0, depth < 3 ? 8 : 6);
  if (kind === 0) {
    const value = random.pick([0, 1, -1, 9_007_199_254_740_991, random.integer(-1_000, 1_000)]);
    return { bytes: Buffer.from(`:${value}\r\n`), value };
  }
  if (kind === 1) return { bytes: Buffer.from('+OK é\r\n'), value: 'OK é' };
  if (kind === 2) return { bytes: Buffer.from('-ERR no $1 *2\r\n'), value: { error: 'ERR no $1 *2' } };
  if (kind === 3) return { bytes: Buffer.from(random.pick(['$-1\r\n', '*-1\r\n'])), value: null };
  if (kind <= 5) {
    const bytes = randomBytes(random);
    return { bytes: bulk(bytes), value: { hex: bytes.toString('hex') } };
  }
  if (kind === 6) {
    const text = `txt:${random.integer(0, 1_000)}\r\n`;
    return { bytes: Buffer.from(`=${text.length}\r\n${text}\r\n`), value: { hex: Buffer.from(text).toString('hex') } };
  }
  const items = Array.from({ length: random.integer(0, 4) }, () => randomValue(random, depth + 1));
  return { bytes: array(items.map(({ bytes }) => bytes)), value: items.map(({ value }) => value) };
}

function cutAt(bytes: Buffer, places: number[]): Buffer[] {
  const ends = [...places, bytes.length];
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

test('a command tells the length of each word in bytes', () => {
  expect(command(['SET', 'schlüssel', '🙂', '', 12, -1.5])).toBe(
    '*6\r\n$3\r\nSET\r\n$10\r\nschlüssel\r\n$4\r\n🙂\r\n$0\r\n\r\n$2\r\n12\r\n$4\r\n-1.5\r\n',
  );
});

test('however the bytes are cut, the same replies and messages come out (random values)', () => {
  const random = new Random(60);
  for (let round = 0; round < 300; round++) {
    const parts: Buffer[] = [];
    const expected: string[] = [];
    for (let count = random.integer(1, 6); count > 0; count--) {
      if (random.chance(0.4)) {
        const payload = randomBytes(random);
        parts.push(message(`rc:{r${count}}`, payload));
        expected.push(`message rc:{r${count}} ${payload.toString('hex')}`);
      } else {
        const { bytes, value } = randomValue(random);
        parts.push(bytes);
        expected.push(`reply ${JSON.stringify(value)}`);
      }
    }
    const bytes = Buffer.concat(parts);
    expect(told([bytes], true)).toEqual(expected);
    expect(told(cutAt(bytes, [...bytes.keys()].slice(1)), true), 'byte by byte').toEqual(expected);
    for (let place = 1; place < bytes.length; place++) {
      const other = random.integer(place, bytes.length);
      const story = told(cutAt(bytes, [place, other]), true);
      if (JSON.stringify(story) !== JSON.stringify(expected)) expect.fail(`${bytes.toString('hex')} ${place} ${other}`);
    }
  }
});

test.each([
  ['a reply that looks like a message', array, ['message', 'one room', 'another']],
  ['a push that answers SUBSCRIBE', push, ['subscribe', 'one room', ':1']],
])('%s is a reply', (_, made, words) => {
  const items = words.map((word) => (word.startsWith(':') ? Buffer.from(`${word}\r\n`) : bulk(Buffer.from(word))));
  const reply = made(items);
  const value = words.map((word) => (word.startsWith(':') ? Number(word.slice(1)) : plain(Buffer.from(word))));
  for (const chunks of [[reply], [reply.subarray(0, 9), reply.subarray(9)]]) {
    expect(told(chunks, true)).toEqual([`reply ${JSON.stringify(value)}`]);
  }
});

test('a map is read as its keys and values in turn', () => {
  const map = Buffer.concat([
    Buffer.from('%2\r\n+role\r\n'),
    bulk(Buffer.from('master')),
    Buffer.from('+proto\r\n:3\r\n'),
  ]);
  expect(told([map], true)).toEqual([`reply ${JSON.stringify(['role', plain(Buffer.from('master')), 'proto', 3])}`]);
});

test('what came whole is not copied', () => {
  const bytes = Buffer.concat([bulk(Buffer.from('kept')), message('a', Buffer.from('kept'))]);
  const memories: unknown[] = [];
  const reader = new ReplyReader({
    reply: (reply) => memories.push((reply as Buffer).buffer),
    message: (_, payload) => memories.push(payload.buffer),
  });
  reader.read(bytes);
  expect(memories).toEqual([bytes.buffer, bytes.buffer]);
});

test('a long value in many pieces is copied once, and a long array of short ones no more', () => {
  const concat = vi.spyOn(Buffer, 'concat');
  const copied = (bytes: Buffer) => {
    const chunks = cutAt(
      bytes,
      Array.from({ length: 99 }, (_, index) => Math.floor((bytes.length * (index + 1)) / 100)),
    );
    concat.mockClear();
    expect(told(chunks, true)).toHaveLength(1);
    return concat.mock.results.reduce((sum, { value }) => sum + (value as Buffer).length, 0);
  };
  const long = message('a', Buffer.alloc(1_000_000, 'x'));
  const many = array(Array.from({ length: 10_000 }, () => bulk(Buffer.alloc(100, 'x'))));
  const copies = [long, many].map((bytes) => copied(bytes) / bytes.length);
  concat.mockRestore();
  expect(Math.max(...copies)).toBeLessThan(1.5);
});

test.each(['HTTP/1.1 400 Bad Request\r\n', '\r\n', '~1\r\n+a\r\n', ',3.5\r\n', '\0'])(
  'what Redis never says is refused, and not waited for: %j',
  (text) => {
    expect(() => told([Buffer.from(text)], true)).toThrow(ProtocolError);
    expect(() => told([Buffer.from(`:1\r\n${text}`)], false)).toThrow(ProtocolError);
  },
);
