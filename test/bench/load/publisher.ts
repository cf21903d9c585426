/**
 * The thread that publishes, on one connection, to all rooms in turn. The schedule is an open loop: each message is due at
 * its time, whether or not earlier ones have arrived, and carries its scheduled time.
 *
 * It sleeps between messages outside the event loop, because timers of Node have a resolution of a millisecond. After each
 * round of messages the loop turns once. While its socket accepts no more, it waits, and sends due messages later.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from './clock.ts';
import { Connection, type Owner } from './connection.ts';
import { dialects } from './dialects.ts';
import { clientFrame, ReadBuffer } from './frames.ts';
import { Histogram } from './histogram.ts';
import { blankPayload, findStamp, writeStamp } from './payload.ts';
import type { Published, PublisherData, PublisherRequest, Window } from './plan.ts';

const { dialect: dialectName, port, block, rooms, payloadBytes } = workerData as PublisherData;
const dialect = dialects[dialectName];
const maxAtOnce = 256;
const maxUnsentBytes = 1024 * 1024;
/** Messages that the socket has not accepted by then were not sent on schedule. */
const overtimeUs = 200_000;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const sleeper = new Int32Array(new SharedArrayBuffer(4));

class Publisher implements Owner {
  readonly #published = new Int32Array(rooms);
  readonly #templates: { frame: Buffer; stampAt: number }[] = [];
  readonly #connection: Connection;
  #room = 0;
  #told = 0;
  #firstTold: string | undefined;
  #failure: string | undefined;
  #changed: () => void = () => undefined;

  constructor() {
    const plan = { dialect, port, index: 0, block, user: 'publisher', joins: [] };
    this.#connection = new Connection(plan, this, new ReadBuffer());
  }

  async connect(deadlineMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#changed = () => (this.#failure === undefined ? resolve() : reject(new Error(this.#failure)));
      AbortSignal.timeout(deadlineMs).addEventListener('abort', () => reject(new Error(this.#connection.state)));
      this.#connection.open();
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
      if (due > sent && this.#connection.unsentBytes < maxUnsentBytes) {
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
    this.#told++;
    this.#firstTold ??= bytes.toString('latin1', start, Math.min(end, start + 200));
  }

  closed(_connection: Connection, reason: string): void {
    this.#failure = `the publisher: ${reason}`;
    this.#changed();
  }

  /** Sends one message for each of these times, in one write. */
  #send(timesUs: number[]): void {
    const chosen = timesUs.map((_, index) => this.#template((this.#room + index) % rooms).frame);
    const bytes = Buffer.concat(chosen);
    let at = 0;
    for (const timeUs of timesUs) {
      const { frame, stampAt } = this.#template(this.#room);
      const number = this.#published[this.#room] as number;
      writeStamp(bytes, at + stampAt, this.#room, number, timeUs);
      this.#published[this.#room] = number + 1;
      this.#room = (this.#room + 1) % rooms;
      at += frame.length;
    }
    this.#connection.send(bytes);
  }

  #template(room: number): { frame: Buffer; stampAt: number } {
    const known = this.#templates[room];
    if (known !== undefined) return known;
    const [before, after] = dialect.publish(`r${room}`);
    const frame = clientFrame(before + blankPayload(payloadBytes) + after);
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
