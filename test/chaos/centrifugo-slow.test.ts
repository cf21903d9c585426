/** A client of Centrifugo's protocol over HTTP that reads too slowly: its buffer is bounded, and nothing is lost silently. */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { startCentrifugo } from '../integration/centrifugo-member.ts';
import { enter, randomRoom, tokenOf } from '../integration/people.ts';
import { EventStream } from '../support/event-stream.ts';
import { until } from '../support/until.ts';

const maxBufferedBytes = 262_144;
const history = { size: 10_000, maxBytes: 1_073_741_824 };

interface Told {
  push?: { pub?: { offset: number } };
}

test('a stream that stands still and reads again gets everything, in order, and the node keeps no more than its limit', async () => {
  const node = await startCentrifugo({ MAX_BUFFERED_BYTES: maxBufferedBytes }, { match: 'catching-up:*', history });
  const room = randomRoom('catching-up');
  const connect = { id: 1, connect: { token: await tokenOf('reader') } };
  const commands = [connect, { id: 2, subscribe: { channel: room } }].map((each) => JSON.stringify(each)).join('\n');
  const path = `/connection/sse?cf_connect=${encodeURIComponent(commands)}`;
  const stream = await EventStream.request(node, room, { path });
  await until(() => stream.events.some(({ data }) => data.id === 2), 5_000, 'it is subscribed');
  const publisher = await enter(node, 'publisher');
  let published = 0;
  const publish = async (messages: number) => {
    for (let each = 0; each < messages; each++) {
      await publisher.publish(room, 'x'.repeat(12_000));
      published++;
    }
  };
  stream.pause();
  const stalled = async () => {
    await publish(40);
    return (await metric(node, 'gateway_slow_connections{policy="catch-up"}')) === 1;
  };
  await until(stalled, 20_000, 'the stream is put aside');
  await publish(5);
  expect(await metric(node, 'gateway_buffered_bytes')).toBeGreaterThan(maxBufferedBytes / 4);
  expect(await metric(node, 'gateway_buffered_bytes')).toBeLessThan(maxBufferedBytes);
  stream.resume();
  const offsets = () => stream.events.flatMap(({ data }) => (data as Told).push?.pub?.offset ?? []);
  await until(() => offsets().at(-1) === published, 20_000, 'everything has come');
  expect(offsets()).toEqual(Array.from({ length: published }, (_, index) => index + 1));
  expect(stream.ended).toBe(false);
}, 60_000);
