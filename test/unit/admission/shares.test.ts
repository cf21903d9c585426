/** gateway/admission/shares.ts and lane.ts: whoever publishes most leaves places to others, whichever way they come. */
import { describe, expect, test, vi } from 'vitest';
import { Lane } from '../../../gateway/admission/lane.ts';
import { publishBytes, type Sharer, Shares } from '../../../gateway/admission/shares.ts';
import type { Backplane } from '../../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { ClientRates } from '../../../gateway/http/fallback/client-rates.ts';
import { Publishing } from '../../../gateway/http/fallback/publishing.ts';
import { broadcast } from '../../../gateway/operations/broadcast.ts';
import { publishFromServer } from '../../../gateway/operations/publish.ts';
import { deferred } from '../../../shared/deferred.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { bytesOf, SocketlessNode, tokenOf } from '../socketless-node.ts';

const small = publishBytes('1');
const message = { data: '1', key: undefined, from: undefined };
const never = () => new Promise<never>(() => undefined);

function sharer(): Sharer {
  return { publishing: { count: 0, bytes: 0 }, nextBytes: undefined, goOn: () => false };
}

/** Begins publishes until there is no place for one more. */
function flood(shares: Shares, who: Sharer, bytes: number): number {
  let begun = 0;
  for (; shares.hasPlace(who, bytes); begun++) shares.publishBegan(who, bytes);
  return begun;
}

describe('places', () => {
  test('of a hundred, one that floods takes half, the next one half of what is left, and another one finds one', () => {
    const shares = new Shares({ count: 100, bytes: 1_000_000 });
    expect([flood(shares, sharer(), small), flood(shares, sharer(), small)]).toEqual([50, 25]);
    expect(shares.hasPlace(sharer(), small)).toBe(true);
  });

  test('bytes are shared like their number: one that sends large ones takes half of the bytes', () => {
    const shares = new Shares({ count: 100, bytes: 10 * 65_536 });
    const large = sharer();
    expect(flood(shares, large, 65_536)).toBe(5);
    expect(shares.hasPlace(sharer(), 65_536)).toBe(true);
    shares.publishEnded(large, 65_536);
    expect(flood(shares, large, 65_536)).toBe(1);
  });

  test('one larger than all of them begins if nothing else is under way, for the backplane to refuse', () => {
    const shares = new Shares({ count: 100, bytes: 1_000 });
    const one = sharer();
    expect(shares.hasPlace(one, 2_000)).toBe(true);
    shares.publishBegan(one, 2_000);
    expect(shares.hasPlace(sharer(), small)).toBe(false);
  });
});

describe('a lane', () => {
  test('begins its publishes in their order, each when there is a place', async () => {
    const shares = new Shares({ count: 4, bytes: 1_000_000 });
    const lane = new Lane(shares);
    const order: number[] = [];
    let most = 0;
    const send = async (number: number) => {
      const bytes = await lane.begin('1');
      order.push(number);
      most = Math.max(most, lane.publishing.count);
      await new Promise((resolve) => setImmediate(resolve));
      lane.end(bytes);
    };
    const numbers = Array.from({ length: 20 }, (_, number) => number);
    await Promise.all(numbers.map(send));
    expect([order, most]).toEqual([numbers, 2]);
    expect(lane.publishing).toEqual({ count: 0, bytes: 0 });
  });

  test('keeps nobody waiting when the node ends', async () => {
    const shares = new Shares({ count: 2, bytes: 1_000_000 });
    const lane = new Lane(shares);
    expect(lane.begin('1')).toBe(small);
    const waiting = lane.begin('1');
    expect(waiting).toBeInstanceOf(Promise);
    shares.close();
    expect(await waiting).toBe(small);
  });
});

describe('on a node whose backplane takes nothing, with a hundred places', () => {
  async function stuckNode() {
    const backplane: Backplane = new MemoryBackplane(60_000);
    const rooms: string[] = [];
    backplane.publish = ({ room }) => {
      rooms.push(room);
      return never();
    };
    const rules = [{ match: '*', publish: 'anyone' }];
    const world = await new SocketlessNode({ rules, backplane, places: { count: 100, bytes: 100 * 1_024 } }).start();
    onCleanup(() => world.close());
    const count = (room: string) => rooms.filter((each) => each === room).length;
    const member = async (user: string) => {
      const { connection, socket } = world.connect();
      connection.receive(bytesOf({ type: 'auth', token: tokenOf({ user, grants: [] }) }));
      await until(
        () => socket.frames.some((frame) => frame.type === 'welcome' && frame.user === user),
        5_000,
        'welcome',
      );
      return (room: string, data: unknown) => connection.receive(bytesOf({ type: 'publish', room, data }));
    };
    return { node: world.node, count, member };
  }

  test('a flood by the API leaves half of them, and a member who publishes finds one at once', async () => {
    const { node, count, member } = await stuckNode();
    const ann = await member('ann');
    for (let call = 0; call < 10; call++) void broadcast(node, Array(200).fill('api'), message);
    await until(() => count('api') === 50, 5_000, 'half of them are taken');
    ann('ann', 1);
    await until(() => count('ann') === 1, 5_000, 'hers has one');
    expect(count('api')).toBe(50);
  });

  test('a flood of members leaves some to the API, to inputs and to publishes by POST', async () => {
    const { node, count, member } = await stuckNode();
    for (const user of ['ann', 'bob']) {
      const publish = await member(user);
      for (let number = 0; number < 200; number++) publish(user, 1);
    }
    await until(() => count('ann') + count('bob') >= 75, 5_000, 'both have theirs');
    void publishFromServer(node, { ...message, room: 'api' });
    void publishFromServer(node, { ...message, room: 'input' }, 'input');
    const post = new Publishing(new ClientRates(0, 1));
    void post.publish(node, { room: 'post', token: undefined, address: '192.0.2.9', text: '{"data":1}' });
    await until(() => ['api', 'input', 'post'].every((room) => count(room) === 1), 5_000, 'each has one');
  });

  test('a flood of large ones by a member leaves bytes to others', async () => {
    const { count, member } = await stuckNode();
    const [ann, bob] = [await member('ann'), await member('bob')];
    for (let number = 0; number < 60; number++) ann('ann', 'x'.repeat(4_096));
    expect(count('ann')).toBeLessThanOrEqual(12);
    bob('bob', 'x'.repeat(4_096));
    await until(() => count('bob') === 1, 5_000, 'his has a place');
  });
});

describe('what waited for its place', () => {
  /** One place of a lane is taken until `first` settles. */
  async function busyNode() {
    const backplane: Backplane = new MemoryBackplane(60_000);
    const published: string[] = [];
    const first = deferred();
    backplane.publish = async ({ room }) => {
      published.push(room);
      await first.promise;
      return { duplicate: false };
    };
    const rules = [{ match: '*', publish: 'anyone' }];
    const world = await new SocketlessNode({ rules, backplane, places: { count: 2, bytes: 1_000_000 } }).start();
    onCleanup(() => world.close());
    const oneWaits = (lane: 'post' | 'input') =>
      until(
        () => published.length === 1 && (world.node.lanes[lane] as Lane).nextBytes !== undefined,
        5_000,
        'one is under way, and one waits',
      );
    return { node: world.node, published, first, oneWaits };
  }

  test('while the process stood still is not published by POST', async () => {
    const { node, published, first, oneWaits } = await busyNode();
    const posting = new Publishing(new ClientRates(0, 1));
    const post = (room: string) =>
      posting.publish(node, { room, token: undefined, address: '192.0.2.9', text: '{"data":1}' });
    const answers = [post('first'), post('second')];
    await oneWaits('post');
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
    onCleanup(() => clock.mockRestore());
    first.resolve();
    expect(await Promise.all(answers)).toMatchObject([{ ok: '{}' }, { problem: { status: 503 } }]);
    expect(published).toEqual(['first']);
  });

  test('until another node had taken its input over is not published', async () => {
    const { node, published, first, oneWaits } = await busyNode();
    let isOurs = true;
    const input = (room: string) => publishFromServer(node, { ...message, room }, 'input', () => isOurs);
    const taken = [input('first'), input('second')];
    await oneWaits('input');
    isOurs = false;
    first.resolve();
    await expect(taken[1]).rejects.toMatchObject({ code: 'unavailable' });
    await taken[0];
    expect(published).toEqual(['first']);
  });
});
