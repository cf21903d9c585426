/**
 * What something that is no gateway may send to the client library: frames with fields of any type, in any order, and text that
 * is none; and text of an event stream in any pieces. The page lives on: nothing is thrown, nothing runs without a pause, and
 * nothing is left after `close`.
 */
import fc from 'fast-check';
import { expect, vi } from 'vitest';
import { type Client, connect } from '../../shared/client/client.ts';
import { EventReader } from '../../shared/client/fallback/events.ts';
import { FakeSocket } from '../unit/client/fake-gateway.ts';
import { useFakeClock } from '../unit/fake-clock.ts';
import { fuzz, nearly, someBytes } from './kit.ts';

useFakeClock();

const odd = fc.oneof(
  fc.constantFrom<unknown>(null, -1, 0, 1.5, 1e300, 2 ** 31, '', 'a', [], {}, true, [null], '__proto__'),
  fc.jsonValue({ maxDepth: 1 }),
);
const some = <Value>(...usual: Value[]) => fc.oneof({ weight: 3, arbitrary: fc.constantFrom<unknown>(...usual) }, odd);
const fields = {
  id: some(1, 2, 3),
  room: some('a', 'b'),
  epoch: some('e', 'f'),
  offset: some(0, 1, 2, 9),
  recovered: some(true, false),
  data: odd,
  at: some(1, 2_000_000),
  from: some('alice', 'bob'),
  key: some('k'),
  members: some([{ user: 'bob' }], [{ connection: 'c' }]),
  messages: some([]),
  reason: some('backplane', 'slow', 'epoch', 'trimmed', 'draining', 'kicked', 'changed', 'revoked'),
  code: some('rate_limited', 'unavailable', 'forbidden', 'timeout', 'internal'),
  message: some('no'),
  // A page trusts its gateway with times: it may be told to come back at once, again and again. And a connection is welcomed a
  // second time only where there is no end of a token.
  expiresAt: fc.constant(null),
  retryAfterMs: fc.constantFrom(1, 1_000),
  afterMs: fc.constantFrom(0, 100),
  pingIntervalMs: fc.constant(25_000),
  now: some(1_000_000),
  maxMessageBytes: some(65_536),
  maxRooms: some(128),
  dedupeMs: some(120_000),
  connection: some('c'),
  user: some('alice', null),
  count: some(0, 3),
};
const types = ['welcome', 'ok', 'error', 'message', 'gap', 'join', 'leave', 'reconnect', 'subscribed', 'unsubscribed'];
const frame = fc.record({ type: some(...types, 'pong'), ...fields }, { requiredKeys: ['type', 'pingIntervalMs'] });
const text = fc.oneof(
  { weight: 6, arbitrary: frame.map((sent) => JSON.stringify(sent)) },
  {
    weight: 1,
    arbitrary: nearly(
      frame.map((sent) => JSON.stringify(sent)),
      '{}[]",:0e',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(fc.json({ maxDepth: 1 }), someBytes('{}[]",:', 20), fc.constantFrom('null', '1', '""', '[]')),
  },
);
type Step = { say: string } | { do: 'welcome' | 'wait' | 'subscribe' | 'publish' | 'ask' | 'leave' } | { end: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: text.map((say) => ({ say })) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom('welcome', 'wait', 'subscribe', 'publish', 'ask', 'leave')
      .map((what) => ({ do: what }) as Step),
  },
  { weight: 1, arbitrary: fc.constantFrom(1000, 1006, 4001, 4002, 4007, 4501, 4506, 0).map((end) => ({ end })) },
);
const waitMs = 3_000;
/** In `waitMs`. With pings, joins and retries an application with one room needs a few. */
const mostInWait = 60;

function act(client: Client, socket: FakeSocket | undefined, what: string): void {
  const room = client.room('a');
  // What is refused is nobody's fault here.
  const settled = (promise: Promise<unknown>) => void promise.catch(() => undefined);
  if (what === 'welcome') socket?.welcome();
  else if (what === 'subscribe') settled(room.subscribe());
  else if (what === 'publish') settled(room.publish(1));
  else if (what === 'ask') settled(Promise.all([room.history(), room.presence()]));
  else if (what === 'leave') settled(room.unsubscribe());
}

fuzz(
  'client',
  'whatever comes from a gateway, nothing is thrown, nothing runs without a pause, nothing is left after close',
  fc.array(step, { maxLength: 25 }),
  async (steps) => {
    // Of a case that failed.
    vi.clearAllTimers();
    const sockets: FakeSocket[] = [];
    class Socket extends FakeSocket {
      constructor(_url: string, protocols: string[]) {
        super(protocols);
        sockets.push(this);
      }
    }
    let tokens = 0;
    const getToken = () => `token-${++tokens}`;
    const client = connect('ws://gateway.example/ws', { WebSocket: Socket, getToken });
    const room = client.room('a');
    for (const name of ['message', 'gap', 'join', 'leave', 'state'] as const) room.on(name, () => undefined);
    await vi.advanceTimersByTimeAsync(0);
    for (const next of steps) {
      const socket = sockets.at(-1);
      if ('say' in next) (socket?.onmessage as ((event: object) => void) | null)?.({ data: next.say });
      else if ('end' in next) socket?.end(next.end);
      else if (next.do !== 'wait') act(client, socket, next.do);
      else {
        const work = () => sockets.length + tokens + sockets.reduce((sum, { sent }) => sum + sent.length, 0);
        const before = work();
        await vi.advanceTimersByTimeAsync(waitMs);
        expect(work() - before, 'frames, tokens and connections in 3 s').toBeLessThan(mostInWait);
      }
    }
    void client.close();
    await vi.advanceTimersByTimeAsync(waitMs);
    expect(vi.getTimerCount(), 'timers after close').toBe(0);
  },
  { share: 0.5 },
);

const line = fc.oneof(
  fc.constantFrom(
    'event: message',
    'data: {"a":1}',
    'data:x',
    ': comment',
    '',
    '',
    'retry: 3000',
    'retry: x',
    'id: e:1',
    'data',
    '\r',
  ),
  someBytes('data:event retry\r{}', 20),
);

fuzz(
  'event-stream',
  'the text of a stream makes the same events in whatever pieces it comes',
  fc.record({
    lines: fc.array(line, { maxLength: 12 }),
    cuts: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
  }),
  ({ lines, cuts }) => {
    const whole = `${lines.join('\n')}\n`;
    const told = (pieces: string[]) => {
      const reader = new EventReader();
      return [pieces.flatMap((piece) => reader.read(piece)), reader.retryMs];
    };
    const pieces: string[] = [];
    for (let at = 0, turn = 0; at < whole.length; turn++) {
      const size = cuts[turn % cuts.length] ?? 1;
      pieces.push(whole.slice(at, at + size));
      at += size;
    }
    expect(told(pieces)).toEqual(told([whole]));
  },
);
