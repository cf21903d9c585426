/**
 * gateway/rooms-file.ts, on real rooms and memberships in memory: members in each state leave a room that becomes
 * another kind, and the event loop stays free while many rooms are checked.
 */

import { writeFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import type { Identity } from '../../../gateway/auth/grants.ts';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { Memberships, type MembershipsOwner } from '../../../gateway/connection/membership/memberships.ts';
import type { ConnectionParts } from '../../../gateway/connection/parts.ts';
import type { Refusal } from '../../../gateway/operations/refusal.ts';
import { Renewals } from '../../../gateway/operations/renewals.ts';
import type { Reply } from '../../../gateway/protocol/reply.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { Access, readRules } from '../../../gateway/rooms/access.ts';
import { Backpressure } from '../../../gateway/rooms/backpressure.ts';
import { Fanout } from '../../../gateway/rooms/fanout.ts';
import { Freeze } from '../../../gateway/rooms/freeze.ts';
import { Hub, type Room } from '../../../gateway/rooms/hub.ts';
import type { Presence } from '../../../gateway/rooms/presence.ts';
import { reloadableRules } from '../../../gateway/rooms-file.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until } from '../../support/until.ts';
import { file } from '../config/configuration.ts';

const everyone = { subscribe: 'anyone', publish: 'anyone' };
const plain = { match: '*', ...everyone };
const kept = { match: '*', ...everyone, history: {} };

/** After `hold` it confirms no subscription until the test releases them. */
class SlowBackplane extends MemoryBackplane {
  confirm: () => void = () => undefined;
  #confirmed: Promise<void> = Promise.resolve();

  hold(): void {
    this.#confirmed = new Promise((resolve) => {
      this.confirm = resolve;
    });
  }

  override async subscribe(room: string): Promise<void> {
    await this.#confirmed;
    await super.subscribe(room);
  }
}

type Received = Record<string, unknown>;

class FakeMember implements MembershipsOwner {
  readonly id = 'member';
  identity: Identity | undefined = { user: 'ann', grants: [] };
  readonly address = '192.0.2.1';
  /** None of its requests waits for another one. */
  readonly inbox = { asks: () => undefined, answered: () => undefined, joinEnded: () => undefined };
  live = true;
  readonly closing = false;
  readonly dialect = roomcast;
  readonly topics = undefined;
  readonly listens = new Set<string>();
  readonly received: Received[] = [];
  readonly memberships: Memberships;

  constructor(node: ConnectionParts) {
    this.memberships = new Memberships(this, node);
  }

  subscribe(room: string, since?: { epoch: string; offset: number }): Promise<Received> {
    const before = this.received.length;
    this.memberships.subscribe({ type: 'subscribe', id: 1, room, since });
    return until(() => this.received.slice(before).find(({ id }) => id === 1) as Received, 2_000, 'an answer');
  }

  close(): void {
    this.live = false;
  }

  rulesReplaced(): void {
    this.memberships.revoke();
  }

  send(frame: string | Uint8Array): void {
    this.received.push(JSON.parse(Buffer.from(frame as Uint8Array).toString()));
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

  refuse(id: number | string | undefined, { code, message }: Refusal): void {
    this.reply({ type: 'error', id, code, message });
  }

  takes(): boolean {
    return this.live;
  }

  maySubscribe(): boolean {
    return this.identity !== undefined;
  }

  listen({ name }: Room): void {
    this.listens.add(name);
  }

  unlisten({ name }: Room): void {
    this.listens.delete(name);
  }

  fail(error: unknown): void {
    throw error;
  }

  isMember(room: string): boolean {
    return this.memberships.has(room);
  }

  handle(): void {
    throw new Error('no frame was sent that could be held');
  }
}

async function startNode(...rules: object[]) {
  const content = (rooms: object[]) => JSON.stringify({ rooms });
  const path = file(content(rules));
  const read = readRules({ rooms: rules });
  const inForce = 'rules' in read ? read.rules : [];
  const access = new Access(inForce);
  const backplane = new SlowBackplane(60_000);
  const backpressure = new Backpressure(0, 0, 0, new Set());
  const members = new Set<FakeMember>();
  const events = tellEvents();
  const freeze = new Freeze(() => undefined);
  onCleanup(() => freeze.close());
  const presence = { enter: () => undefined, leave: () => undefined, changesSeen: () => 0 } as unknown as Presence;
  const hub = new Hub({
    ...{ backplane, access, backpressure, freeze, presence },
    fanout: new Fanout((room, frame) => {
      for (const member of members) if (member.listens.has(room)) member.send(frame);
    }, backpressure),
    events,
    faults: new Faults(createLog('silent')),
  });
  await backplane.start(hub);
  const node = {
    hub,
    access,
    backpressure,
    presence,
    events,
    config: { maxRoomsPerConnection: 0 },
    renewals: new Renewals(),
  };
  const reloadable = reloadableRules(path, inForce, {
    ...{ access, hub, connections: members, fallbackRules: [] },
    callback: undefined,
  });
  const enter = () => {
    const member = new FakeMember(node as unknown as ConnectionParts);
    members.add(member);
    return member;
  };
  const change = (...changed: object[]) => {
    writeFileSync(path, content(changed));
    return reloadable.take();
  };
  const publish = (room: string, data: number) => {
    const { history } = access.rule(room);
    const place = history === undefined ? '"id":"1"' : '"offset":';
    return hub.publish({ room, prefix: `{${place}`, suffix: `,"data":${data}}`, at: Date.now(), history });
  };
  return { hub, backplane, enter, change, publish };
}

const dataOf = (member: FakeMember) => member.received.flatMap(({ data }) => (data === undefined ? [] : [data]));
const reasonsOf = (member: FakeMember) =>
  member.received.flatMap(({ type, reason }) => (type === 'unsubscribed' ? [reason] : []));

test('a live member and a stalled one leave a room that becomes another kind, and can join the new one', async () => {
  const { hub, enter, change, publish } = await startNode(plain);
  const [live, stalled] = [enter(), enter()];
  for (const member of [live, stalled]) await member.subscribe('room');
  stalled.memberships.stall();
  stalled.live = false;
  await publish('room', 1);
  await until(() => dataOf(live).length === 1, 2_000, 'the message');

  expect(await change(kept)).toEqual({ rules: 1, roomsReplaced: 1 });
  expect([reasonsOf(live), reasonsOf(stalled)]).toEqual([['changed'], ['changed']]);
  expect([hub.memberCount, hub.roomCount]).toEqual([0, 0]);
  // The room is empty, so no frame is sent.
  await publish('room', 2);
  stalled.live = true;
  expect(await live.subscribe('room')).toMatchObject({ type: 'ok', offset: 1 });
  expect(await stalled.subscribe('room')).toMatchObject({ type: 'ok', offset: 1 });
  await publish('room', 3);
  await until(() => dataOf(live).length + dataOf(stalled).length >= 3, 2_000, 'the message');
  expect([dataOf(live), dataOf(stalled)]).toEqual([[1, 3], [3]]);
  expect([hub.memberCount, hub.roomCount]).toEqual([2, 1]);
});

test('a member that joins while the room becomes another kind gets an error, and can then subscribe again', async () => {
  const { hub, backplane, enter, change, publish } = await startNode(kept);
  const member = enter();
  backplane.hold();
  const answer = member.subscribe('room');
  await change(plain);
  backplane.confirm();
  expect(await answer).toMatchObject({ type: 'error', code: 'unavailable', message: expect.stringMatching(/again/) });
  expect(hub.memberCount).toBe(0);
  expect(await member.subscribe('room')).toEqual({ type: 'ok', id: 1, room: 'room' });
  await publish('room', 1);
  await until(() => dataOf(member).length === 1, 2_000, 'the message');
});

test('a replaced room that gets a member again stays subscribed', async () => {
  const { hub, enter, change, publish } = await startNode(plain);
  const member = enter();
  await member.subscribe('room');
  await change(kept);
  await member.subscribe('room');
  vi.useFakeTimers({ toFake: ['performance'] });
  onCleanup(() => vi.useRealTimers());
  vi.advanceTimersByTime(10_000);
  hub.sweep();
  expect([hub.memberCount, hub.roomCount]).toEqual([1, 1]);
  await publish('room', 1);
  await until(() => dataOf(member).length === 1, 2_000, 'the message');
});

test('new rights, amounts and rules of other rooms change nothing for members who keep their right', async () => {
  const { enter, change, publish } = await startNode(kept);
  const [may, mayNot] = [enter(), enter()];
  for (const member of [may, mayNot]) await member.subscribe('room');
  mayNot.identity = undefined;
  const rights = { match: 'r*', subscribe: 'user', publish: 'server', history: { size: 2, ttlSeconds: 5 } };
  expect(await change({ match: 'other', slow: 'close' }, rights)).toEqual({ rules: 2, roomsReplaced: 0 });
  expect([reasonsOf(may), reasonsOf(mayNot)]).toEqual([[], ['revoked']]);
  await publish('room', 1);
  await until(() => dataOf(may).length === 1, 2_000, 'the message');
  expect(await change({ match: 'other', slow: 'close' }, rights)).toBeUndefined();
});

test('the event loop stays free while the rules of very many rooms are applied', async () => {
  const many = Array.from({ length: 900 }, (_, index) => ({ match: `*${index}*none*`, ...everyone }));
  const { hub, change } = await startNode(plain);
  for (let room = 0; room < 3_000; room++) hub.join(`room:${room}`);
  let turns = 0;
  const counting = setInterval(() => turns++, 1);
  onCleanup(() => clearInterval(counting));
  expect(await change(...many, kept)).toMatchObject({ roomsReplaced: 3_000 });
  expect(turns).toBeGreaterThan(0);
});
