/** gateway/connection/inbox.ts and gateway/admission/shares.ts: requests that wait for their turn, and the end of a connection. */
import { expect, test } from 'vitest';
import { Shares } from '../../../gateway/admission/shares.ts';
import { Inbox, type InboxOwner } from '../../../gateway/connection/inbox.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { until } from '../../support/until.ts';
import { read } from '../config/configuration.ts';
import { bytesOf } from '../socketless-node.ts';

const publish = { id: 'p', type: 'publish', room: 'a', data: 1 };
const ping = (id: number) => ({ id, type: 'ping' });

/** An inbox, and what was executed. All places for publishes are taken by others. */
function world() {
  const shares = new Shares({ count: 1, bytes: 1_000_000 });
  const others = { publishing: { count: 0, bytes: 0 }, nextBytes: undefined, goOn: () => false };
  shares.publishBegan(others, 600);
  const handled: unknown[] = [];
  const failures: unknown[] = [];
  const owner = {
    ...{ dialect: roomcast, authenticating: false, closing: false },
    memberships: { isJoining: () => false },
    handle: (request: { id?: unknown }) => void handled.push(request.id),
    reply: () => undefined,
    close: () => undefined,
    fail: (error: unknown) => void failures.push(error),
  };
  const inbox = new Inbox(owner as InboxOwner, { config: read({ ANONYMOUS: 'true' }), events: tellEvents(), shares });
  const take = (frame: object) => inbox.take(bytesOf(frame), performance.now());
  const freePlace = () => shares.publishEnded(others, 600);
  return { shares, freePlace, handled, failures, owner, inbox, take };
}

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test('while all places for publishes are taken, only publishes wait, and what stands behind them', async () => {
  const { shares, freePlace, handled, take } = world();
  take(ping(1));
  take(publish);
  take(ping(2));
  await turns(3);
  expect(handled).toEqual([1]);
  freePlace();
  await until(() => handled.length === 3, 5_000, 'all are executed');
  expect(handled).toEqual([1, 'p', 2]);
  shares.close();
});

test('a connection that ends keeps nothing of what waits, and is not in the line any more', async () => {
  const { shares, freePlace, handled, inbox, take } = world();
  take(publish);
  take(ping(2));
  inbox.end();
  expect(inbox.nextBytes).toBeUndefined();
  expect(inbox.goOn(10)).toBe(false);
  freePlace();
  await turns(5);
  expect(handled).toEqual([]);
  shares.close();
});

test('a fault in a request that has waited ends its connection, not the process', async () => {
  const { shares, freePlace, failures, owner, take } = world();
  const fault = new Error('a fault');
  owner.handle = () => {
    throw fault;
  };
  take(publish);
  freePlace();
  await until(() => failures.length > 0, 5_000, 'the connection is told');
  expect(failures).toEqual([fault]);
  shares.close();
});
