/**
 * The thread that publishes to all rooms in turn, on one connection, or on several that have a part of the rooms each. The
 * schedule is an open loop: each message is due at
 * its time, whether or not earlier ones have arrived, and carries its scheduled time.
 *
 * It sleeps between messages outside the event loop, because timers of Node have a resolution of a millisecond. After each
 * round of messages the loop turns once. While its socket accepts no more, it waits, and sends due messages later.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from './clock.ts';
import { Connection, type Owner } from './connection.ts';
import { dialects } from './dialects.ts';
import { clientFrame, opcode, ReadBuffer } from './frames.ts';
import { Histogram } from './histogram.ts';
import { blankPayload, findStamp, writeStamp } from './payload.ts';
import type { Published, PublisherData, PublisherRequest, Window } from './plan.ts';

const { place, port, connections, block, rooms, payloadBytes } = workerData as PublisherData;
const dialect = dialects[place.dialect];
const maxAtOnce = 256;
const maxUnsentBytes = 1024 * 1024;
/** Messages that the socket has not accepted by then were not sent on schedule. */
const overtimeUs = 200_000;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const sleeper = new Int32Array(new SharedArrayBuffer(4));

class Publisher implements Owner {
  readonly #published = new Int32Array(rooms);
  readonly #templates: { frame: Buffer; stampAt: number }[] = [];
  readonly #buffer = new ReadBuffer();
  /** Room r has connection r modulo their number, so that its messages keep their order. */
  #connections: Connection[] = [];
  #room = 0;
  #told = 0;
  #firstTold: string | undefined;
  #failure: string | undefined;
  #changed: () => void = () => undefined;

  /** To be called again after a connection has ended: with new ones the numbers of the messages go on. */
  async connect(deadlineMs: number): Promise<void> {
    const before = this.#connections;
    this.#connections = Array.from({ length: connections }, (_, index) => {
      return new Connection({ place, port, index, block, user: `publisher${index}`, joins: [] }, this, this.#buffer);
    });
    for (const connection of before) connection.close();
    this.#failure = undefined;
    await new Promise<void>((resolve, reject) => {
      this.#changed = () => {
        if (this.#failure !== undefined) reject(new Error(this.#failure));
        else if (this.#connections.every(({ isReady }) => isReady)) resolve();
      };
      const late = () => reject(new Error(this.#connections.find(({ isReady }) => !isReady)?.state));
      AbortSignal.timeout(deadlineMs).addEventListener('abort', late);
      for (const connection of this.#connections) connection.open();
    });
  }

  async publish(perSecond: number, startUs: number, window: Window): Promise<Published> {
    const gapUs = 1e6 / perSecond;
    const scheduled = Math.ceil((window.toUs - startUs) / gapUs);
    const firstMeasured = Math.ceil((window.fromUs - startUs) / gapUs);
    const late = new Histogram();
    let sent = 0;
    // The greeting is not an answer to a request.
    this.#told = 0;
    this.#firstTold = undefined;
    while (sent < scheduled && this.#failure === undefined && nowUs() < window.toUs + overtimeUs) {
      const now = sleepUntil(startUs + sent * gapUs);
      const due = Math.min(scheduled, Math.floor((now - startUs) / gapUs) + 1);
      if (due > sent && this.#unsentBytes() < maxUnsentBytes) {
        const upTo = Math.min(due, sent + maxAtOnce);
        this.#send(Array.from({ length: upTo - sent }, (_, index) => startUs + (sent + index) * gapUs));
        for (; sent < upTo; sent++) late.record(now - (startUs + sent * gapUs));
      }
      await turn();
    }
    return {
      published: this.#published,
      scheduled: scheduled - firstMeasured,
      sent: Math.max(0, sent - firstMeasured),
      lateP99Us: late.quantile(0.99),
      ended: this.#failure !== undefined,
      told: this.#told + (this.#failure === undefined ? 0 : 1),
      firstTold: this.#failure ?? this.#firstTold,
    };
  }

  reading(): void {
    // Nothing is measured here.
  }

  ready(): void {
    this.#changed();
  }

  text(_connection: Connection, bytes: Buffer, start: number, end: number): void {
    const text = bytes.toString('latin1', start, Math.min(end, start + 200));
    if (dialect.published !== undefined && text.includes(dialect.published)) return;
    this.#told++;
    this.#firstTold ??= text;
  }

  closed(connection: Connection, reason: string): void {
    if (!this.#connections.includes(connection)) return;
    this.#failure = `the publisher: ${reason}`;
    this.#changed();
  }

  #unsentBytes(): number {
    return this.#connections.reduce((sum, { unsentBytes }) => sum + unsentBytes, 0);
  }

  /** Sends one message for each of these times, on each connection in one write. */
  #send(timesUs: number[]): void {
    const first = this.#room;
    for (const [index, connection] of this.#connections.entries()) {
      const own = timesUs
        .map((timeUs, at) => ({ timeUs, room: (first + at) % rooms }))
        .filter(({ room }) => room % connections === index);
      if (own.length === 0) continue;
      const bytes = Buffer.concat(own.map(({ room }) => this.#template(room).frame));
      let at = 0;
      for (const { timeUs, room } of own) {
        const { frame, stampAt } = this.#template(room);
        const number = this.#published[room] as number;
        writeStamp(bytes, at + stampAt, room, number, timeUs);
        this.#published[room] = number + 1;
        at += frame.length;
      }
      connection.send(bytes);
    }
    this.#room = (first + timesUs.length) % rooms;
  }

  #template(room: number): { frame: Buffer; stampAt: number } {
    const known = this.#templates[room];
    if (known !== undefined) return known;
    const message = dialect.publish(`${place.roomPrefix}${room}`, blankPayload(payloadBytes));
    const frame = dialect.binary ? clientFrame(Buffer.from(message, 'latin1'), opcode.binary) : clientFrame(message);
    const template = { frame, stampAt: findStamp(frame, 0, frame.length, 0) };
    this.#templates[room] = template;
    return template;
  }
}

/** Returns the time at which it woke up. */
function sleepUntil(timeUs: number): number {
  const waitMs = (timeUs - nowUs()) / 1000;
  if (waitMs > 0) Atomics.wait(sleeper, 0, 0, waitMs);
  return nowUs();
}

const publisher = new Publisher();

async function answer(request: PublisherRequest): Promise<unknown> {
  switch (request.kind) {
    case 'connect':
      return publisher.connect(request.deadlineMs);
    case 'publish':
      return publisher.publish(request.perSecond, request.startUs, request.window);
  }
}

parentPort?.on('message', (request: PublisherRequest) => {
  answer(request).then((reply) => parentPort?.postMessage(reply));
});
