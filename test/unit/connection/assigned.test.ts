/**
 * Rooms that a token assigns, while they are joined: what becomes of messages that come before the answer to `connect` and
 * behind it, and of a connection whose rooms cannot be joined.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { centrifugo } from '../../../gateway/protocol/centrifugo/dialect.ts';
import { type Deferred, deferred } from '../../../shared/deferred.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { bytesOf, type FakeSocket, SocketlessNode } from '../socketless-node.ts';

const rules = [
  { match: 'kept', history: {} },
  { match: 'dropped', history: {}, slow: 'drop' },
  { match: 'newest', history: {}, slow: 'latest' },
  { match: 'short', history: { size: 2 } },
];

/** Holds up what is asked of one room, until the test lets it go on. */
class HeldBackplane extends MemoryBackplane {
  readonly subscribing: Deferred = deferred();
  #reading: Deferred | undefined;
  reads = 0;

  override async subscribe(room: string): Promise<void> {
    if (room === 'held') await this.subscribing.promise;
    return super.subscribe(room);
  }

  holdReads(): Deferred {
    this.#reading = deferred();
    return this.#reading;
  }

  override async read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    this.reads++;
    const page = await super.read(room, query);
    await this.#reading?.promise;
    return page;
  }
}

let backplane: HeldBackplane;
let world: SocketlessNode;

async function start(): Promise<void> {
  backplane = new HeldBackplane(60_000);
  world = await new SocketlessNode({ rules, backplane }).start();
  const node = world;
  onCleanup(() => node.close());
}

afterEach(() => {
  // Nobody waits for it any more.
  backplane.subscribing.promise.catch(() => undefined);
});

async function publish(room: string, from: number, to: number): Promise<void> {
  const { access, stamper } = world.node;
  for (let data = from; data <= to; data++) {
    const { history } = access.rule(room);
    await world.hub.publish(stamper.stamp({ room, data: `${data}`, key: undefined }, 'bob', history));
  }
  // They are delivered a turn later.
  await new Promise((resolve) => setImmediate(resolve));
}

type Push = { channel: string; pub?: { data: number; offset?: number }; unsubscribe?: object };
type Sub = { epoch?: string; offset?: number; recovered?: boolean; was_recovering?: boolean };

function connect(rooms: string[], subs: object = {}) {
  const { connection, socket } = world.connect(() => undefined, centrifugo);
  const assigned = rooms.map((room) => ({ room }));
  const token = JSON.stringify({ user: 'ann', grants: [], assigned });
  connection.receive(bytesOf({ id: 1, connect: { token, subs } }));
  return { connection, socket };
}

const repliesOf = ({ frames }: FakeSocket) =>
  frames as unknown as { connect?: { subs: Record<string, Sub> }; push?: Push }[];
const pushesOf = (socket: FakeSocket) => repliesOf(socket).flatMap(({ push }) => (push === undefined ? [] : [push]));
const dataOf = (socket: FakeSocket) => pushesOf(socket).map(({ pub }) => pub?.data);
const upTo = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

async function answered(socket: FakeSocket): Promise<Record<string, Sub>> {
  await until(() => socket.frames.length > 0, 2_000, 'connect is answered');
  const [first] = repliesOf(socket);
  if (first?.connect === undefined) throw new Error(`something goes before the answer: ${JSON.stringify(first)}`);
  return first.connect.subs;
}

test.each(['kept', 'dropped', 'newest', 'short', 'plain'])(
  'a new member of %s gets all that comes behind the position that it is told, and nothing before the answer',
  async (room) => {
    await start();
    await publish(room, 1, 3);
    const { socket } = connect([room, 'held']);
    await until(() => world.hub.membersOf(room) === 1, 2_000, 'it joins');
    await publish(room, 4, 6);
    expect(socket.frames).toEqual([]);
    backplane.subscribing.resolve();
    const subs = await answered(socket);
    expect(subs[room]?.offset).toBe(room === 'plain' ? undefined : 6);
    await publish(room, 7, 9);
    await until(() => pushesOf(socket).length >= 3, 2_000, 'the messages come');
    expect(dataOf(socket)).toEqual([7, 8, 9]);
  },
);

test.each(['kept', 'dropped', 'newest'])(
  'a member of %s that comes back gets all behind its last position, from wherever that is',
  async (room) => {
    for (const offset of [0, 1, 3]) {
      await start();
      await publish(room, 1, 3);
      const { epoch } = await world.hub.history(room, { limit: 0, maxBytes: 0 });
      const { socket } = connect([room, 'held'], { [room]: { recover: true, epoch, offset } });
      await until(() => world.hub.membersOf(room) === 1, 2_000, 'it joins');
      await publish(room, 4, 6);
      expect(socket.frames).toEqual([]);
      backplane.subscribing.resolve();
      expect((await answered(socket))[room]).toMatchObject({ recovered: true, was_recovering: true });
      await publish(room, 7, 8);
      await until(() => pushesOf(socket).length >= 8 - offset, 2_000, 'the messages come');
      expect(dataOf(socket)).toEqual(upTo(offset + 1, 8));
    }
  },
);

test('what was kept when it was asked for, and is not when it is sent, closes the connection: the next one is told so', async () => {
  await start();
  const room = 'short';
  await publish(room, 1, 3);
  const { epoch } = await world.hub.history(room, { limit: 0, maxBytes: 0 });
  const first = connect([room, 'held'], { [room]: { recover: true, epoch, offset: 1 } });
  await until(() => backplane.reads >= 2, 2_000, 'its messages are read');
  await publish(room, 4, 6);
  backplane.subscribing.resolve();
  expect((await answered(first.socket))[room]).toMatchObject({ recovered: true });
  await until(() => first.socket.closedWith !== undefined, 2_000, 'it is closed');
  expect([first.socket.closedWith, dataOf(first.socket)]).toEqual([3010, []]);
  const { socket } = connect([room], { [room]: { recover: true, epoch, offset: 1 } });
  expect((await answered(socket))[room]).toEqual({
    ...{ recoverable: true, positioned: true, epoch, offset: 6, was_recovering: true },
  });
});

test('a room that cannot be joined closes the connection without an answer, is counted, and none of its rooms keeps a member', async () => {
  await start();
  const rejected = vi.spyOn(world.node.events, 'handshakeRejected');
  const { socket } = connect(['kept', 'held']);
  await until(() => world.hub.membersOf('held') === 1, 2_000, 'it joins');
  backplane.subscribing.reject(new BackplaneError('unavailable', 'Redis is away'));
  await until(() => socket.closedWith !== undefined, 2_000, 'it is closed');
  expect([socket.closedWith, socket.frames]).toEqual([3004, []]);
  expect([world.hub.memberCount, world.hub.membersOf('kept')]).toEqual([0, 0]);
  expect(rejected.mock.calls).toEqual([['rooms']]);
});

test('rooms that are not joined within the time for a token close it too, so that the client connects again', async () => {
  await start();
  const { connection, socket } = connect(['held']);
  await until(() => world.hub.membersOf('held') === 1, 2_000, 'it joins');
  const { authTimeoutMs } = world.node.config;
  connection.checkDeadlines(performance.now() + authTimeoutMs - 1_000, Date.now());
  expect(socket.closedWith).toBeUndefined();
  connection.checkDeadlines(performance.now() + authTimeoutMs, Date.now());
  expect([socket.closedWith, socket.frames, world.hub.memberCount]).toEqual([3004, [], 0]);
  backplane.subscribing.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  expect(world.hub.memberCount).toBe(0);
});

test('a client that goes meanwhile, or is blocked, leaves no member behind', async () => {
  await start();
  const gone = connect(['kept', 'held']);
  const blocked = connect(['kept', 'held']);
  await until(() => world.hub.membersOf('held') === 2, 2_000, 'they join');
  gone.socket.destroy();
  world.blocks.add('ann');
  backplane.subscribing.resolve();
  await until(() => blocked.socket.closedWith !== undefined, 2_000, 'it is closed');
  expect([blocked.socket.closedWith, blocked.socket.frames, world.hub.memberCount]).toEqual([3503, [], 0]);
});

test('a room that new rules make another kind of room meanwhile closes it, and one that is joined already too', async () => {
  await start();
  const member = connect(['kept']);
  await answered(member.socket);
  const joining = connect(['kept', 'held']);
  await until(() => world.hub.membersOf('held') === 1, 2_000, 'it joins');
  world.node.access.replace([]);
  for (const room of [...world.hub.rooms]) world.hub.replaceIfKindChanged(room);
  for (const { connection } of [member, joining]) connection.rulesReplaced();
  backplane.subscribing.resolve();
  await until(() => joining.socket.closedWith !== undefined, 2_000, 'it is closed');
  expect([member.socket.closedWith, joining.socket.closedWith, joining.socket.frames]).toEqual([3010, 3004, []]);
});

test('commands that come with connect wait for its rooms, and pings too', async () => {
  await start();
  const { connection, socket } = connect(['kept', 'held']);
  connection.receive(bytesOf({ id: 2, unsubscribe: { channel: 'kept' } }));
  await until(() => world.hub.membersOf('held') === 1, 2_000, 'it joins');
  connection.ping(performance.now());
  expect(socket.frames).toEqual([]);
  backplane.subscribing.resolve();
  await until(() => socket.frames.length === 2, 2_000, 'both are answered');
  expect(socket.frames.map((frame) => (frame as unknown as { id: number }).id)).toEqual([1, 2]);
  expect(connection.isMember('kept')).toBe(false);
});
