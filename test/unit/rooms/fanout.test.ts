/**
 * gateway/rooms/fanout.ts against a plain list of listeners, which come and go at random: three dialects, with
 * WebSockets and without. The WebSocket server is a map of topics.
 */
import { expect, test } from 'vitest';
import type { Dialect, Frame } from '../../../gateway/protocol/dialect.ts';
import type { Reply } from '../../../gateway/protocol/reply.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { Backpressure } from '../../../gateway/rooms/backpressure.ts';
import { Fanout, type Listener } from '../../../gateway/rooms/fanout.ts';
import { Random } from '../random.ts';

/** Its frames are longer than native ones, so backpressure must count their size. */
function dialect(subprotocol: string): Dialect & { encoded: number } {
  const made = {
    ...roomcast,
    subprotocol,
    encoded: 0,
    message(frame: Uint8Array) {
      made.encoded++;
      return `${subprotocol}${'.'.repeat(50)}${Buffer.from(frame)}`;
    },
  };
  return made;
}

class Reader implements Listener {
  readonly heard: string[] = [];
  readonly subscribed = new Set<string>();
  readonly topics: Listener['topics'];
  readonly dialect: Dialect;

  constructor(dialect: Dialect, socket: boolean) {
    this.dialect = dialect;
    this.topics = socket
      ? {
          subscribe: (topic) => void this.subscribed.add(topic),
          unsubscribe: (topic) => void this.subscribed.delete(topic),
          isSubscribed: (topic) => this.subscribed.has(topic),
        }
      : undefined;
  }

  send(): void {
    expect.fail('a fan-out must not check buffers');
  }

  sendUnchecked(frame: Frame): void {
    this.heard.push(String(frame));
  }

  reply(reply: Reply): void {
    this.heard.push(String(this.dialect.encode(reply)));
  }
}

test.each([1, 2, 3, 4, 5])(
  'every listener, and nobody else, gets each frame once, in its dialect (seed %i)',
  (seed) => {
    const random = new Random(seed);
    const dialects = [dialect('one'), dialect('two')];
    const readers = [roomcast, ...dialects].flatMap((each) =>
      [true, false, true, false].map((socket) => new Reader(each, socket)),
    );
    const announced: number[] = [];
    const backpressure = { beforeFanout: (bytes: number) => void announced.push(bytes) } as unknown as Backpressure;
    const fanout = new Fanout((topic, frame) => {
      for (const reader of readers) if (reader.subscribed.has(topic)) reader.heard.push(String(frame));
    }, backpressure);
    const listening = new Map<Reader, Set<string>>(readers.map((reader) => [reader, new Set()]));
    for (let step = 0; step < 2_000; step++) {
      const topic = random.pick(['a', 'b']);
      const reader = random.pick(readers);
      const topics = listening.get(reader) ?? new Set();
      if (random.chance(0.4)) {
        for (const each of readers) each.heard.length = 0;
        for (const each of dialects) each.encoded = 0;
        const frame = `frame ${step}`;
        fanout.message(
          { name: topic, members: 1, detached: 0, fannedOutBytes: 0, checkNumber: 0 },
          Buffer.from(frame),
          undefined,
        );
        const those = readers.filter((each) => listening.get(each)?.has(topic));
        const inDialect = (each: Dialect) =>
          each === roomcast ? frame : `${each.subprotocol}${'.'.repeat(50)}${frame}`;
        for (const each of readers) expect(each.heard).toEqual(those.includes(each) ? [inDialect(each.dialect)] : []);
        for (const each of dialects) expect(each.encoded).toBe(those.some((other) => other.dialect === each) ? 1 : 0);
        const foreign = those.some((each) => each.dialect !== roomcast);
        expect(announced.pop()).toBe(foreign ? frame.length + 53 : frame.length);
      } else if (topics.has(topic)) {
        fanout.unlisten(topic, reader);
        topics.delete(topic);
      } else {
        fanout.listen(topic, reader);
        topics.add(topic);
      }
      expect(fanout.isListening(topic, reader)).toBe(topics.has(topic));
    }
  },
);

test('a listener whose socket is closed is removed without a call to its socket', () => {
  const made = dialect('one');
  const backpressure = new Backpressure(0, 0, 0, new Set());
  const fanout = new Fanout(() => undefined, backpressure);
  const reader = new Reader(made, true);
  fanout.listen('a', reader);
  reader.topics?.unsubscribe('a\none');
  fanout.unlisten('a', reader, true);
  fanout.message(
    { name: 'a', members: 1, detached: 0, fannedOutBytes: 0, checkNumber: 0 },
    Buffer.from('x'),
    undefined,
  );
  expect(made.encoded).toBe(0);
});

test('a gap that ends memberships is told to each such listener on its own, after the fan-out; what a dialect does not tell is not sent', () => {
  const ending: Dialect = {
    ...dialect('ending'),
    gapEndsMembership: true,
    encode: ({ type }) => (type === 'gap' ? 'end' : ''),
  };
  const readers = [
    new Reader(roomcast, true),
    new Reader(ending, true),
    new Reader(ending, true),
    new Reader(ending, false),
  ];
  const published: string[] = [];
  const fanout = new Fanout((topic) => void published.push(topic), new Backpressure(0, 0, 0, new Set()));
  for (const reader of readers) {
    fanout.listen('a', reader);
    reader.reply = (reply) => {
      // As a connection does: it leaves.
      fanout.unlisten('a', reader);
      reader.heard.push(`${published} ${reader.dialect.encode(reply)}`);
    };
  }
  const room = { name: 'a', members: 4, detached: 0, fannedOutBytes: 0, checkNumber: 0 };
  fanout.reply(room, { type: 'reconnect', afterMs: 0, reason: 'draining' });
  fanout.reply(room, { type: 'gap', room: 'a', reason: 'backplane' });
  expect(published).toEqual(['a', 'a']);
  expect(readers.map(({ heard }) => heard)).toEqual([[], ['a,a end'], ['a,a end'], ['a,a end']]);
});
