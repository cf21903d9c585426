/**
 * A thread with members of rooms. It measures the latency from the scheduled time, and checks that every message comes once,
 * in order, and to the right connection.
 *
 * The path of a message (`text`) allocates no object and reads the clock once per chunk of bytes.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from './clock.ts';
import { Connection, type Owner } from './connection.ts';
import { dialects } from './dialects.ts';
import { ReadBuffer } from './frames.ts';
import { Histogram } from './histogram.ts';
import { findStamp, numberOf, roomOf, timeUsOf } from './payload.ts';
import type { Connected, Received, ReceiverData, ReceiverRequest, Window } from './plan.ts';
import { Sequence } from './sequence.ts';

const { audience, first, step } = workerData as ReceiverData;
const { place, rooms, roomsPerConnection, since } = audience;
const dialect = dialects[place.dialect];

class Members implements Owner {
  readonly #buffer = new ReadBuffer();
  readonly #connections: Connection[] = [];
  readonly #sequence: Sequence;
  #window: Window = { fromUs: 0, toUs: 0 };
  #latencies = new Histogram();
  #nowUs = 0;
  #received = 0;
  #inWindow = 0;
  #told = 0;
  #firstTold: string | undefined;
  #closed = 0;
  #firstClosed: string | undefined;
  #ready = 0;
  #changed: () => void = () => undefined;

  constructor() {
    for (let index = first; index < audience.connections; index += step) {
      const joins = roomsOf(index).map((room) => dialect.join(`${place.roomPrefix}${room}`, since?.[room]?.position));
      const plan = { place, port: portOf(index), index, block: audience.block, user: `u${index}`, joins };
      this.#connections.push(new Connection(plan, this, this.#buffer));
    }
    this.#sequence = new Sequence(this.#connections.length * roomsPerConnection);
    this.#eachMembership((slot, room) => this.#sequence.expect(slot, since?.[room]?.number ?? 0));
  }

  /** Messages since the last end. */
  get received(): number {
    return this.#received;
  }

  /** Opens all connections, a limited number at once, and waits until each has joined its rooms. */
  async connect(atOnce: number, deadlineMs: number): Promise<Connected> {
    const startUs = nowUs();
    const deadline = AbortSignal.timeout(deadlineMs);
    let opened = 0;
    await new Promise<void>((resolve) => {
      deadline.addEventListener('abort', () => resolve());
      this.#changed = () => {
        if (this.#ready === this.#connections.length || this.#closed > 0) resolve();
        while (opened < this.#connections.length && opened - this.#ready < atOnce) this.#connections[opened++]?.open();
      };
      this.#changed();
    });
    this.#changed = () => undefined;
    const late = this.#connections.find((connection) => !connection.isReady);
    const failure = late && (this.#firstClosed ?? `not within ${deadlineMs} ms: ${late.state}`);
    const refused = this.#connections.reduce((sum, { refusals }) => sum + refusals, 0);
    return { connections: this.#ready, refused, seconds: (nowUs() - startUs) / 1e6, failure };
  }

  begin(window: Window): void {
    this.#window = window;
    this.#latencies = new Histogram();
    this.#inWindow = 0;
    this.#told = 0;
    this.#firstTold = undefined;
  }

  end(published: Int32Array): Received {
    this.#eachMembership((slot, room) => this.#sequence.end(slot, published[room] ?? 0));
    this.#received = 0;
    return {
      counts: this.#latencies.counts,
      largest: this.#latencies.max,
      inWindow: this.#inWindow,
      faults: this.#sequence.takeFaults(),
      told: this.#told,
      firstTold: this.#firstTold,
      closed: this.#closed,
      firstClosed: this.#firstClosed,
    };
  }

  reading(): void {
    this.#nowUs = nowUs();
  }

  ready(): void {
    this.#ready++;
    this.#changed();
  }

  closed(_connection: Connection, reason: string): void {
    this.#closed++;
    this.#firstClosed ??= reason;
    this.#changed();
  }

  text(connection: Connection, bytes: Buffer, start: number, end: number): void {
    const at = findStamp(bytes, start, end, connection.stampAt);
    if (at < 0) {
      const text = bytes.toString('latin1', start, Math.min(end, start + 200));
      if (dialect.notices?.some((notice) => text.includes(notice))) return;
      this.#told++;
      this.#firstTold ??= text;
      return;
    }
    connection.stampAt = at - start;
    this.#received++;
    const { fromUs, toUs } = this.#window;
    const now = this.#nowUs;
    if (now >= fromUs && now < toUs) this.#inWindow++;
    const scheduledUs = timeUsOf(bytes, at);
    if (scheduledUs >= fromUs && scheduledUs < toUs) this.#latencies.record(now - scheduledUs);
    const offset = (roomOf(bytes, at) + rooms - firstRoomOf(connection.index)) % rooms;
    if (offset < roomsPerConnection) this.#sequence.saw(slotOf(connection.index) + offset, numberOf(bytes, at));
    else this.#sequence.misrouted++;
  }

  #eachMembership(visit: (slot: number, room: number) => void): void {
    for (const { index } of this.#connections) {
      for (const [offset, room] of roomsOf(index).entries()) visit(slotOf(index) + offset, room);
    }
  }
}

/** Both the members of a room and the rooms of a node are spread. */
function portOf(index: number): number {
  const { ports } = audience;
  return ports[(Math.floor(index / rooms) + (index % rooms)) % ports.length] ?? 0;
}

function firstRoomOf(index: number): number {
  return (index * roomsPerConnection) % rooms;
}

function roomsOf(index: number): number[] {
  return Array.from({ length: roomsPerConnection }, (_, offset) => (firstRoomOf(index) + offset) % rooms);
}

/** Of its first membership; the others follow. */
function slotOf(index: number): number {
  return Math.floor(index / step) * roomsPerConnection;
}

const members = new Members();

async function answer(request: ReceiverRequest): Promise<unknown> {
  switch (request.kind) {
    case 'connect':
      return members.connect(request.atOnce, request.deadlineMs);
    case 'begin':
      return members.begin(request.window);
    case 'progress':
      return members.received;
    case 'end':
      return members.end(request.published);
  }
}

parentPort?.on('message', (request: ReceiverRequest) => {
  answer(request).then((reply) => parentPort?.postMessage(reply));
});
