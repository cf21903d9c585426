/**
 * What docs/load-balancers.md promises of nodes that stop or die behind a load balancer: nobody misses a message while a node
 * drains, and who comes is served soon.
 */
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { connect } from '../../shared/client/client.ts';
import type { WebSocketConstructor } from '../../shared/client/connection/websocket.ts';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { EventStream } from '../support/event-stream.ts';
import { until, within } from '../support/until.ts';
import { api, connectionsOf, type HostedNode, type Nodes, startNodes } from './nodes.ts';
import type { Start } from './suite.ts';

const users = Array.from({ length: 10 }, () => randomRoom('user'));

export function changesSuite(start: Start): void {
  test('a node drains: members and streams hear every message once, with the settings of production', {
    timeout: 90_000,
  }, async () => {
    // Those of production: the notice is longer than health checks take, and a client has 5 s to move.
    const nodes = await startNodes({ DRAIN_NOTICE_MS: 3_000, DRAIN_MS: 15_000 });
    const [leaving, staying] = nodes.nodes as [HostedNode, HostedNode];
    const proxy = await start(nodes);
    const [kept, plain] = [randomRoom('kept'), randomRoom('plain')];
    const members = await Promise.all(users.map((user) => member(proxy.port, user, kept, plain)));
    const stream = await FollowingStream.open(proxy.port, kept);
    expect(await connectionsOf(nodes, leaving.host)).toBeGreaterThan(1);

    let [last, published, isGone] = [0, 0, false];
    leaving.kill('SIGTERM');
    const gone = within(leaving.exited, 40_000, 'the node ends').finally(() => (isGone = true));
    while (!isGone || published < 50) {
      last = ++published;
      await publish(nodes, staying.host, kept, last);
      await publish(nodes, staying.host, plain, last);
    }
    expect(await gone).toEqual({ code: 0, signal: null });
    const all = Array.from({ length: last }, (_, index) => index + 1);
    for (const { user, heard, gaps } of members) {
      await until(
        () => heard.get(kept)?.at(-1) === last && heard.get(plain)?.at(-1) === last,
        10_000,
        `${user} has all`,
      );
      expect(heard.get(kept), user).toEqual(all);
      expect(heard.get(plain), user).toEqual(all);
      expect(gaps, user).toEqual([]);
    }
    await until(() => stream.heard.at(-1) === last, 10_000, 'the stream has all');
    expect(stream.heard).toEqual(all);
  });

  test('a node is killed: who comes is served within 3 s, and its clients resume without a gap', {
    timeout: 60_000,
  }, async () => {
    const nodes = await startNodes();
    const [killed, staying] = nodes.nodes as [HostedNode, HostedNode];
    const proxy = await start(nodes);
    const room = randomRoom('kept');
    const members = await Promise.all(users.map((user) => member(proxy.port, user, room)));
    await publish(nodes, staying.host, room, 1);
    killed.kill('SIGKILL');
    await killed.exited;
    for (let count = 0; count < 5; count++) {
      const began = performance.now();
      const client = await connectWelcomed(`ws://127.0.0.1:${proxy.port}/ws`, await tokenOf(`late${count}`));
      expect(performance.now() - began).toBeLessThan(3_000);
      await client.close();
    }
    await publish(nodes, staying.host, room, 2);
    for (const { user, heard, gaps } of members) {
      await until(() => heard.get(room)?.at(-1) === 2, 20_000, `${user} is back`);
      expect([user, heard.get(room), gaps]).toEqual([user, [1, 2], []]);
    }
  });
}

function publish(nodes: Nodes, host: string, room: string, data: number): Promise<unknown> {
  return api(nodes, host, `/rooms/${room}/messages`, { data });
}

interface Member {
  user: string;
  heard: Map<string, unknown[]>;
  gaps: unknown[];
}

/** A user of the client library in these rooms. */
async function member(port: number, user: string, ...rooms: string[]): Promise<Member> {
  const client = connect(`ws://127.0.0.1:${port}/ws`, {
    token: await tokenOf(user),
    WebSocket: WebSocket as unknown as WebSocketConstructor,
  });
  onCleanup(() => client.close());
  const heard = new Map<string, unknown[]>(rooms.map((name) => [name, []]));
  const gaps: unknown[] = [];
  for (const name of rooms) {
    const room = client.room(name);
    room.on('message', ({ data }) => heard.get(name)?.push(data));
    room.on('gap', (gap) => gaps.push(gap));
    await room.subscribe();
  }
  return { user, heard, gaps };
}

/** An event stream as EventSource has it: when it ends, the next one goes on behind the last event. */
class FollowingStream {
  readonly #streams: EventStream[] = [];

  static async open(port: number, room: string): Promise<FollowingStream> {
    const following = new FollowingStream();
    const token = await tokenOf(randomRoom('streaming'));
    const next = async (): Promise<void> => {
      const lastEventId = following.#streams.at(-1)?.lastEventId;
      const stream = await EventStream.open({ port }, room, { token, lastEventId });
      following.#streams.push(stream);
      stream.response.once('close', () => {
        if (stream.events.some(({ name }) => name === 'close' || name === 'reconnect')) void next();
      });
    };
    await next();
    return following;
  }

  get heard(): unknown[] {
    return this.#streams.flatMap(({ heard }) => heard);
  }
}
