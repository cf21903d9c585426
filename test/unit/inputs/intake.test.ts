/** The intake of an input: publishes each message until it is done, in the order of its room, and never longer than it may. */
import { expect, test, vi } from 'vitest';
import { Lane } from '../../../gateway/admission/lane.ts';
import { Shares } from '../../../gateway/admission/shares.ts';
import { BackplaneError, type Publication, type Published } from '../../../gateway/backplane/backplane.ts';
import { Intake, type Outcome } from '../../../gateway/inputs/intake.ts';
import { Poison, type SourceMessage } from '../../../gateway/inputs/message.ts';
import { MessageStamper } from '../../../gateway/protocol/roomcast/message.ts';
import { Access } from '../../../gateway/rooms/access.ts';
import type { Hub } from '../../../gateway/rooms/hub.ts';
import { type Events, tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { deferred } from '../../../shared/deferred.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

const unavailable = new BackplaneError('unavailable', 'Redis is away');

/** `answer`: what becomes of a publish. */
function begin(answer: (publication: Publication) => Promise<Published>) {
  const log = createLog('silent');
  const counts: Record<string, number> = {};
  const listener: Partial<Events> = {
    inputTaken: (input, result) => {
      counts[`${input} ${result}`] = (counts[`${input} ${result}`] ?? 0) + 1;
    },
  };
  /** Keys of the publishes, in their order. */
  const tried: string[] = [];
  const hub = {
    publish: (publication: Publication) => {
      tried.push(publication.dedupe?.key ?? '');
      return answer(publication);
    },
  };
  const lane = new Lane(new Shares({ count: 1_000, bytes: 1_000_000 }));
  const places = { room: { header: 'room' }, key: undefined, from: undefined, data: [] };
  const parts = {
    ...{
      access: new Access([]),
      stamper: new MessageStamper(),
      events: tellEvents(listener),
      faults: new Faults(log),
      log,
    },
    ...{ hub: hub as unknown as Hub, maxMessageBytes: 1_000 },
    lanes: { api: lane, input: lane, post: lane },
  };
  return { intake: new Intake('orders', places, parts), tried, counts, lane };
}

function message(id: string, room: string): SourceMessage {
  return { id, header: () => room, body: Buffer.from('1') };
}

const always = () => true;
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test('a message that waits for a place until it may not go on is left, and not published', async () => {
  const { intake, tried, counts, lane } = begin(() => Promise.resolve({ duplicate: false }));
  const place = deferred();
  vi.spyOn(lane, 'begin').mockReturnValue(place.promise.then(() => 0));
  let isReader = true;
  const outcome = intake.take(message('a', 'room'), () => isReader);
  await pass(0);
  isReader = false;
  place.resolve();
  expect(await outcome).toBe('left');
  expect([tried, counts]).toEqual([[], {}]);
});

test('messages of a room wait for the one before them, those of other rooms do not', async () => {
  let finish: (published: Published) => void = () => undefined;
  const { intake, tried } = begin(({ room }) =>
    room === 'slow'
      ? new Promise((resolve) => {
          finish = resolve;
        })
      : Promise.resolve({ duplicate: false }),
  );
  const all = ['a', 'b'].map((id) => intake.take(message(id, 'slow'), always));
  expect(await intake.take(message('c', 'fast'), always)).toBe('published');
  expect(tried).toEqual(['a', 'c']);
  finish({ duplicate: false });
  expect(await all[0]).toBe('published');
  await pass(0);
  expect(tried).toEqual(['a', 'c', 'b']);
  finish({ duplicate: true });
  expect(await all[1]).toBe('published');
});

test('a message is tried again with longer and longer pauses until it is taken, and none of its room overtakes it', async () => {
  let isAway = true;
  const { intake, tried, counts } = begin(() =>
    isAway ? Promise.reject(unavailable) : Promise.resolve({ duplicate: false }),
  );
  const all = Promise.all(['a', 'b'].map((id) => intake.take(message(id, 'room'), always)));
  await pass(60_000);
  expect(new Set(tried)).toEqual(new Set(['a']));
  // At most 2 s, at least half of that, and a few shorter ones at the beginning.
  expect(tried.length).toBeGreaterThanOrEqual(30);
  expect(tried.length).toBeLessThanOrEqual(66);
  isAway = false;
  await pass(2_000);
  expect(await all).toEqual(['published', 'published']);
  expect(tried.slice(-2)).toEqual(['a', 'b']);
  expect(counts).toEqual({ 'orders retried': tried.length - 2, 'orders published': 2 });
});

test('when the source is lost, what is under way and all behind it are left, and nothing more is tried', async () => {
  let mayGoOn = true;
  const { intake, tried } = begin(() => Promise.reject(unavailable));
  const outcomes: Outcome[] = [];
  for (const id of ['a', 'b']) void intake.take(message(id, 'room'), () => mayGoOn).then((each) => outcomes.push(each));
  await pass(500);
  mayGoOn = false;
  const before = tried.length;
  await pass(10_000);
  expect(outcomes).toEqual(['left', 'left']);
  expect(tried).toHaveLength(before);
});

test('a message that is poison holds nothing up', async () => {
  const { intake, counts } = begin(() => Promise.resolve({ duplicate: true }));
  const rooms = ['two words', 'good'];
  const outcomes = await Promise.all(rooms.map((room) => intake.take(message(room, room), always)));
  expect(outcomes).toEqual([expect.any(Poison), 'published']);
  expect(counts).toEqual({ 'orders parked': 1, 'orders duplicate': 1 });
});

test('a refusal of Redis, for instance for lack of memory, is tried again', async () => {
  const refused = new BackplaneError('unavailable', 'Redis refused it', new Error('OOM command not allowed'));
  let isFull = true;
  const { intake } = begin(() => (isFull ? Promise.reject(refused) : Promise.resolve({ duplicate: false })));
  const outcome = intake.take(message('a', 'room'), always);
  await pass(10_000);
  isFull = false;
  await pass(2_000);
  expect(await outcome).toBe('published');
});
