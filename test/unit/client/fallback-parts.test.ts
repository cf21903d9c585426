/** The pure parts of the fallback: events out of pieces of text, what a token says of itself. */
import { expect, test } from 'vitest';
import { claimsOf } from '../../../shared/client/fallback/claims.ts';
import { EventReader } from '../../../shared/client/fallback/events.ts';
import { Random } from '../random.ts';

const stream = [
  'retry: 3172\nid: e:41\nevent: ok\ndata: {"type":"ok","room":"chat:lobby"}\n\n',
  ':\n',
  'id: e:42\nevent: message\ndata: {"data":"a: b",\ndata: "at":1}\n\n',
  'event: join\ndata:{"n":1}\n\n',
  'id: e:43\n\n',
].join('');

test('events are the same, however the text is cut into pieces', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Random(seed);
    const reader = new EventReader();
    const events = [];
    for (let from = 0; from < stream.length; ) {
      const to = from + 1 + Math.floor(random.next() * 12);
      events.push(...reader.read(stream.slice(from, to)));
      from = to;
    }
    expect(events, `seed ${seed}`).toEqual([
      { name: 'ok', data: '{"type":"ok","room":"chat:lobby"}' },
      { name: 'message', data: '{"data":"a: b",\n"at":1}' },
      { name: 'join', data: '{"n":1}' },
    ]);
    expect(reader.retryMs).toBe(3172);
  }
});

test('line separators of Unicode are part of an event, not the end of its lines', () => {
  expect(new EventReader().read('event: message\ndata: "a\u2028b\u2029c"\n\n')).toMatchObject([
    { name: 'message', data: '"a\u2028b\u2029c"' },
  ]);
});

test('an event without an end is bounded', () => {
  const reader = new EventReader();
  const megabyte = 'x'.repeat(2 ** 20);
  expect(() => {
    for (let count = 0; count < 40; count++) reader.read(`data: ${megabyte}\n`);
  }).toThrow('has no end');
  expect(() => {
    const line = new EventReader();
    for (let count = 0; count < 40; count++) line.read(megabyte);
  }).toThrow('has no end');
});

const tokenWith = (payload: object) => `h.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.s`;
const now = 1_800_000_000_000;
const seconds = now / 1000;

test.each([
  ['of a user, by the clock', { sub: 'zoë', exp: seconds + 60, iat: seconds - 40 }, { user: 'zoë', lastsMs: 60_000 }],
  ['by a clock that is behind', { sub: 'a', exp: seconds + 900, iat: seconds + 800 }, { user: 'a', lastsMs: 100_000 }],
  ['by a clock that is ahead', { sub: 'a', exp: seconds - 900, iat: seconds - 960 }, { user: 'a', lastsMs: 60_000 }],
  ['without `iat`', { sub: 'a', exp: seconds + 5 }, { user: 'a', lastsMs: 5_000 }],
  ['over, without `iat`', { sub: 'a', exp: seconds - 5 }, { user: 'a', lastsMs: undefined }],
  ['without an end', { sub: 'a' }, { user: 'a', lastsMs: undefined }],
])('a token %s', (_, payload, claims) => {
  expect(claimsOf(tokenWith(payload), now)).toEqual(claims);
});

test.each([undefined, 'opaque', 'a.b.c', 'a.bnVsbA.c'])('of a token that is no JWT nothing is known: %s', (token) => {
  expect(claimsOf(token, now)).toEqual({ user: undefined, lastsMs: undefined });
});
