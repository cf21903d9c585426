/**
 * gateway/rooms/backpressure.ts against simulated readers: frames reach the buffers at the end of a turn of the event
 * loop, as in the WebSocket server, and readers read at random speeds. The buffer of a live reader never exceeds the
 * hard limit, so the server never drops a message.
 */
import { describe, expect, test } from 'vitest';
import { Backpressure, type Buffered, type Tally } from '../../../gateway/rooms/backpressure.ts';
import { Random } from '../random.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

class SimulatedReader implements Buffered {
  live = true;
  closing = false;
  buffered = 0;
  /** Fanned out in this turn, not in the buffer yet. */
  pending = 0;
  stalls = 0;
  wasEvicted = false;
  #softBytes: number;

  constructor(softBytes = Number.POSITIVE_INFINITY, buffered = 0) {
    this.#softBytes = softBytes;
    this.buffered = buffered;
  }

  bufferedBytes(): number {
    return this.buffered;
  }

  flush(): void {
    this.buffered += this.pending;
    this.pending = 0;
  }

  stall(): void {
    if (this.buffered <= this.#softBytes) throw new Error(`stalled with only ${this.buffered} bytes`);
    if (this.pending > 0) throw new Error('stalled with bytes outside of its buffer');
    this.live = false;
    this.stalls += 1;
  }

  evict(): void {
    this.wasEvicted = true;
    this.live = false;
  }
}

/** Size of a frame with its header (RFC 6455 section 5.2). */
function wireBytes(frameBytes: number): number {
  return frameBytes + (frameBytes < 126 ? 2 : frameBytes < 65_536 ? 4 : 10);
}

interface SimulatedRoom extends Tally {
  members: Set<SimulatedReader>;
}

function newRoom(): SimulatedRoom {
  return { members: new Set(), fannedOutBytes: 0, checkNumber: 0 };
}

const maxRooms = 3;

interface World {
  backpressure: Backpressure;
  readers: SimulatedReader[];
  rooms: SimulatedRoom[];
  random: Random;
}

function world(seed: number, hardBytes: number, paces: number): World {
  const random = new Random(seed);
  const readers: SimulatedReader[] = [];
  const readerSet = new Set<SimulatedReader>();
  const backpressure = new Backpressure(hardBytes, 0, maxRooms, readerSet);
  for (let index = 0; index < paces; index++) readers.push(new SimulatedReader(backpressure.softBytes));
  for (const reader of readers) readerSet.add(reader);
  const rooms = Array.from({ length: 6 }, newRoom);
  for (const reader of readers) {
    while (isIn(rooms, reader).length < maxRooms) random.pick(rooms).members.add(reader);
  }
  return { backpressure, readers, rooms, random };
}

function isIn(rooms: SimulatedRoom[], reader: SimulatedReader): SimulatedRoom[] {
  return rooms.filter(({ members }) => members.has(reader));
}

function fanOut({ backpressure, rooms, random }: World, frameBytes: number): void {
  const room = random.pick(rooms);
  const members = [...room.members];
  // Some frames are counted without a room, like those of presence.
  const counted = random.chance(0.8) ? room : undefined;
  backpressure.beforeFanout(frameBytes, members.filter(({ live }) => live).length, counted);
  for (const member of members) if (member.live) member.pending += wireBytes(frameBytes);
}

function move({ backpressure, rooms, readers, random }: World): void {
  const reader = random.pick(readers);
  const room = random.pick(isIn(rooms, reader));
  room.members.delete(reader);
  backpressure.memberLeft(room);
  while (isIn(rooms, reader).length < maxRooms) random.pick(rooms).members.add(reader);
}

/** The first readers read fast, the last ones never. A stalled reader goes live again at or below `resumeBytes`. */
function read({ backpressure, readers, random }: World): void {
  for (const [index, reader] of readers.entries()) {
    const pace = 1 - index / (readers.length - 1);
    reader.buffered = Math.max(0, reader.buffered - Math.floor(pace * random.next() * 2 * backpressure.softBytes));
    if (reader.buffered <= backpressure.resumeBytes) reader.live = true;
  }
}

describe('no live reader exceeds the hard limit', () => {
  test.each([
    ['small messages', 65_536, 1, 300],
    ['messages of very different sizes', 65_536, 1, 32_000],
    ['messages as large as half the hard limit', 65_536, 32_000, 32_700],
    ['a large buffer', 1_048_576, 100, 70_000],
  ])('%s', async (_, hardBytes, least, most) => {
    for (let seed = 70; seed < 75; seed++) {
      const simulated = world(seed, hardBytes, 20);
      const { readers, random } = simulated;
      for (let round = 0; round < 60; round++) {
        let bytes = random.next() * 3 * hardBytes;
        while (bytes > 0) {
          const frameBytes = random.integer(least, most);
          fanOut(simulated, frameBytes);
          bytes -= frameBytes;
          if (random.chance(0.2)) move(simulated);
          // The server may hand over earlier, for instance when it sends this reader something else.
          if (random.chance(0.05)) random.pick(readers).flush();
          const fullest = Math.max(...readers.map(({ live, buffered, pending }) => (live ? buffered + pending : 0)));
          if (fullest > hardBytes) expect.fail(`seed ${seed}: a live reader has ${fullest} of ${hardBytes} bytes`);
        }
        for (const reader of readers) reader.flush();
        await turn();
        read(simulated);
      }
      // The run was hard enough: the reader that never reads was stalled, and some others more than once.
      expect(readers.at(-1)?.stalls).toBe(1);
      expect(readers.some(({ stalls }) => stalls > 1)).toBe(true);
    }
  });
});

test('a reader that never reads is stalled in time, even if it gets a few bytes in each of many rooms and leaves them', () => {
  const reader = new SimulatedReader(5_000);
  const backpressure = new Backpressure(10_000, 0, 1, new Set([reader]));
  for (let message = 0; message < 20; message++) {
    const room = newRoom();
    backpressure.beforeFanout(900, 1, room);
    if (reader.live) reader.pending += wireBytes(900);
    reader.flush();
    backpressure.memberLeft(room);
  }
  expect(reader.live).toBe(false);
  expect(reader.buffered).toBeLessThanOrEqual(10_000);
});

test('readers that read everything in each turn never stall, at any load', async () => {
  const simulated = world(80, 65_536, 10);
  for (let round = 0; round < 300; round++) {
    fanOut(simulated, 20_000);
    for (const reader of simulated.readers) {
      reader.flush();
      reader.buffered = 0;
    }
    await turn();
  }
  expect(simulated.readers.every(({ live, stalls }) => live && stalls === 0)).toBe(true);
});

test('a check stalls exactly the live readers over half of the hard limit', () => {
  const readers = [0, 500, 501, 900].map((buffered) => new SimulatedReader(500, buffered));
  const stalled = new SimulatedReader(500, 800);
  stalled.live = false;
  const backpressure = new Backpressure(1_000, 0, 0, new Set([...readers, stalled]));
  expect([backpressure.softBytes, backpressure.resumeBytes]).toEqual([500, 250]);
  expect(backpressure.check()).toBe(2_701);
  expect(readers.map(({ live }) => live)).toEqual([true, true, false, false]);
  expect(stalled.stalls).toBe(0);
  expect(backpressure.sum()).toBe(2_701);
});

describe('checks come', () => {
  function checksOf(messages: number, roomCount: number): number {
    let checks = 0;
    const reader = new SimulatedReader();
    reader.bufferedBytes = () => {
      checks += 1;
      return 0;
    };
    const backpressure = new Backpressure(1_048_576, 0, 10, new Set([reader]));
    const rooms = Array.from({ length: roomCount }, newRoom);
    for (let message = 0; message < messages; message++) {
      backpressure.beforeFanout(500, 1, rooms[message % roomCount]);
    }
    return checks;
  }

  // 10,000 x 510 bytes are nearly ten times 524,288; a check may read the buffer twice.
  test('once per half of the hard limit, not once per message', () => {
    expect(checksOf(10_000, 1)).toBeGreaterThanOrEqual(9);
    expect(checksOf(10_000, 1)).toBeLessThanOrEqual(20);
  });

  test('no more often when 1,000 rooms share a hundred times the bytes and a connection may be in ten of them', () => {
    expect(checksOf(1_000_000, 1_000)).toBeGreaterThanOrEqual(9);
    expect(checksOf(1_000_000, 1_000)).toBeLessThanOrEqual(20);
  });
});

describe('over the total limit', () => {
  test('the fullest are evicted, and no more of them than needed (random readers)', () => {
    const random = new Random(81);
    for (let round = 0; round < 300; round++) {
      const readers = Array.from(
        { length: random.integer(1, 30) },
        () => new SimulatedReader(1e9, random.integer(0, 1_000)),
      );
      const total = random.integer(1, 12_000);
      new Backpressure(0, total, 0, new Set(readers)).check();
      const left = readers.filter(({ wasEvicted }) => !wasEvicted).map(({ buffered }) => buffered);
      const evicted = readers.filter(({ wasEvicted }) => wasEvicted).map(({ buffered }) => buffered);
      const sum = left.reduce((one, other) => one + other, 0);
      expect(sum).toBeLessThanOrEqual(total);
      if (evicted.length === 0) continue;
      expect(Math.min(...evicted)).toBeGreaterThanOrEqual(Math.max(0, ...left));
      expect(sum + Math.min(...evicted)).toBeGreaterThan(total);
    }
  });

  test('stalled readers are evicted too', () => {
    const stalled = new SimulatedReader(1e9, 900);
    stalled.live = false;
    const other = new SimulatedReader(1e9, 200);
    new Backpressure(0, 1_000, 0, new Set([stalled, other])).check();
    expect([stalled.wasEvicted, other.wasEvicted]).toEqual([true, false]);
  });

  test('a closed connection that still holds bytes is evicted first, even if others hold more', () => {
    const readers = [900, 100, 300].map((bytes) => new SimulatedReader(1e9, bytes));
    const [, closed] = readers as [SimulatedReader, SimulatedReader];
    closed.live = false;
    closed.closing = true;
    new Backpressure(0, 1_250, 0, new Set(readers)).check();
    expect(readers.map(({ wasEvicted }) => wasEvicted)).toEqual([false, true, false]);
  });

  test('many readers together exceed it by at most a quarter, whatever the limit of each', () => {
    const readers = Array.from({ length: 100 }, () => new SimulatedReader(1e9));
    const set = new Set(readers);
    const backpressure = new Backpressure(1e9, 100_000, 0, set);
    let most = 0;
    for (let message = 0; message < 100; message++) {
      backpressure.beforeFanout(90, set.size);
      for (const reader of set) {
        reader.pending += wireBytes(90);
        reader.flush();
        if (reader.wasEvicted) set.delete(reader);
      }
      most = Math.max(most, backpressure.sum());
    }
    expect(set.size).toBeLessThan(100);
    expect(most).toBeLessThanOrEqual(125_000);
  });

  test('a reader may leave the set while it is evicted', () => {
    const set = new Set<SimulatedReader>();
    for (let index = 0; index < 5; index++) {
      const reader = new SimulatedReader(1e9, 100);
      reader.evict = () => set.delete(reader);
      set.add(reader);
    }
    new Backpressure(0, 250, 0, set).check();
    expect(set.size).toBe(2);
  });
});

test('0 is no limit: no reader is stalled or evicted', async () => {
  const reader = new SimulatedReader();
  const backpressure = new Backpressure(0, 0, 0, new Set([reader]));
  for (let message = 0; message < 1_000; message++) {
    backpressure.beforeFanout(1_000_000, 1);
    reader.pending += 1_000_000;
  }
  reader.flush();
  await turn();
  backpressure.check();
  expect([reader.live, reader.wasEvicted, reader.stalls]).toEqual([true, false, 0]);
});
