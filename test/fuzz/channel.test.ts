/**
 * What anybody with access to Redis may write into the channels: envelopes of rooms, commands and answers of nodes. Whatever
 * comes, it is one thing or nothing, and what is handed on is safe to work with.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import type { BackplaneListener } from '../../gateway/backplane/backplane.ts';
import { readAnswer, readCommand, writeAnswer, writeCommand } from '../../gateway/redis/control/messages.ts';
import { deliver } from '../../gateway/redis/delivery.ts';
import { bytesOf, fuzz, nearly, someBytes } from './kit.ts';

const telling = '12mhpg0123456789 \n{}":,[]-eE.\\utypeuserconnectionmembersroom\0\xff';
const time = fc.integer({ min: 0, max: 9_999_999_999_999 }).map((at) => String(at).padStart(13, '0'));
const json = fc.json({ maxDepth: 3 });
const position = fc
  .tuple(fc.string({ maxLength: 5 }), fc.oneof(fc.nat().map(String), fc.constantFrom('9e99', '-1', '01', '1.5', '')))
  .map(([epoch, offset]) => `${epoch} ${offset}`);
const update = fc.record({
  type: fc.constantFrom('join', 'leave', 'recount', 'message', '__proto__'),
  room: fc.constantFrom('a', 'b'),
  members: fc.oneof(
    fc.array(fc.oneof(fc.record({ user: json }), fc.record({ connection: fc.string() }), fc.constant(null)), {
      maxLength: 3,
    }),
    fc.constantFrom<unknown>(null, 'user', {}, 3),
  ),
});
const envelope = fc.oneof(
  fc.tuple(time, json).map(([at, data]) => `1m${at}\n{"data":${data}}`),
  fc.tuple(time, position, json).map(([at, place, data]) => `1h${at}${place}\n{"data":${data}}`),
  fc
    .tuple(fc.constantFrom('0', '1', '2'), time, fc.nat(40), fc.nat(40), json)
    .map(([flags, at, length, behind, data]) => `2m${flags}${at}${length} ${behind}\n{"data":${data}}`),
  fc
    .tuple(time, fc.nat(40), fc.nat(40), position, json)
    .map(([at, length, behind, place, data]) => `2h0${at}${length} ${behind} ${place}\n{"data":${data}}`),
  fc
    .tuple(fc.constantFrom('1p', '2p0', '2p1'), time, update)
    .map(([head, at, frame]) => `${head}${at}\n${JSON.stringify(frame)}`),
  fc.tuple(fc.constantFrom('1g', '2g0'), time).map(([head, at]) => `${head}${at}\n`),
);

fuzz(
  'envelope',
  'bytes in the channel of a room are one message, one change of presence or one gap, and safe to work with',
  fc.record({
    bytes: fc.oneof(nearly(envelope, telling), envelope, someBytes(telling)),
    before: someBytes(telling, 8),
  }),
  (input) => {
    const all = bytesOf(`${input.before}${input.bytes}\r\n`);
    const start = input.before.length;
    const end = all.length - 2;
    const told: string[] = [];
    const listener: Partial<BackplaneListener> = {
      gap: (room, reason) => void told.push(`${room} ${reason}`),
      presence: (change) => {
        expect(change.room).toBe('a');
        if (change.type !== 'recount') {
          expect(['join', 'leave']).toContain(change.type);
          for (const member of change.members) expect('user' in member || 'connection' in member).toBe(true);
        }
        told.push('presence');
      },
      message: (_, frame, at, place) => {
        expect(Number.isSafeInteger(at)).toBe(true);
        expect(frame.byteOffset - all.byteOffset).toBeGreaterThan(start);
        expect(frame.byteOffset + frame.length).toBe(all.byteOffset + end);
        if (place !== undefined) expect(Number.isSafeInteger(place.offset) && place.offset > 0).toBe(true);
        told.push('message');
      },
    };
    deliver(listener as BackplaneListener, 'a', all, start, end);
    expect(told).toHaveLength(1);
  },
);

const instance = fc.constantFrom('n-1', 'a.b-c-9', 'n', '-', `${'n'.repeat(70)}-1`, '__proto__-1');
const id = fc.nat().map(String);
const command = fc
  .tuple(id, instance, fc.string(), fc.jsonValue({ maxDepth: 2 }))
  .map(([number, from, kind, values]) =>
    writeCommand(number, from, { kind, arguments: values as object, to: undefined }),
  );
const answer = fc.tuple(id, instance, json).map(([number, from, value]) => writeAnswer(number, from, { value }));
const loose = fc
  .record(
    {
      v: fc.oneof(fc.constant(1), fc.jsonValue()),
      id: fc.oneof(id, fc.jsonValue()),
      from: fc.oneof(instance, fc.jsonValue()),
      to: fc.oneof(instance, fc.jsonValue()),
      kind: fc.jsonValue(),
      value: fc.jsonValue(),
      error: fc.jsonValue(),
    },
    { requiredKeys: [] },
  )
  .map((fields) => JSON.stringify(fields));

fuzz(
  'control',
  'a text in the control channel is a command or an answer with the fields of one, or nothing',
  fc.oneof(nearly(fc.oneof(command, answer), telling), loose, fc.json(), someBytes(telling)),
  (text) => {
    const asked = readCommand(text);
    if (asked !== undefined) {
      expect(asked.id).toMatch(/^\d{1,16}$/);
      expect(asked.from).toMatch(/^[\w.-]{1,64}-\w{1,64}$/);
      expect(['string', 'undefined']).toContain(typeof asked.to);
      if (asked.command !== undefined) expect(typeof asked.command.kind).toBe('string');
    }
    const told = readAnswer(text);
    if (told === undefined) return;
    expect(told.from).toMatch(/^[\w.-]{1,64}-\w{1,64}$/);
    expect('value' in told.outcome || typeof told.outcome.error === 'string').toBe(true);
  },
);
