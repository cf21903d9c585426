/**
 * gateway/rooms/hub.ts reports to backpressure (gateway/rooms/backpressure.ts) the room of each message, and every
 * member that leaves. One reader stands for all connections: it may be in one room at a time, and never reads.
 */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { Access, readRules } from '../../../gateway/rooms/access.ts';
import { Backpressure, type Buffered } from '../../../gateway/rooms/backpressure.ts';
import { Fanout } from '../../../gateway/rooms/fanout.ts';
import { Freeze } from '../../../gateway/rooms/freeze.ts';
import { Hub, type Room, type Watcher } from '../../../gateway/rooms/hub.ts';
import type { Presence } from '../../../gateway/rooms/presence.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { onCleanup } from '../../support/cleanup.ts';

const hardBytes = 10_000;
const message = Buffer.alloc(900);

class OneReader implements Buffered {
  live = true;
  readonly closing = false;
  buffered = 0;
  checks = 0;

  bufferedBytes(): number {
    this.checks++;
    return this.buffered;
  }

  flush(): void {
    // Fan-out here writes to the buffer at once.
  }

  stall(): void {
    this.live = false;
  }

  evict(): void {
    this.live = false;
  }
}

let reader: OneReader;
let hub: Hub;
let access: Access;

beforeEach(() => {
  reader = new OneReader();
  const freeze = new Freeze(() => undefined);
  onCleanup(() => freeze.close());
  const backpressure = new Backpressure(hardBytes, 0, 1, new Set([reader]));
  access = new Access([]);
  hub = new Hub({
    backplane: new MemoryBackplane(60_000),
    access,
    backpressure,
    fanout: new Fanout((_topic, frame) => {
      if (reader.live) reader.buffered += frame.length;
    }, backpressure),
    freeze,
    events: tellEvents(),
    presence: {} as unknown as Presence,
    faults: new Faults(createLog('silent')),
  });
});

function joinLive(name: string): Room {
  const room = hub.join(name);
  room.detached--;
  return room;
}

test('a reader that gets a few bytes in each of many rooms, and leaves them, is stalled below the hard limit', () => {
  for (let index = 0; index < 20; index++) {
    const room = joinLive(`r${index}`);
    hub.message(room.name, message, 0, undefined);
    hub.leave(room, true);
  }
  expect(reader.live).toBe(false);
  expect(reader.buffered).toBeLessThanOrEqual(hardBytes);
});

test('messages to many rooms cause no check as long as no room gets many bytes', () => {
  const rooms = Array.from({ length: 100 }, (_, index) => joinLive(`r${index}`));
  for (const { name } of rooms) hub.message(name, message, 0, undefined);
  expect(reader.checks).toBe(0);
  for (let times = 0; times < 10; times++) hub.message('r0', message, 0, undefined);
  expect(reader.checks).toBeGreaterThan(0);
});

describe('a watcher', () => {
  const watch = (room: string) => {
    const told: string[] = [];
    const watcher: Watcher = {
      message: () => told.push('message'),
      gap: () => told.push('gap'),
      ended: () => told.push('ended'),
    };
    return { told, watcher, watched: hub.watch(room, watcher) };
  };

  test('hears a room without members, which stays a room without members', async () => {
    const { told, watched, watcher } = watch('a');
    await watched;
    hub.message('a', message, 0, undefined);
    hub.gap('a', 'interrupted');
    expect(told).toEqual(['message', 'gap']);
    expect([hub.roomCount, hub.memberCount, hub.membersOf('a')]).toEqual([0, 0, 0]);
    expect(reader.buffered).toBe(0);
    hub.unwatch('a', watcher);
    hub.message('a', message, 0, undefined);
    expect(told).toHaveLength(2);
  });

  test('keeps the room subscribed for as long as it watches', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onCleanup(() => vi.useRealTimers());
    const unsubscribed = vi.spyOn(MemoryBackplane.prototype, 'unsubscribe');
    onCleanup(() => unsubscribed.mockRestore());
    const { watched, watcher } = watch('a');
    await watched;
    vi.advanceTimersByTime(60_000);
    hub.sweep();
    expect(unsubscribed).not.toHaveBeenCalled();
    hub.unwatch('a', watcher);
    hub.sweep();
    expect(unsubscribed).toHaveBeenCalledExactlyOnceWith('a');
  });

  test('is told that the room has become another kind of room', async () => {
    const { told, watched } = watch('a');
    await watched;
    const read = readRules({ rooms: [{ match: 'a', history: {} }] });
    if ('rules' in read) access.replace(read.rules);
    const [room] = [...hub.rooms];
    expect(room !== undefined && hub.replaceIfKindChanged(room)).toBe(true);
    expect(told).toEqual(['ended']);
  });
});
