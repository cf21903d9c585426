/**
 * Streams whose client reads too slowly: each gets what the rule of its room says, its buffer is bounded, and nothing is
 * lost silently.
 */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { enter, randomRoom, tokenOf } from '../integration/people.ts';
import { EventStream } from '../support/event-stream.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';

const maxBufferedBytes = 262_144;
const messageBytes = 12_000;
const history = { size: 10_000, maxBytes: 1_073_741_824 };
const rules = roomsFile(
  { match: 'catching-up:*', history },
  { match: 'dropping:*', slow: 'drop', history },
  { match: 'dropping-plain:*', slow: 'drop' },
  { match: 'latest:*', slow: 'latest', history },
  { match: 'closing:*', slow: 'close', history },
);

async function start(topic: string) {
  const node = await startNode({ ROOMS_FILE: rules, PUBLISH_RATE: 0, MAX_BUFFERED_BYTES: maxBufferedBytes });
  const room = randomRoom(topic);
  const token = await tokenOf('reader');
  const stream = await EventStream.open(node, room, { token });
  const publisher = await enter(node, 'publisher');
  let count = 0;
  const publish = async (messages: number) => {
    for (let each = 0; each < messages; each++) {
      await publisher.publish(room, { number: count++, fill: 'x'.repeat(messageBytes) });
    }
  };
  const numbers = (of: EventStream) => of.heard.map((data) => (data as { number: number }).number);
  return { node, room, token, stream, publish, numbers, published: () => count };
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

test.each([
  ['catching-up', 'catch-up'],
  ['dropping', 'drop'],
  ['dropping-plain', 'drop'],
  ['latest', 'latest'],
])(
  'in a room with slow readers %s, a stream that stands still and reads again is told the truth',
  async (topic, policy) => {
    const { node, stream, publish, numbers, published } = await start(topic);
    stream.pause();
    const stalled = async () => {
      await publish(40);
      return (await metric(node, `gateway_slow_connections{policy="${policy}"}`)) === 1;
    };
    await until(stalled, 20_000, 'the stream is put aside');
    await publish(5);
    expect(await metric(node, 'gateway_buffered_bytes')).toBeGreaterThan(maxBufferedBytes / 4);
    expect(await metric(node, 'gateway_buffered_bytes')).toBeLessThan(maxBufferedBytes);
    stream.resume();
    await until(
      async () => (await metric(node, `gateway_slow_connections{policy="${policy}"}`)) === 0,
      20_000,
      'the stream is live again',
    );
    await publish(1);
    const last = published() - 1;
    await until(() => numbers(stream).at(-1) === last, 10_000, 'the last message');
    const heard = numbers(stream);
    const gaps = stream.events.filter(({ name }) => name === 'gap').map(({ data }) => data);
    if (policy === 'catch-up') expect([heard, gaps]).toEqual([upTo(published()), []]);
    else expect(heard).toEqual([...new Set(heard)].sort((one, other) => one - other));
    if (policy === 'drop') {
      expect(gaps).toHaveLength(1);
      expect(heard.length + Number(gaps[0]?.count)).toBe(published());
    }
    if (policy === 'latest') expect([heard.includes(last - 1), gaps]).toEqual([true, []]);
  },
  60_000,
);

test('in a room that closes slow readers the stream ends with 4003, and continues on a new one without a hole', async () => {
  const { node, room, token, stream, publish, numbers, published } = await start('closing');
  stream.pause();
  const closed = async () => {
    await publish(40);
    return (await metric(node, 'gateway_connections_closed_total{code="4003"}')) === 1;
  };
  await until(closed, 20_000, 'the stream is closed');
  stream.resume();
  await stream.untilEnded();
  expect(stream.events.at(-1)).toMatchObject({ name: 'close', data: { code: 4003 } });
  expect(stream.complete).toBe(true);
  const again = await EventStream.open(node, room, { token, lastEventId: stream.lastEventId });
  expect(again.events[0]?.data).toMatchObject({ recovered: true });
  await until(() => numbers(stream).length + numbers(again).length >= published(), 10_000, 'the rest');
  expect([...numbers(stream), ...numbers(again)]).toEqual(upTo(published()));
}, 60_000);

test('a client that reads nothing any more is cut after about 10 s, and its buffer goes with it', async () => {
  const { node, stream, publish } = await start('catching-up');
  stream.pause();
  const stalled = async () => {
    await publish(40);
    return (await metric(node, 'gateway_buffered_bytes')) > 0;
  };
  await until(stalled, 20_000, 'bytes wait');
  await until(async () => (await metric(node, 'gateway_streams')) === 0, 20_000, 'the stream is cut');
  expect(await metric(node, 'gateway_buffered_bytes')).toBe(0);
}, 60_000);
