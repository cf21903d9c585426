/** One open connection to Redis (gateway/redis/connection/pipeline.ts): when commands are written, whose answer is whose, how it ends. */
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { RedisPipeline } from '../../../gateway/redis/connection/pipeline.ts';
import { command, ProtocolError, type Reply, ReplyError } from '../../../gateway/redis/connection/resp.ts';

/** A pipeline, what it wrote, and a way to answer. */
function pipeline(
  onMessage?: (channel: string, bytes: Buffer, start: number, end: number) => void,
  unsubscribed?: (channel: string) => void,
) {
  const written: string[] = [];
  const stream = new Duplex({
    decodeStrings: false,
    read: () => undefined,
    write: (text: string, _, done) => {
      written.push(text);
      done();
    },
  });
  const connection = new RedisPipeline(stream, { message: onMessage, unsubscribed });
  const outcomes: string[] = [];
  return {
    connection,
    stream,
    written,
    outcomes,
    /** Notes its outcome under its last word. */
    send: (words: string[], answers?: number) =>
      connection.send(words, (error, reply) => outcomes.push(`${words.at(-1)}: ${shown(error, reply)}`), answers),
    leave: (...channels: string[]) =>
      connection.leave(
        channels,
        (error, reply) => outcomes.push(`left ${channels}: ${shown(error, reply)}`),
        (error) => outcomes.push(`refused ${error.message}`),
      ),
    answer: (text: string) => stream.emit('data', Buffer.from(text)),
  };
}

function shown(error: Error | undefined, reply: Reply): string {
  if (error instanceof BackplaneError) return error.code;
  if (error instanceof ReplyError) return `refused ${error.message}`;
  return JSON.stringify(reply instanceof Buffer ? String(reply) : reply);
}

test('the commands of a turn are written together, in their order, when it ends', async () => {
  const { send, written } = pipeline();
  const commands = ['a', 'b', 'c'].map((room) => ['PUBLISH', room, 'é']);
  for (const words of commands) send(words);
  await Promise.resolve();
  expect(written).toEqual([]);
  await turn();
  expect(written).toEqual([commands.map(command).join('')]);
  send(['PING']);
  await turn();
  expect(written.at(-1)).toBe(command(['PING']));
});

test('much text is not kept until the end of the turn, and stays in order', async () => {
  const { send, written } = pipeline();
  const commands = Array.from({ length: 10 }, (_, index) => ['PUBLISH', 'a', `${index}${'x'.repeat(30_000)}`]);
  for (const words of commands) send(words);
  expect(written.length).toBeGreaterThanOrEqual(3);
  await turn();
  expect(written.join('')).toBe(commands.map(command).join(''));
});

test('each command gets its own answer, one after the other', () => {
  const { answer, connection, outcomes, send } = pipeline();
  for (const name of ['a', 'b', 'c', 'd']) send(['GET', name]);
  answer(':1\r\n-NOSCRIPT No matching script\r\n$3\r\nfoo\r');
  expect(outcomes).toEqual(['a: 1', 'b: refused NOSCRIPT No matching script']);
  expect([connection.sent, connection.settled]).toEqual([4, 2]);
  answer('\n$-1\r\n');
  expect(outcomes.slice(2)).toEqual(['c: "foo"', 'd: null']);
});

test('a SUBSCRIBE is done when all of its channels are, and at once where it is refused', () => {
  const messages: string[] = [];
  const { answer, outcomes, send } = pipeline((channel, bytes, start, end) =>
    messages.push(`${channel} ${bytes.toString('utf8', start, end)}`),
  );
  send(['SUBSCRIBE', 'a', 'b'], 2);
  send(['SUBSCRIBE', 'c', 'd'], 2);
  send(['PING']);
  answer('>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n');
  expect([outcomes, messages]).toEqual([[], ['a hi']]);
  answer('>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n-NOPERM\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n');
  expect(outcomes.map((each) => each.split(':')[0])).toEqual(['b', 'd', 'PING']);
  expect(outcomes[1]).toBe('d: refused NOPERM');
});

test('when the connection ends, what was written is of unknown outcome and what was not is not taken; each once', async () => {
  const { answer, connection, outcomes, send, written } = pipeline();
  send(['GET', 'answered']);
  send(['GET', 'written']);
  await turn();
  answer(':1\r\n');
  send(['GET', 'not written']);
  connection.end();
  expect(outcomes).toEqual(['answered: 1', 'written: timeout', 'not written: unavailable']);
  connection.end();
  await turn();
  expect([outcomes.length, written.length, connection.settled]).toEqual([3, 1, 3]);
});

test('flushed before it is given up, what was sent in that turn is of unknown outcome', () => {
  const { connection, outcomes, send, written } = pipeline();
  send(['GET', 'a']);
  connection.flush();
  connection.end();
  expect([written.length, outcomes]).toEqual([1, ['a: timeout']]);
});

test('nothing is written into a stream that has ended, and so it is certainly not taken', async () => {
  const { connection, outcomes, send, stream, written } = pipeline();
  stream.end();
  send(['GET', 'a']);
  await turn();
  expect([written, outcomes]).toEqual([[], []]);
  connection.end();
  expect(outcomes).toEqual(['a: unavailable']);
});

test.each([
  ['bytes that are no RESP2', 'HTTP/1.1 400 Bad Request\r\n'],
  ['an answer that nobody asked for', ':1\r\n:2\r\n'],
])('%s end the connection', async (_, text) => {
  const { answer, send, stream } = pipeline();
  const errors: Error[] = [];
  stream.on('error', (error) => errors.push(error));
  send(['GET', 'a']);
  answer(text);
  await turn();
  expect(stream.destroyed).toBe(true);
  expect(errors).toEqual([expect.any(ProtocolError)]);
});

test('a fault of whom a message is handed to is not taken for one of the connection', () => {
  const { answer, stream } = pipeline(() => {
    throw new TypeError('a fault');
  });
  expect(() => answer('>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n')).toThrow(TypeError);
  expect(stream.destroyed).toBe(false);
});

describe('sharded channels', () => {
  const gone = (channel: string) => `>3\r\n$12\r\nsunsubscribe\r\n$1\r\n${channel}\r\n:0\r\n`;
  const marker = (number: number) => `$6\r\nleft ${number}\r\n`;

  test('a notice that nobody asked for answers no command: the answers behind it reach their own', () => {
    const notices: string[] = [];
    const { answer, outcomes, send } = pipeline(undefined, (channel) => notices.push(channel));
    send(['GET', 'a']);
    send(['GET', 'b']);
    answer(`${gone('x')}:1\r\n${gone('y')}:2\r\n`);
    expect([outcomes, notices]).toEqual([
      ['a: 1', 'b: 2'],
      ['x', 'y'],
    ]);
  });

  test('leaving them is done when the marker behind it is answered, whatever Redis says of each', () => {
    const { answer, leave, outcomes, send, connection } = pipeline(undefined, () => undefined);
    leave('x', 'y', 'z');
    send(['GET', 'a']);
    // The slot of y has moved: a notice came before, and the command is refused.
    answer(`${gone('y')}${gone('x')}-MOVED 1 host:1\r\n${gone('z')}`);
    expect(outcomes).toEqual(['refused MOVED 1 host:1']);
    answer(`${marker(1)}:5\r\n`);
    expect(outcomes.slice(1)).toEqual(['left x,y,z: "left 1"', 'a: 5']);
    expect(connection.settled).toBe(connection.sent);
  });

  test('an error of a command behind is never taken for one of leaving', () => {
    const { answer, leave, outcomes, send } = pipeline(undefined, () => undefined);
    leave('x');
    send(['GET', 'a']);
    answer(`${gone('x')}${marker(1)}-ERR no\r\n`);
    expect(outcomes).toEqual(['left x: "left 1"', 'a: refused ERR no']);
  });

  test('another answer than the marker ends the connection: no answer may reach the wrong command', async () => {
    const { answer, leave, send, stream } = pipeline(undefined, () => undefined);
    const errors: Error[] = [];
    stream.on('error', (error) => errors.push(error));
    leave('x');
    send(['GET', 'a']);
    answer(`${gone('x')}-NOPERM no PING\r\n:1\r\n`);
    await turn();
    expect(errors).toEqual([expect.any(ProtocolError)]);
  });
});
