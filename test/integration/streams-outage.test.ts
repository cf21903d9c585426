/**
 * Streams through a killed node and a restarted Redis: with Last-Event-ID on any node nothing is missing, nothing comes
 * twice, and the order is that of the WebSockets.
 */
import { expect, test } from 'vitest';
import { EventStream } from '../support/event-stream.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { roomsFile } from './files.ts';
import { enter, randomRoom, tokenOf } from './people.ts';
import { expectWhole, PlacedMember } from './placed-member.ts';
import { SteadyPublisher } from './steady-publisher.ts';

interface Heard {
  epoch: string;
  offset: number;
  number: number;
}

function heard(...streams: EventStream[]): Heard[] {
  return streams.flatMap(({ events }) =>
    events
      .filter(({ name }) => name === 'message')
      .map(({ id, data }) => {
        const [epoch = '', offset = ''] = id.split(':');
        return { epoch, offset: Number(offset), number: (data.data as [number])[0] };
      }),
  );
}

test('through a kill -9 of its node and a restart of Redis a stream gets each acknowledged message, once and in order', async () => {
  const redis = await ownRedisOnDisk();
  const settings = {
    REDIS_URL: redis.url,
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000 } }),
    PUBLISH_RATE: 0,
  };
  const [doomed, other] = [await spawnNode(settings), await startNode(settings)];
  const room = randomRoom('kept');
  const token = await tokenOf('reader');
  const first = await until(() => EventStream.open(doomed, room, { token }), 10_000, 'the first stream');
  const stays = await until(() => EventStream.open(other, room, { token }), 10_000, 'the second stream');
  const socket = await PlacedMember.join(other, 'socket', room);
  const publisher = new SteadyPublisher(await enter(other, 'publisher'), room);
  await until(() => first.heard.length > 20, 10_000, 'messages flow');

  doomed.kill('SIGKILL');
  await first.untilEnded();
  expect(first.complete).toBe(false);
  const before = publisher.outcomes.length;
  await until(() => publisher.outcomes.length > before + 20, 10_000, 'messages are missed');
  const second = await EventStream.open(other, room, { token, lastEventId: first.lastEventId });
  expect(second.events[0]?.data).toMatchObject({ recovered: true });

  await redis.kill();
  await redis.start();
  const missed = publisher.outcomes.length;
  const acknowledged = () => publisher.outcomes.slice(missed).some(({ position }) => position !== undefined);
  await until(acknowledged, 20_000, 'Redis takes messages again');
  await publisher.stop();
  const last = publisher.outcomes.findLast(({ position }) => position !== undefined)?.position;
  if (last === undefined) throw new Error('nothing was acknowledged');
  await socket.untilAt(room, last, 10_000);
  const reached = (stream: EventStream) => heard(stream).some(({ offset }) => offset >= last.offset);
  await until(() => reached(second) && reached(stays), 10_000, 'the streams have the last message');

  const { answer, messages } = socket.story(room);
  for (const streams of [[first, second], [stays]]) {
    const gaps = streams.flatMap(({ events }) => events.filter(({ name }) => name === 'gap'));
    expect(gaps).toEqual([]);
    const mine = heard(...streams);
    expectWhole({ messages: mine, gaps: [], answer }, publisher);
    expect(mine.slice(-messages.length)).toEqual(messages);
  }
}, 60_000);
