/**
 * The thread that publishes and waits for answers, in the place of gateway/cli/load/publisher.ts: to all rooms in turn, with at
 * most so many publishes unanswered. How they go out is a `Way`: by the HTTP API, or by a WebSocket.
 *
 * The schedule is an open loop, as there. It is not kept if the answers come too slowly.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from '../../gateway/cli/load/clock.ts';
import { Histogram } from '../../gateway/cli/load/histogram.ts';
import { blankPayload, findStamp, writeStamp } from '../../gateway/cli/load/payload.ts';
import type { Published, PublisherData, PublisherRequest, Window } from '../../gateway/cli/load/plan.ts';

export const publisherData = workerData as PublisherData;

/** Takes publishes, and reports their answers. */
export interface Way {
  /** Opens its connections; after a failure, new ones. Rejects if it cannot. */
  connect(deadlineMs: number): Promise<void>;
  /** The bytes of a publish to a room, with `payload` in it. */
  request(room: number, payload: string): Buffer;
  /** A publish to this room may be sent now. */
  isFree(room: number): boolean;
  /** No publish is unanswered. */
  readonly isIdle: boolean;
  /** `request` is sent by the next `flush` at the latest. */
  send(room: number, request: Buffer): void;
  flush(): void;
  /** A connection ended, or an answer was none to a publish that was taken. */
  readonly failure: string | undefined;
  /** Is called after answers, and after a failure. */
  changed: () => void;
}

const { rooms, payloadBytes } = publisherData;
/** Messages that are not answered by then were not sent on schedule. */
const overtimeUs = 200_000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

interface Request {
  bytes: Buffer;
  /** Where the message has its stamp. */
  stampAt: number;
}

class AnsweredPublisher {
  readonly #way: Way;
  readonly #published = new Int32Array(rooms);
  readonly #requests: Request[];
  #room = 0;

  constructor(way: Way) {
    this.#way = way;
    this.#requests = Array.from({ length: rooms }, (_, room) => {
      const bytes = way.request(room, blankPayload(payloadBytes));
      return { bytes, stampAt: findStamp(bytes, 0, bytes.length, 0) };
    });
  }

  async publish(perSecond: number, startUs: number, window: Window): Promise<Published> {
    const way = this.#way;
    const gapUs = 1e6 / perSecond;
    const scheduled = Math.ceil((window.toUs - startUs) / gapUs);
    const firstMeasured = Math.ceil((window.fromUs - startUs) / gapUs);
    const late = new Histogram();
    let sent = 0;
    while (sent < scheduled && way.failure === undefined && nowUs() < window.toUs + overtimeUs) {
      const dueUs = startUs + sent * gapUs;
      if (way.isFree(this.#room) && (nowUs() >= dueUs || way.isIdle)) {
        late.record(sleepUntil(dueUs) - dueUs);
        this.#send(dueUs);
        sent++;
      } else {
        way.flush();
        if (way.isFree(this.#room)) await turn();
        else await this.#change();
      }
    }
    way.flush();
    while (way.failure === undefined && !way.isIdle) await turn();
    const { failure } = way;
    return {
      published: this.#published,
      scheduled: scheduled - firstMeasured,
      sent: Math.max(0, sent - firstMeasured),
      lateP99Us: late.quantile(0.99),
      ended: failure !== undefined,
      told: failure === undefined ? 0 : 1,
      firstTold: failure,
    };
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#way.changed = resolve;
    });
  }

  #send(dueUs: number): void {
    const room = this.#room;
    const { bytes, stampAt } = this.#requests[room] as Request;
    const number = this.#published[room] as number;
    writeStamp(bytes, stampAt, room, number, dueUs);
    this.#way.send(room, bytes);
    this.#published[room] = number + 1;
    this.#room = (room + 1) % rooms;
  }
}

/** Returns the time at which it woke up. */
function sleepUntil(timeUs: number): number {
  const waitMs = (timeUs - nowUs()) / 1000;
  if (waitMs > 0) Atomics.wait(sleeper, 0, 0, waitMs);
  return nowUs();
}

/** Answers the requests to this thread. */
export function serve(way: Way): void {
  const publisher = new AnsweredPublisher(way);
  const answer = async (request: PublisherRequest): Promise<unknown> => {
    switch (request.kind) {
      case 'connect':
        return way.connect(request.deadlineMs);
      case 'publish':
        return publisher.publish(request.perSecond, request.startUs, request.window);
    }
  };
  parentPort?.on('message', (request: PublisherRequest) => {
    answer(request).then((reply) => parentPort?.postMessage(reply));
  });
}
