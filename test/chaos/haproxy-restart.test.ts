/**
 * HAProxy is reloaded, or ends and starts again, while 200 clients of the library listen and messages come: a reload cuts nobody; a
 * restart cuts all at once, and they come back spread out. Nobody misses a message either way.
 *
 * The same for a few sockets, and the hard stop of a reload: test/protocol/haproxy-servers.test.ts.
 */
import { expect, test } from 'vitest';
import { connect } from '../../shared/client/client.ts';
import { roomsFile } from '../integration/files.ts';
import { type Haproxy, startHaproxy } from '../protocol/haproxy.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { Sockets } from '../verify/library/sockets.ts';
import { LibraryMember } from './library-member.ts';

const count = 200;
const room = 'kept:room';
const deadlineMs = 30_000;

/** 200 members of a room behind HAProxy, and a publisher to it that numbers its messages. */
async function listening() {
  const rules = { match: 'kept:*', subscribe: 'user', publish: 'user', history: { size: 10_000 } };
  const node = await spawnNode({
    ROOMS_FILE: roomsFile(rules),
    TRUSTED_PROXIES: '127.0.0.1',
  });
  const haproxy = await startHaproxy(node);
  const url = `ws://127.0.0.1:${haproxy.port}/ws`;
  const tokens = await Promise.all(Array.from({ length: count }, (_, index) => mintToken({ sub: `user-${index}` })));
  const members = tokens.map((token) => new LibraryMember(url, token, room));
  await until(() => members.every(({ isIn }) => isIn), deadlineMs, 'all members are in');
  const { WebSocket } = new Sockets({ misbehaved: () => undefined, asked: () => undefined });
  const client = connect(url, { token: await mintToken({ sub: 'publisher' }), WebSocket });
  onCleanup(() => client.close());
  const published: number[] = [];
  let going = true;
  const done = (async () => {
    for (let number = 0; going; number++) {
      await client.room(room).publish(number);
      published.push(number);
    }
  })();
  const untilMore = async () => {
    const before = published.length;
    await until(() => published.length > before + 20, deadlineMs, 'messages are published');
  };
  await untilMore();
  const stop = async () => {
    going = false;
    await done;
    for (const member of members) {
      await until(() => member.told.length >= published.length, deadlineMs, 'all is told');
    }
    return published;
  };
  return { haproxy, members, untilMore, stop };
}

test.each<[string, (haproxy: Haproxy) => Promise<void>, number]>([
  ['is reloaded: nobody is cut', (haproxy) => haproxy.reload(), 0],
  ['starts again: all come back', (haproxy) => haproxy.restart(), count],
])(
  'HAProxy %s, and every message is told once and in order',
  async (_, fault, comeBack) => {
    const { haproxy, members, untilMore, stop } = await listening();
    const before = members.map(({ sockets }) => sockets.attempts.length);
    await fault(haproxy);
    await until(() => members.every(({ isIn }) => isIn), deadlineMs, 'all members are in');
    await untilMore();
    const published = await stop();
    const firstTries = members.flatMap(({ sockets }, index) => sockets.attempts[before[index] ?? 0] ?? []);
    expect(firstTries.length).toBe(comeBack);
    // Spread, and not all in the same moment: no tenth of a second has more than a quarter of the first tries.
    for (const from of firstTries) {
      expect(firstTries.filter((at) => at >= from && at < from + 100).length).toBeLessThanOrEqual(count / 4);
    }
    for (const { told, gaps, faults } of members) {
      expect({ told, gaps, faults }).toEqual({ told: published, gaps: [], faults: [] });
    }
  },
  90_000,
);
