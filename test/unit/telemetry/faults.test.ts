/**
 * gateway/telemetry/faults.ts, and what a client sees of a fault of the gateway: never its text. The request is
 * answered with `internal` and the connection stays open; an exception outside of a request closes it. The log has the
 * stack.
 */
import { expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { useFakeClock } from '../fake-clock.ts';
import { bytesOf, SocketlessNode, tokenOf } from '../socketless-node.ts';

interface Line {
  msg: string;
  error: string;
  times?: number;
  [field: string]: unknown;
}

useFakeClock();

function recordedLog() {
  const { log, lines: texts } = capturedLog();
  return {
    log,
    get lines() {
      return texts.map((text): Line => JSON.parse(text));
    },
  };
}

const secret = 'Cannot read properties of undefined (reading "internals")';

/** A backplane in which one method throws an unexpected error. */
class FaultyBackplane extends MemoryBackplane {
  faulty: 'subscribe' | 'publish' | 'read' | undefined;

  override async subscribe(room: string): Promise<void> {
    this.#fail('subscribe');
    return super.subscribe(room);
  }

  override async publish(...asked: Parameters<MemoryBackplane['publish']>) {
    this.#fail('publish');
    return super.publish(...asked);
  }

  override async read(...asked: Parameters<MemoryBackplane['read']>) {
    this.#fail('read');
    return super.read(...asked);
  }

  #fail(what: FaultyBackplane['faulty']): void {
    if (this.faulty === what) throw new TypeError(secret);
  }
}

async function connected() {
  const open = { subscribe: 'anyone', publish: 'anyone' };
  const rules = [
    { match: 'kept:*', ...open, history: {}, presence: true },
    { match: '*', ...open },
  ];
  const backplane = new FaultyBackplane(60_000);
  const recorded = recordedLog();
  const { log } = recorded;
  const world = await new SocketlessNode({ rules, backplane, log }).start();
  const { connection, socket } = world.connect();
  const ask = async (frame: object) => {
    connection.receive(bytesOf(frame));
    await vi.advanceTimersByTimeAsync(300);
    return socket.frames.at(-1);
  };
  await ask({ type: 'auth', id: 0, token: tokenOf({ user: 'ann', grants: [] }) });
  await ask({ type: 'subscribe', id: 1, room: 'kept:joined' });
  await ask({ type: 'publish', id: 2, room: 'kept:joined', data: 1 });
  return { ...world, world, backplane, recorded, connection, socket, ask };
}

test.each<[what: string, faulty: 'subscribe' | 'publish' | 'read', frame: object, again: string]>([
  ['a publish', 'publish', { type: 'publish', room: 'plain', data: 1 }, 'publish again with the same key'],
  ['a history', 'read', { type: 'history', room: 'kept:joined' }, 'ask again in a moment'],
  ['a subscribe', 'subscribe', { type: 'subscribe', room: 'plain' }, 'subscribe again in a moment'],
  ['a subscribe with history', 'read', { type: 'subscribe', room: 'kept:other' }, 'subscribe again in a moment'],
  ['a resume', 'read', { type: 'subscribe', room: 'kept:joined', since: { epoch: '', offset: 0 } }, 'subscribe again'],
])(
  '%s with an unexpected error is answered with `internal`, without its text, and the connection stays open',
  async (...row) => {
    const [, faulty, frame, again] = row;
    const { world, backplane, recorded, connection, ask } = await connected();
    if (again === 'subscribe again') await ask({ type: 'unsubscribe', id: 3, room: 'kept:joined' });
    backplane.faulty = faulty;
    const answer = await ask({ ...frame, id: 4 });
    expect(answer).toMatchObject({ type: 'error', id: 4, code: 'internal', message: expect.stringContaining(again) });
    expect(JSON.stringify(answer)).not.toContain('internals');
    expect(
      recorded.lines.filter(({ error }) => error.startsWith(`TypeError: ${secret}\n    at `)).length,
    ).toBeGreaterThan(0);
    backplane.faulty = undefined;
    expect(await ask({ ...frame, id: 5 })).not.toMatchObject({ type: 'error' });
    expect(connection.closing).toBe(false);
    await world.close();
  },
);

test('a presence request with an unexpected error is answered with `internal` too', async () => {
  const { world, ask } = await connected();
  vi.spyOn(world.store, 'page').mockRejectedValue(new TypeError(secret));
  const answer = await ask({ type: 'presence', id: 3, room: 'kept:joined' });
  expect(answer).toMatchObject({
    type: 'error',
    id: 3,
    code: 'internal',
    message: expect.stringContaining('ask again'),
  });
  expect(JSON.stringify(answer)).not.toContain('internals');
  await world.close();
});

test('an error of the backplane is answered with its own code, and is not logged as a fault', async () => {
  const { world, backplane, recorded, ask } = await connected();
  vi.spyOn(backplane, 'publish').mockRejectedValueOnce(new BackplaneError('timeout', 'Redis did not answer in time'));
  expect(await ask({ type: 'publish', id: 3, room: 'plain', data: 1 })).toMatchObject({
    code: 'timeout',
    message: 'Redis did not answer in time; publish again with the same key.',
  });
  expect(recorded.lines).toEqual([]);
  await world.close();
});

test('an exception while a member catches up closes its connection, and no other', async () => {
  const { world, recorded, connection, socket, ask } = await connected();
  const other = world.connect();
  await ask({ type: 'unsubscribe', id: 3, room: 'kept:joined' });
  const { epoch } = await world.hub.history('kept:joined', { limit: 0, maxBytes: 0 });
  const resume = bytesOf({ type: 'subscribe', id: 4, room: 'kept:joined', since: { epoch, offset: 0 } });
  const resumed = vi.spyOn(world.node.events, 'resumed').mockImplementationOnce(() => {
    throw new TypeError(secret);
  });
  connection.receive(resume);
  other.connection.receive(resume);
  await vi.advanceTimersByTimeAsync(300);
  expect(resumed).toHaveBeenCalledTimes(2);
  expect(socket.closedWith).toBe(4006);
  expect(JSON.stringify(socket.frames)).not.toContain('internals');
  expect(other.socket.frames.slice(-2)).toMatchObject([{ type: 'ok', id: 4, recovered: true }, { type: 'message' }]);
  expect(recorded.lines).toMatchObject([{ msg: 'a handler failed', connection: 'n-1-1' }]);
  await world.close();
});

test('each failing place is logged with its stack, then once a minute with a count', async () => {
  const recorded = recordedLog();
  const { log } = recorded;
  const faults = new Faults(log);
  const one = () => faults.report('it failed', new TypeError(`one ${Math.random()}`), { connection: 'c' });
  const other = () => faults.report('it failed', new RangeError('other'));
  for (let time = 0; time < 2_000; time++) one();
  other();
  expect(recorded.lines).toMatchObject([
    {
      level: 'error',
      msg: 'it failed',
      connection: 'c',
      error: expect.stringMatching(/^TypeError: one .*\n {4}at one/),
    },
    { level: 'error', msg: 'it failed', error: expect.stringMatching(/^RangeError: other\n {4}at other/) },
  ]);
  await vi.advanceTimersByTimeAsync(60_000);
  for (let time = 0; time < 10; time++) one();
  expect(recorded.lines).toHaveLength(3);
  expect(recorded.lines[2]).toMatchObject({ times: 1_999 });
});

test('a thrown value that is not an Error is logged as it is, and a long one is truncated', () => {
  const recorded = recordedLog();
  const { log } = recorded;
  const faults = new Faults(log);
  for (const thrown of ['text', undefined, null, { a: 1 }]) faults.report(`threw ${String(thrown)}`, thrown);
  faults.report('long', 'x'.repeat(1_000_000));
  expect(recorded.lines.map(({ error }) => error.slice(0, 20))).toEqual([
    'text',
    'undefined',
    'null',
    '[object Object]',
    'x'.repeat(20),
  ]);
  expect(recorded.lines.at(-1)?.error.length).toBeLessThan(3_000);
});
