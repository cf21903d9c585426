/**
 * What a server that is no Redis may send to gateway/redis/connection/resp.ts and pipeline.ts: any bytes, in any pieces.
 */
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { expect } from 'vitest';
import { BackplaneError } from '../../gateway/backplane/backplane.ts';
import { RedisPipeline } from '../../gateway/redis/connection/pipeline.ts';
import { ProtocolError, type Reply, ReplyError, ReplyReader } from '../../gateway/redis/connection/resp.ts';
import { bytesOf, fuzz, nearly, someBytes } from './kit.ts';

const telling = '+-:$*%>=0123456789\r\n_,#!~';
const numbers = fc.constantFrom(
  ...['0', '1', '2', '3', '-1', '-2', '7', '12', '99999', '536870912', '9'.repeat(19)],
  // No numbers, though each byte has a place beside the digits.
  ...['', '-', '*', '+', '/9', ':', '1e3', '\r'],
);
const leaf = fc.oneof(
  fc.string({ maxLength: 8 }).map((text) => `$${Buffer.byteLength(text)}\r\n${bytesAsText(text)}\r\n`),
  numbers.map((number) => `:${number}\r\n`),
  fc.constantFrom('$-1\r\n', '*-1\r\n', '+OK\r\n', '-ERR no\r\n', '=5\r\ntxt:a\r\n', '*0\r\n', '>0\r\n'),
  fc.tuple(fc.constantFrom(...'$*%>='), numbers).map(([type, number]) => `${type}${number}\r\n`),
);
const { reply: value } = fc.letrec<{ reply: string }>((tie) => ({
  reply: fc.oneof(
    { maxDepth: 6 },
    leaf,
    fc
      .tuple(fc.constantFrom(...'*>'), fc.array(tie('reply') as fc.Arbitrary<string>, { maxLength: 4 }))
      .map(([type, items]) => `${type}${items.length}\r\n${items.join('')}`),
    fc
      .tuple(fc.string({ maxLength: 6 }), fc.string({ maxLength: 12 }))
      .map(
        (words) =>
          `>3\r\n${['message', ...words].map((word) => `$${Buffer.byteLength(word)}\r\n${bytesAsText(word)}\r\n`).join('')}`,
      ),
  ),
}));
const stream = fc.array(value, { maxLength: 6 }).map((values) => values.join(''));
const bytes = fc.oneof(nearly(stream, telling), stream, someBytes(telling));
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });

function bytesAsText(text: string): string {
  return Buffer.from(text).toString('latin1');
}

function* piecesOf(whole: Buffer, sizes: number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < whole.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield whole.subarray(at, at + size);
    at += size;
  }
}

function plain(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(plain);
  if (reply instanceof ReplyError) return { error: reply.message };
  return reply instanceof Buffer ? { hex: reply.toString('hex') } : reply;
}

/** What a reader tells, and whether it refused the rest. */
function told(
  pieces: Iterable<Buffer>,
  mostBytes?: number,
  fed: (bytes: number, told: number) => void = () => undefined,
) {
  const story: string[] = [];
  const reader = new ReplyReader(
    {
      reply: (reply) => story.push(`reply ${JSON.stringify(plain(reply))}`),
      message: (channel, all, start, end) => {
        expect(start).toBeGreaterThanOrEqual(0);
        expect(end).toBeGreaterThanOrEqual(start);
        expect(end).toBeLessThanOrEqual(all.length);
        story.push(`message ${channel} ${all.toString('hex', start, end)}`);
      },
    },
    mostBytes,
  );
  try {
    for (const piece of pieces) {
      reader.read(piece);
      fed(piece.length, story.length);
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    story.push('refused');
  }
  return story;
}

fuzz(
  'resp',
  'bytes are read to their end or refused, and however they are cut the same comes out',
  fc.record({ bytes, cuts }),
  (input) => {
    const whole = bytesOf(input.bytes);
    expect(told(piecesOf(whole, input.cuts))).toEqual(told([whole]));
  },
);

const maxBytes = 2_048;
/** A line has a bound of its own. */
const maxLineBytes = 16_384;

fuzz(
  'resp-memory',
  'a reply that never ends is refused before it takes more than the bound',
  fc.record({
    head: fc.oneof(leaf, fc.constantFrom('', '*99999\r\n', '>99999\r\n', '%99999\r\n', '$99999\r\n', '+', ':')),
    bytes: fc.oneof(bytes, leaf),
    cuts,
  }),
  (input) => {
    if (input.bytes === '') return;
    const again = function* () {
      yield bytesOf(input.head);
      const whole = bytesOf(input.bytes);
      for (let total = 0; total < 2 * maxLineBytes; total += whole.length) yield* piecesOf(whole, input.cuts);
    };
    let [held, count] = [0, 0];
    told(again(), maxBytes, (length, told) => {
      held = told > count ? length : held + length;
      count = told;
      expect(held).toBeLessThanOrEqual(maxBytes + maxLineBytes + 40);
    });
  },
  { share: 0.01 },
);

fuzz(
  'pipeline',
  'every command in flight is settled once, whatever is answered and however the connection ends',
  fc.record({ bytes, cuts, commands: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 6 }) }),
  async (input) => {
    const stream = new Duplex({ read: () => undefined, write: (_, __, done) => done() });
    const ended = new Promise<void>((resolve) => stream.once('close', resolve));
    stream.on('error', (error) => expect(error).toBeInstanceOf(ProtocolError));
    const pipeline = new RedisPipeline(stream, { message: () => undefined });
    const outcomes = input.commands.map(() => 0);
    for (const [index, answers] of input.commands.entries()) {
      pipeline.send(
        ['PING'],
        (error) => {
          outcomes[index] = (outcomes[index] ?? 0) + 1;
          if (error !== undefined) expect(error instanceof ReplyError || error instanceof BackplaneError).toBe(true);
        },
        answers,
      );
    }
    pipeline.flush();
    for (const piece of piecesOf(bytesOf(input.bytes), input.cuts)) {
      if (stream.destroyed) break;
      stream.emit('data', piece);
    }
    stream.destroy();
    await ended;
    pipeline.end();
    expect(outcomes).toEqual(input.commands.map(() => 1));
  },
);
