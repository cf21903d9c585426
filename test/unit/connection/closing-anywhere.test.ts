/**
 * Any frame sent to a connection may overfill its buffer, which closes it from within `send`. Whatever the gateway was
 * about to do next, the connection is then in no room and in no list, and counts for no user.
 *
 * One client triggers every type of frame. The scenario runs once for each frame of it, and that frame overfills the
 * buffer.
 */
import { expect, test, vi } from 'vitest';
import { readGrants } from '../../../gateway/auth/grants.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { useFakeClock } from '../fake-clock.ts';
import type { FakeSocket } from '../socketless-node.ts';
import { bytesOf, SocketlessNode, tokenOf } from '../socketless-node.ts';

useFakeClock();

const open = { subscribe: 'anyone', publish: 'anyone' };
const everything = { history: {}, presence: true, joinLeave: true };
const rules = [
  { match: 'kept', ...open, ...everything },
  { match: 'granted', subscribe: 'token', ...everything },
  { match: 'newest', ...open, slow: 'latest', presence: true, joinLeave: true },
  { match: 'plain', ...open, presence: true, joinLeave: true },
  { match: 'ordered', subscribe: 'server', ...everything },
];
const rooms = ['kept', 'granted', 'newest', 'plain', 'ordered'];
const token = (grants: object) => tokenOf({ user: 'ann', grants: readGrants(grants) });
const hugeBytes = 10_000_000;
/** Over the soft limit, under the hard one. */
const manyBytes = 600_000;

const turns = () => vi.advanceTimersByTimeAsync(300);

/**
 * What the peer does with the frame that overfills the buffer. `never`: it does not read it. `at once`: it has read it
 * when the close frame is due. `later`: the frame exceeds only the soft limit, and the connection drains a moment
 * later.
 */
type Reading = 'never' | 'at once' | 'later';

async function live(reading: Reading, tooMany: number) {
  const world = await new SocketlessNode({
    rules,
    settings: { MAX_CONNECTIONS_PER_USER: '1', REQUEST_RATE: '0' },
  }).start();
  const { connection, socket } = world.connect((socket) => {
    socket.onSent = () => {
      if (socket.frames.length === tooMany) overrun(socket, reading);
    };
  });
  const say = async (...frames: object[]) => {
    if (reading === 'later' && socket.buffered > 0) {
      socket.buffered = 0;
      connection.drained();
    }
    for (const frame of frames) {
      if (!socket.gone) connection.receive(bytesOf(frame));
    }
    await turns();
  };
  const publish = (room: string, data: number) =>
    world.hub.publish(
      world.node.stamper.stamp({ room, data: `${data}`, key: undefined }, 'bob', world.node.access.rule(room).history),
    );

  for (const data of [1, 2, 3]) await publish('kept', data);
  const { epoch } = await world.hub.history('kept', { limit: 0, maxBytes: 0 });
  await say({ type: 'subscribe', id: 1, room: 'plain' });
  await say({ type: 'auth', id: 2, token: token({ granted: ['subscribe'] }) });
  // One `join` frame names both users.
  world.presence.enter('kept', { ...nobody, id: 'other' });
  await say(
    { type: 'subscribe', id: 3, room: 'kept', since: { epoch, offset: 1 } },
    { type: 'publish', id: 4, room: 'kept', data: 1 },
    { type: 'presence', id: 5, room: 'kept' },
  );
  await say({ type: 'subscribe', id: 6, room: 'granted', since: { epoch: 'another', offset: 1 } });
  await say({ type: 'subscribe', id: 7, room: 'newest' }, { type: 'subscribe', id: 8, room: 'newest' });
  await say(
    { type: 'history', id: 9, room: 'kept' },
    { type: 'presence', id: 10, room: 'plain' },
    { type: 'ping', id: 11 },
  );
  // It stalls, and drains.
  if (!socket.gone && socket.buffered === 0) {
    connection.stall();
    world.presence.leave('kept', 'other');
    for (const room of ['kept', 'newest', 'plain']) for (const data of [1, 2]) await publish(room, data);
    await turns();
    world.hub.gap('plain', 'interrupted');
    connection.drained();
    await say();
    for (const type of ['enter', 'leave'] as const) {
      if (type === 'enter') world.presence.enter('plain', { ...nobody, id: 'other' });
      else world.presence.leave('plain', 'other');
      await say();
    }
  }
  for (const order of ['admit', 'kick', 'admit'] as const) {
    void connection.memberships[order]('ordered');
    await say();
  }
  await say({ type: 'auth', id: 12, token: token({}) });
  await say(
    { type: 'subscribe', id: 13, room: 'granted' },
    { type: 'unsubscribe', id: 14, room: 'kept' },
    { type: 'x', id: 15 },
  );
  return { world, connection, socket };
}

const nobody = {
  identity: { user: 'bob', grants: [] },
  send: () => undefined,
  sendUnchecked: () => undefined,
  reply: () => undefined,
  closing: false,
  dialect: roomcast,
  topics: undefined,
};

function overrun(socket: FakeSocket, reading: Reading): void {
  socket.buffered = reading === 'later' ? manyBytes : hugeBytes;
  if (reading !== 'at once') return;
  // The check in `send` sees a full buffer, every later check an empty one.
  let checks = 0;
  socket.bufferedBytes = () => (socket.gone || checks++ > 0 ? 0 : hugeBytes);
}

test.each<Reading>(['never', 'at once', 'later'])(
  'any frame may overfill the buffer, with a peer that reads it %s: nothing of the connection is left',
  async (reading) => {
    const whole = await live(reading, Number.POSITIVE_INFINITY);
    const frames = whole.socket.frames.length;
    // The run sends every type of frame.
    const types = new Set(
      whole.socket.frames.map((frame) => ('reason' in frame ? `${frame.type} ${frame.reason}` : frame.type)),
    );
    expect([...types].sort()).toEqual(
      [
        'error',
        'gap backplane',
        'gap slow',
        'join',
        'leave',
        'message',
        'ok',
        'pong',
        'subscribed',
        'unsubscribed kicked',
        'unsubscribed revoked',
        'welcome',
      ].sort(),
    );
    await whole.world.close();
    for (let tooMany = 1; tooMany <= frames; tooMany++) {
      const { world, connection, socket } = await live(reading, tooMany);
      const which = `frame ${tooMany}: ${JSON.stringify(socket.frames[tooMany - 1])}`;
      // A fan-out never closes a connection.
      if (!connection.closing) connection.close(4003);
      await turns();
      expect(world.hub.memberCount, which).toBe(0);
      expect(world.hub.hasDetached, which).toBe(false);
      expect([...connection.memberships.slowPolicies()], which).toEqual([]);
      expect([...socket.listensTo], which).toEqual([]);
      // At one connection per user, a connection that is still counted would be returned.
      expect(world.users.add('ann', connection), which).toBeUndefined();
      for (const room of rooms) {
        const page = await world.store.page(room, { after: undefined, limit: 10, maxBytes: 10_000 });
        expect(
          page.members.filter(({ user }) => user !== 'bob'),
          `${which} in ${room}`,
        ).toEqual([]);
      }
      await world.close();
    }
  },
);
