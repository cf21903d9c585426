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

/** An inbox, and what was executed. With `places` for publishes, all taken by others. */
function world(places = 0) {
  const shares = new Shares(places);
  const handled: unknown[] = [];
  const failures: unknown[] = [];
  const owner = {
    ...{ dialect: roomcast, publishesUnderWay: 0, authenticating: false, closing: false },
    memberships: { isJoining: () => false },
    handle: (request: { id?: unknown }) => void handled.push(request.id),
    reply: () => undefined,
    close: () => undefined,
    fail: (error: unknown) => void failures.push(error),
  };
  const inbox = new Inbox(owner as InboxOwner, { config: read({ ANONYMOUS: 'true' }), events: tellEvents(), shares });
  const take = (frame: object) => inbox.take(bytesOf(frame), performance.now());
  return { shares, handled, failures, owner, inbox, take };
}

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test('while all places for publishes are taken, only publishes wait, and what stands behind them', async () => {
  const { shares, handled, take } = world();
  take(ping(1));
  take(publish);
  take(ping(2));
  await turns(3);
  expect(handled).toEqual([1]);
  shares.publishEnded();
  await until(() => handled.length === 3, 5_000, 'all are executed');
  expect(handled).toEqual([1, 'p', 2]);
  shares.close();
});

test('a connection that ends keeps nothing of what waits, and is not in the line any more', async () => {
  const { shares, handled, inbox, take } = world();
  take(publish);
  take(ping(2));
  inbox.end();
  expect(inbox.publishesNext).toBe(false);
  expect(inbox.goOn(10)).toBe(false);
  shares.publishEnded();
  await turns(5);
  expect(handled).toEqual([]);
  shares.close();
});

test('a fault in a request that has waited ends its connection, not the process', async () => {
  const { shares, failures, owner, take } = world();
  const fault = new Error('a fault');
  owner.handle = () => {
    throw fault;
  };
  take(publish);
  shares.publishEnded();
  await until(() => failures.length > 0, 5_000, 'the connection is told');
  expect(failures).toEqual([fault]);
  shares.close();
});
