/**
 * What a client may send on its connection, in any order, while other things happen to it: frames that are good, nearly good
 * or nothing. The connection is a real one, with its rooms, on a node without ports.
 *
 * What holds: every frame back has the grammar of the protocol; each request with an id gets one answer, as long as the
 * connection stays; nothing of the connection is left when it has ended.
 */
import fc from 'fast-check';
import { expect, vi } from 'vitest';
import { z } from 'zod';
import { TokenError } from '../../gateway/auth/claims.ts';
import { readGrants } from '../../gateway/auth/grants.ts';
import type { Connection } from '../../gateway/connection/connection.ts';
import { readFrame } from '../../gateway/protocol/roomcast/decode.ts';
import { closeCode } from '../../shared/codes.ts';
import { useFakeClock } from '../unit/fake-clock.ts';
import { type FakeSocket, SocketlessNode } from '../unit/socketless-node.ts';
import { fuzz, nearly, someBytes } from './kit.ts';

useFakeClock();

const offset = z.int().min(0);
const id = z.union([offset, z.string()]).optional();
const room = z.string().min(1);
const member = z.union([
  z.strictObject({ user: z.string(), info: z.unknown().optional() }),
  z.strictObject({ connection: z.string() }),
]);
const message = z.strictObject({
  ...{ type: z.literal('message'), room, offset: offset.optional(), id: z.string().optional(), data: z.unknown() },
  ...{ from: z.string().optional(), at: offset, key: z.string().optional() },
});
const present = z.strictObject({ connection: z.string(), user: z.string().nullable(), info: z.unknown().optional() });
/** docs/protocol.md */
const grammar = z.discriminatedUnion('type', [
  z.object({ type: z.literal('welcome'), id, user: z.string().nullable(), connection: z.string() }),
  z.strictObject({
    ...{ type: z.literal('ok'), id, room: room.optional(), epoch: z.string().optional(), offset: offset.optional() },
    ...{ recovered: z.boolean().optional(), duplicate: z.literal(true).optional(), expiresAt: offset.nullish() },
    ...{ first: offset.optional(), messages: z.array(message).optional(), more: z.literal(true).optional() },
    ...{ count: offset.optional(), users: offset.optional(), members: z.array(present).optional() },
  }),
  z.strictObject({
    ...{ type: z.literal('error'), id, message: z.string().min(10), retryAfterMs: offset.optional() },
    // Not `internal`: that is a fault of the gateway.
    code: z.enum([
      'bad_request',
      'unsupported',
      'unauthorized',
      'forbidden',
      'limit_exceeded',
      'unavailable',
      'timeout',
    ]),
  }),
  message,
  z.strictObject({ type: z.literal('join'), room, members: z.array(member).min(1) }),
  z.strictObject({ type: z.literal('leave'), room, members: z.array(member).min(1) }),
  z.strictObject({
    ...{ type: z.literal('gap'), room, reason: z.enum(['backplane', 'slow', 'trimmed', 'epoch']) },
    ...{ first: offset.optional(), last: offset.optional(), count: offset.optional() },
    ...{ epoch: z.string().optional(), offset: offset.optional() },
  }),
  z.strictObject({ type: z.literal('subscribed'), room, epoch: z.string().optional(), offset: offset.optional() }),
  z.strictObject({ type: z.literal('unsubscribed'), room, reason: z.enum(['revoked', 'changed', 'kicked']) }),
  z.strictObject({ type: z.literal('pong'), id }),
]);

const open = { subscribe: 'anyone', publish: 'anyone' };
const rules = [
  { match: 'kept', ...open, history: { size: 3 }, presence: true, joinLeave: true },
  { match: 'newest', ...open, slow: 'latest', presence: true, joinLeave: true },
  { match: 'closing', ...open, slow: 'close', presence: true },
  { match: 'plain', ...open, presence: true, joinLeave: true },
  { match: 'granted', subscribe: 'token', publish: 'token', history: {} },
];
const rooms = ['kept', 'newest', 'closing', 'plain', 'granted', '@ann', 'closed'];
const tokens: Record<string, object> = { ann: { granted: ['subscribe', 'publish'] }, bob: {} };

const someRoom = fc.constantFrom(...rooms);
const someOffset = fc.oneof(fc.nat(6), fc.constantFrom(-1, 1.5, Number.MAX_SAFE_INTEGER, 2 ** 53));
const frame = fc.oneof(
  fc.record({
    type: fc.constant('subscribe'),
    room: someRoom,
    since: fc.option(fc.record({ epoch: fc.constantFrom('', 'other', '$epoch'), offset: someOffset }), {
      nil: undefined,
    }),
  }),
  fc.record({ type: fc.constant('unsubscribe'), room: someRoom }),
  fc.record({
    ...{ type: fc.constant('publish'), room: someRoom, data: fc.jsonValue({ maxDepth: 2 }) },
    key: fc.option(fc.constantFrom('k', 'l'), { nil: undefined }),
  }),
  fc.record(
    {
      ...{ type: fc.constant('history'), room: someRoom, after: someOffset, before: someOffset },
      ...{ epoch: fc.constantFrom('$epoch', 'other'), limit: fc.constantFrom(0, 1, 1_000, 1_001) },
    },
    { requiredKeys: ['type', 'room'] },
  ),
  fc.record({ type: fc.constant('presence'), room: someRoom, after: fc.option(fc.string(), { nil: undefined }) }),
  fc.record({ type: fc.constant('auth'), token: fc.constantFrom('ann', 'ann', 'bob', 'nobody') }),
  fc.record({ type: fc.constantFrom('ping', 'pong', 'welcome', '__proto__') }),
);
const identified = fc
  .tuple(
    frame,
    fc.oneof({ weight: 4, arbitrary: fc.nat(1_000) }, { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 1 }) }),
  )
  .map(([fields, number]) => JSON.stringify({ id: number, ...fields }));
const telling = '{}[]":,\\u0018etrufalsn-. subcriphoygad_';
const text = fc.oneof(
  { weight: 6, arbitrary: identified },
  { weight: 1, arbitrary: frame.map((fields) => JSON.stringify(fields)) },
  { weight: 1, arbitrary: nearly(identified, telling) },
  { weight: 1, arbitrary: fc.oneof(someBytes(telling, 30), fc.json({ maxDepth: 2 })) },
);
const event = fc.oneof(
  fc.record({ do: fc.constantFrom('turn', 'stall', 'drain', 'gap', 'ping' as const), room: someRoom }),
  fc.record({
    do: fc.constantFrom('admit', 'kick', 'other' as const),
    room: fc.constantFrom('kept', 'newest', 'plain'),
  }),
);
const step = fc.oneof({ weight: 3, arbitrary: text }, { weight: 2, arbitrary: event });
type Step = string | { do: 'turn' | 'stall' | 'drain' | 'gap' | 'ping' | 'admit' | 'kick' | 'other'; room: string };

const turns = () => vi.advanceTimersByTimeAsync(300);

async function happen(world: SocketlessNode, connection: Connection, socket: FakeSocket, event: Exclude<Step, string>) {
  const { room: name } = event;
  if (event.do === 'turn') await turns();
  else if (event.do === 'stall') connection.stall();
  else if (event.do === 'drain') connection.drained();
  else if (event.do === 'gap') world.hub.gap(name, 'interrupted');
  else if (event.do === 'ping') connection.receiveControl();
  else if (event.do === 'admit' || event.do === 'kick') void connection.memberships[event.do](name);
  else {
    const asked = { room: name, data: '1', key: undefined };
    await world.hub.publish(world.node.stamper.stamp(asked, 'eve', world.node.access.rule(name).history));
  }
  expect(socket.frames.length).toBeGreaterThan(0);
}

fuzz(
  'frames',
  'whatever a client sends, the answers have the grammar, each request has one, and nothing of it stays',
  fc.array(step, { maxLength: 25 }) as fc.Arbitrary<Step[]>,
  async (steps) => {
    const settings = { REQUEST_RATE: '0', PUBLISH_RATE: '0', MAX_ROOMS_PER_CONNECTION: '3' };
    const world = await new SocketlessNode({ rules, settings }).start();
    const verify = async (token: string) => {
      const claim = tokens[token];
      if (claim === undefined) throw new TokenError('malformed', 'no token');
      return { identity: { user: token, grants: readGrants(claim) }, expiresAt: Date.now() + 3_600_000 };
    };
    Object.assign(world.node, { authenticator: { ...world.node.authenticator, verify } });
    const { epoch } = await world.hub.history('kept', { limit: 0, maxBytes: 0 });
    const { connection, socket } = world.connect();
    const asked = new Map<string, number>();
    for (const next of steps) {
      if (connection.closing || socket.gone) break;
      if (typeof next !== 'string') {
        await happen(world, connection, socket, next);
        continue;
      }
      const sent = next.replaceAll('$epoch', epoch);
      const { id: number } = readFrame(sent);
      if (number !== undefined) asked.set(JSON.stringify(number), (asked.get(JSON.stringify(number)) ?? 0) + 1);
      connection.receive(new TextEncoder().encode(sent).buffer);
      expect(connection.memberships.size).toBeLessThanOrEqual(3);
    }
    if (!socket.gone && !connection.closing) connection.drained();
    await turns();
    await turns();
    const answered = new Map<string, number>();
    for (const frame of socket.frames) {
      const read = grammar.safeParse(frame);
      if (!read.success) expect.fail(`${JSON.stringify(frame)}: ${read.error.message}`);
      if (!('id' in frame) || frame.type === 'message') continue;
      answered.set(JSON.stringify(frame.id), (answered.get(JSON.stringify(frame.id)) ?? 0) + 1);
    }
    const stays = !connection.closing && !socket.gone;
    for (const [number, count] of answered) expect(count, number).toBeLessThanOrEqual(asked.get(number) ?? 0);
    if (stays) expect(Object.fromEntries(answered)).toEqual(Object.fromEntries(asked));
    if (stays) connection.close(closeCode.slowConsumer);
    await turns();
    expect(world.hub.memberCount).toBe(0);
    expect(world.hub.hasDetached).toBe(false);
    expect([...connection.memberships.slowPolicies()]).toEqual([]);
    expect([...socket.listensTo]).toEqual([]);
    await world.close();
  },
  { share: 0.05 },
);
