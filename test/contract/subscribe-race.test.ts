/**
 * Subscribing while others publish, 10,000 times, over a real Redis and over memory: the hubs of two nodes with real
 * memberships, in new rooms and in busy ones. Each member gets every message after the position of its `ok`, once and
 * in order, to the last one.
 */

import { randomBytes } from 'node:crypto';
import { expect, inject, test } from 'vitest';
import type { Backplane } from '../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../gateway/backplane/memory/backplane.ts';
import { MemoryPresence } from '../../gateway/backplane/memory/presence.ts';
import { Memberships, type MembershipsOwner } from '../../gateway/connection/membership/memberships.ts';
import type { ConnectionParts } from '../../gateway/connection/parts.ts';
import type { Refusal } from '../../gateway/operations/refusal.ts';
import { Renewals } from '../../gateway/operations/renewals.ts';
import type { Reply } from '../../gateway/protocol/reply.ts';
import { roomcast } from '../../gateway/protocol/roomcast/dialect.ts';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { Access, readRules } from '../../gateway/rooms/access.ts';
import { Backpressure } from '../../gateway/rooms/backpressure.ts';
import { Fanout } from '../../gateway/rooms/fanout.ts';
import { Freeze } from '../../gateway/rooms/freeze.ts';
import { Hub } from '../../gateway/rooms/hub.ts';
import { Presence } from '../../gateway/rooms/presence.ts';
import { tellEvents } from '../../gateway/telemetry/events.ts';
import { Faults } from '../../gateway/telemetry/faults.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import type { Position } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { keptPublication } from './recorder.ts';

const deadlineMs = 15_000;
const history = { size: 1_000, maxBytes: 10_485_760, ttlSeconds: 60 };
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

interface RacingNode {
  node: ConnectionParts;
  listeners: Map<string, Set<RacingMember>>;
}

/** A member that checks each message when it comes. */
class RacingMember implements MembershipsOwner {
  readonly id = 'member';
  readonly identity = { user: null, grants: [] };
  readonly address = '192.0.2.1';
  /** None of its requests waits for another one. */
  readonly inbox = { asks: () => undefined, answered: () => undefined, joinEnded: () => undefined };
  readonly live = true;
  readonly closing = false;
  readonly dialect = roomcast;
  readonly topics = undefined;
  readonly #listeners: RacingNode['listeners'];
  readonly #memberships: Memberships;
  readonly #name: string;
  readonly since: Position | undefined;
  position: Position | undefined;
  recovered: boolean | undefined;
  wrong: string | undefined;

  constructor({ node, listeners }: RacingNode, room: string, since: Position | undefined) {
    this.#listeners = listeners;
    this.#memberships = new Memberships(this, node);
    this.#name = room;
    this.since = since;
    this.#memberships.subscribe({ type: 'subscribe', id: 1, room, since });
  }

  send(frame: string | Uint8Array): void {
    const told = JSON.parse(typeof frame === 'string' ? frame : Buffer.from(frame).toString()) as Record<
      string,
      unknown
    >;
    if (this.position === undefined) {
      if (told.id !== 1 || typeof told.offset !== 'number') this.wrong ??= `${JSON.stringify(told)} before its ok`;
      this.position = { epoch: `${told.epoch}`, offset: Number(told.offset) };
      this.recovered = told.recovered as boolean | undefined;
      return;
    }
    const { epoch, offset } = this.position;
    if (told.offset !== offset + 1) this.wrong ??= `${JSON.stringify(told)} after ${offset}`;
    this.position = { epoch, offset: Number(told.offset) };
  }

  reply(reply: Reply): void {
    this.send(roomcast.encode(reply));
  }

  message(frame: Uint8Array): void {
    this.send(frame);
  }

  sendUnchecked(): void {
    throw new Error('this test fans out by itself');
  }

  close(): void {
    this.wrong ??= 'it is closed';
  }

  refuse(_: unknown, { message }: Refusal): void {
    this.wrong ??= message;
  }

  takes(): boolean {
    return true;
  }

  maySubscribe(): boolean {
    return true;
  }

  listen({ name }: { name: string }): void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(this));
  }

  unlisten({ name }: { name: string }): void {
    this.#listeners.get(name)?.delete(this);
  }

  fail(error: unknown): void {
    this.wrong ??= String(error);
  }

  isMember(room: string): boolean {
    return this.#memberships.has(room);
  }

  handle(): void {
    this.wrong ??= 'a frame was held that was never sent';
  }

  leave(): void {
    this.#memberships.leaveAll();
    this.unlisten({ name: this.#name });
  }
}

async function racingNode(backplane: Backplane): Promise<RacingNode> {
  const rules = readRules({ rooms: [{ match: '*', subscribe: 'anyone', history }] });
  const access = new Access('rules' in rules ? rules.rules : []);
  const [backpressure, faults] = [new Backpressure(0, 0, 0, new Set()), new Faults(createLog('silent'))];
  const events = tellEvents();
  const listeners: RacingNode['listeners'] = new Map();
  const fanout = new Fanout((room, frame) => {
    for (const member of [...(listeners.get(room) ?? [])]) member.send(frame);
  }, backpressure);
  // No rule enables presence.
  const presence = new Presence({
    store: new MemoryPresence({ announces: () => false }),
    access,
    backpressure,
    fanout,
    events,
    faults,
  });
  const freeze = new Freeze(() => undefined);
  const hub = new Hub({ backplane, access, backpressure, fanout, freeze, events, presence, faults });
  onCleanup(async () => {
    freeze.close();
    await Promise.all([backplane.close(), presence.close()]);
  });
  await backplane.start(hub);
  // Memberships need only these parts of a node.
  const node = {
    hub,
    access,
    backpressure,
    events,
    presence,
    faults,
    config: { maxRoomsPerConnection: 0 },
    renewals: new Renewals(),
  } as unknown as ConnectionParts;
  return { node, listeners };
}

/** Members join a room at random moments while publishers publish. Returns the members and the last offset. */
async function race(random: Random, nodes: readonly RacingNode[], room: string, members: number, messages: number) {
  const came: RacingMember[] = [];
  const published: Promise<Position | undefined>[] = [];
  let seen: Position | undefined;
  while (came.length < members || published.length < messages) {
    const known = came.find(({ position }) => position !== undefined)?.position ?? seen;
    // Members of the second half can resume even if Redis is slow.
    if (known === undefined && came.length >= members / 2) {
      await turn();
      continue;
    }
    for (let burst = random.integer(0, 4); burst > 0 && published.length < messages; burst--) {
      const { hub } = random.pick(nodes).node;
      const answer = hub.publish(keptPublication(room, { history })).then(({ position }) => position);
      published.push(answer);
      answer.then((position) => {
        seen = position;
      }, String);
    }
    for (let burst = random.integer(0, 2); burst > 0 && came.length < members; burst--) {
      const since =
        random.chance(0.4) || known === undefined ? undefined : { ...known, offset: random.integer(0, known.offset) };
      came.push(new RacingMember(random.pick(nodes), room, since));
    }
    if (random.chance(0.7)) await turn();
  }
  return { room, came, last: (await Promise.all(published)).length };
}

test.each([
  [
    'two nodes on Redis',
    (): Backplane[] => {
      const [url, prefix] = [inject('redisUrl'), `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`];
      return ['one', 'two'].map(
        (node) =>
          new RedisBackplane(
            { redis: redisConnections(url), prefix, node, dedupeMs: 60_000, replicated: false },
            createLog('silent'),
          ),
      );
    },
  ],
  ['one node on memory', (): Backplane[] => [new MemoryBackplane(60_000)]],
])(
  'no message is lost or doubled for 10,000 members that subscribe or resume while others publish: %s',
  async (_, create) => {
    const random = new Random(10_000);
    const nodes = await Promise.all(create().map(racingNode));
    const [rooms, membersEach, messagesEach, beside] = [1_000, 10, 20, 20];
    let recovered = 0;
    for (let round = 0; round < rooms; round += beside) {
      const races = await Promise.all(
        Array.from({ length: beside }, (_each, index) =>
          race(random, nodes, `r${round + index}`, membersEach, messagesEach),
        ),
      );
      for (const { room, came, last } of races) {
        const isWrong = ({ wrong }: RacingMember) => wrong !== undefined;
        const isThere = (member: RacingMember) => isWrong(member) || member.position?.offset === last;
        await until(() => came.every(isThere), deadlineMs, `all members of ${room} have ${last} messages`);
        expect(came.filter(isWrong).map(({ wrong, since }) => `${room}: ${wrong}, since ${since?.offset}`)).toEqual([]);
        expect(came.every(({ since, recovered: answer }) => answer === (since === undefined ? undefined : true))).toBe(
          true,
        );
        recovered += came.filter((member) => member.recovered).length;
        for (const member of came) member.leave();
      }
    }
    expect(recovered).toBeGreaterThan(2_000);
  },
  60_000,
);
