/**
 * The thread that publishes by the HTTP API, in the place of gateway/cli/load/publisher.ts: to all rooms in turn, with one request
 * at a time on each of its keep-alive connections. A room has one connection, so that its messages keep their order.
 *
 * The schedule is an open loop, as there. It is not kept if the answers come too slowly.
 */
import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { nowUs } from '../../gateway/cli/load/clock.ts';
import { Histogram } from '../../gateway/cli/load/histogram.ts';
import { blankPayload, findStamp, writeStamp } from '../../gateway/cli/load/payload.ts';
import type { Published, PublisherData, PublisherRequest, Window } from '../../gateway/cli/load/plan.ts';
import { benchApiKey } from './api-key.ts';

const { place, port, connections, rooms, payloadBytes } = workerData as PublisherData;
/** Messages that are not answered by then were not sent on schedule. */
const overtimeUs = 200_000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** One keep-alive connection with at most one request under way. */
class ApiConnection {
  readonly opened: Promise<void>;
  readonly #socket: Socket;
  isBusy = false;
  failure: string | undefined;

  constructor(answered: () => void) {
    this.#socket = connect({ port, host: place.host, noDelay: true });
    this.opened = new Promise((resolve) => this.#socket.once('connect', resolve));
    this.#socket.on('data', (answer) => {
      // An answer to a publish comes in one segment.
      if (!answer.subarray(0, 12).equals(success)) this.failure ??= answer.toString('latin1');
      this.isBusy = false;
      answered();
    });
    this.#socket.on('error', (error) => this.#end(error.message, answered));
    this.#socket.on('close', () => this.#end('the node ended a connection', answered));
  }

  send(request: Buffer): void {
    this.isBusy = true;
    this.#socket.write(request);
  }

  #end(reason: string, answered: () => void): void {
    this.failure ??= reason;
    answered();
  }
}

const success = Buffer.from('HTTP/1.1 200');

class ApiPublisher {
  readonly #published = new Int32Array(rooms);
  readonly #requests = Array.from({ length: rooms }, (_, room) => requestTo(room));
  #connections: ApiConnection[] = [];
  #room = 0;
  #answered: () => void = () => undefined;

  async connect(): Promise<void> {
    this.#connections = Array.from({ length: connections }, () => new ApiConnection(() => this.#answered()));
    await Promise.all(this.#connections.map(({ opened }) => opened));
  }

  async publish(perSecond: number, startUs: number, window: Window): Promise<Published> {
    const gapUs = 1e6 / perSecond;
    const scheduled = Math.ceil((window.toUs - startUs) / gapUs);
    const firstMeasured = Math.ceil((window.fromUs - startUs) / gapUs);
    const late = new Histogram();
    let sent = 0;
    while (sent < scheduled && this.#failure === undefined && nowUs() < window.toUs + overtimeUs) {
      const dueUs = startUs + sent * gapUs;
      if (this.#next.isBusy) await new Promise<void>((resolve) => (this.#answered = resolve));
      else if (nowUs() >= dueUs || this.#isIdle) {
        late.record(sleepUntil(dueUs) - dueUs);
        this.#send(dueUs);
        sent++;
      } else await turn();
    }
    while (this.#failure === undefined && !this.#isIdle) await turn();
    return {
      published: this.#published,
      scheduled: scheduled - firstMeasured,
      sent: Math.max(0, sent - firstMeasured),
      lateP99Us: late.quantile(0.99),
      told: this.#failure === undefined ? 0 : 1,
      firstTold: this.#failure,
    };
  }

  get #next(): ApiConnection {
    return this.#connections[this.#room % connections] as ApiConnection;
  }

  get #isIdle(): boolean {
    return this.#connections.every(({ isBusy }) => !isBusy);
  }

  get #failure(): string | undefined {
    return this.#connections.find(({ failure }) => failure !== undefined)?.failure;
  }

  #send(dueUs: number): void {
    const room = this.#room;
    const { bytes, stampAt } = this.#requests[room] as ReturnType<typeof requestTo>;
    const number = this.#published[room] as number;
    writeStamp(bytes, stampAt, room, number, dueUs);
    this.#next.send(bytes);
    this.#published[room] = number + 1;
    this.#room = (room + 1) % rooms;
  }
}

function requestTo(room: number): { bytes: Buffer; stampAt: number } {
  const body = JSON.stringify({ data: blankPayload(payloadBytes) });
  const head = [
    `POST /api/rooms/${place.roomPrefix}${room}/messages HTTP/1.1`,
    `Host: ${place.host}:${port}`,
    `Authorization: Bearer ${benchApiKey}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ];
  const bytes = Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
  return { bytes, stampAt: findStamp(bytes, 0, bytes.length, 0) };
}

/** Returns the time at which it woke up. */
function sleepUntil(timeUs: number): number {
  const waitMs = (timeUs - nowUs()) / 1000;
  if (waitMs > 0) Atomics.wait(sleeper, 0, 0, waitMs);
  return nowUs();
}

const publisher = new ApiPublisher();

async function answer(request: PublisherRequest): Promise<unknown> {
  switch (request.kind) {
    case 'connect':
      return publisher.connect();
    case 'publish':
      return publisher.publish(request.perSecond, request.startUs, request.window);
  }
}

parentPort?.on('message', (request: PublisherRequest) => {
  answer(request).then((reply) => parentPort?.postMessage(reply));
});
