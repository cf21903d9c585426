/**
 * The load client of `roomcast load` and of the benchmarks: threads with members, a thread that publishes, and the result of a
 * trial, from their counts.
 *
 * A trial only holds if every member got every message, once and in order, and the schedule was kept.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { nowUs } from './clock.ts';
import { Histogram, type Quantiles } from './histogram.ts';
import type {
  Audience,
  Connected,
  Place,
  Published,
  PublisherData,
  PublisherRequest,
  Received,
  ReceiverRequest,
  Window,
} from './plan.ts';
import type { Faults } from './sequence.ts';

const connectDeadlineMs = 120_000;
const connectAtOnce = 200;
/** Messages published without measuring. */
const fillPerSecond = 8000;
/** Time from the request to publish to the first message. */
const leadUs = 20_000;
const progressIntervalMs = 20;
const drainDeadlineMs = 15_000;
/** After this time without a message, none will come. */
const quietMs = 3_000;
/** Share of the schedule that must be sent when its time is over. */
const leastSent = 0.985;

let blocksUsed = process.pid;

export interface Load {
  audience: Omit<Audience, 'block'>;
  /** Where messages are published; undefined: nothing is published. */
  publisherPort?: number;
  /** Where publishers speak another protocol than members. */
  publisherPlace?: Place;
  /** Connections that publish, to a part of the rooms each. */
  publishers: number;
  /** The thread that publishes, if not publisher.ts. */
  publisherScript?: URL;
  payloadBytes: number;
  threads: number;
}

export interface TrialPlan {
  messagesPerSecond: number;
  warmSeconds: number;
  seconds: number;
}

export interface Trial extends Faults, Quantiles {
  /** No fault, and the schedule was kept. */
  held: boolean;
  /** What was wrong, in words. */
  fault: string | undefined;
  messagesPerSecond: number;
  sentPerSecond: number;
  deliveriesPerSecond: number;
  /** Lateness of the load client itself; part of the latencies. */
  lateP99Us: number;
}

export class LoadClient {
  readonly #load: Load;
  readonly #receivers: Thread<ReceiverRequest>[];
  readonly #publisher: Thread<PublisherRequest> | undefined;
  /** By room. */
  readonly #members: Int32Array;
  #published: Int32Array;
  #publisherEnded = false;

  constructor(load: Load) {
    const { publisherPort, publisherPlace, publishers: connections, payloadBytes, threads } = load;
    const block = nextBlock();
    const audience: Audience = { ...load.audience, block };
    const { place, rooms } = audience;
    this.#load = load;
    this.#receivers = Array.from({ length: threads }, (_, first) => {
      return new Thread<ReceiverRequest>(script('receiver'), { audience, first, step: threads });
    });
    if (publisherPort !== undefined) {
      const at = publisherPlace ?? place;
      const data: PublisherData = { place: at, port: publisherPort, connections, block, rooms, payloadBytes };
      this.#publisher = new Thread<PublisherRequest>(load.publisherScript ?? script('publisher'), data);
    }
    this.#members = membersOf(audience);
    this.#published = Int32Array.from({ length: rooms }, (_, room) => audience.since?.[room]?.number ?? 0);
  }

  /** Opens the publisher, then all members, so many at once. Rejects if one fails. */
  async connect(membersAtOnce = connectAtOnce): Promise<Connected> {
    await this.#publisher?.ask({ kind: 'connect', deadlineMs: connectDeadlineMs });
    const atOnce = Math.ceil(membersAtOnce / this.#receivers.length);
    const request: ReceiverRequest = { kind: 'connect', atOnce, deadlineMs: connectDeadlineMs };
    const all = await this.#askReceivers<Connected>(request);
    const failure = all.find((one) => one.failure !== undefined)?.failure;
    const connections = all.reduce((sum, one) => sum + one.connections, 0);
    if (failure !== undefined) {
      throw new Error(`${connections} of ${this.#load.audience.connections} connections joined; one: ${failure}`);
    }
    const refused = all.reduce((sum, one) => sum + one.refused, 0);
    return { connections, refused, seconds: Math.max(...all.map((one) => one.seconds)), failure };
  }

  /**
   * `atEdge` is called when the measured time begins, and when it ends. A server that closes the publisher because it cannot
   * keep up fails this trial only: the next one connects again.
   */
  async run({ messagesPerSecond, warmSeconds, seconds }: TrialPlan, atEdge?: () => void): Promise<Trial> {
    if (this.#publisher === undefined) throw new TypeError('a trial needs publisherPort');
    if (this.#publisherEnded) await this.#publisher.ask({ kind: 'connect', deadlineMs: connectDeadlineMs });
    const startUs = nowUs() + leadUs;
    const fromUs = startUs + warmSeconds * 1e6;
    const window: Window = { fromUs, toUs: fromUs + seconds * 1e6 };
    await this.#askReceivers({ kind: 'begin', window });
    const publishing = this.#publisher.ask<Published>({
      kind: 'publish',
      perSecond: messagesPerSecond,
      startUs,
      window,
    });
    await sleepUntil(window.fromUs);
    atEdge?.();
    await sleepUntil(window.toUs);
    atEdge?.();
    const published = await publishing;
    this.#publisherEnded = published.ended;
    const received = await this.#drain(published.published);

    const latencies = new Histogram();
    for (const { counts, largest } of received) latencies.add(new Histogram(counts, largest));
    const sum = (pick: (one: Received) => number) => received.reduce((total, one) => total + pick(one), 0);
    const inWindow = sum((one) => one.inWindow);
    const faults = {
      lost: sum(({ faults }) => faults.lost),
      duplicates: sum(({ faults }) => faults.duplicates),
      reordered: sum(({ faults }) => faults.reordered),
      misrouted: sum(({ faults }) => faults.misrouted),
    };
    const fault = faultOf(faults, received, published);
    return {
      held: fault === undefined,
      fault,
      messagesPerSecond,
      sentPerSecond: published.sent / seconds,
      deliveriesPerSecond: inWindow / seconds,
      ...faults,
      ...latencies.quantiles(),
      lateP99Us: published.lateP99Us,
    };
  }

  /** Publishes this many messages to each room and waits until they have arrived; returns the count of each room. */
  async fill(messagesPerRoom: number): Promise<Int32Array> {
    if (this.#publisher === undefined) throw new TypeError('filling needs publisherPort');
    const startUs = nowUs() + leadUs;
    // Minus half a message, so that the last one is due just before the end.
    const seconds = (this.#load.audience.rooms * messagesPerRoom - 0.5) / fillPerSecond;
    const window = { fromUs: startUs, toUs: startUs + seconds * 1e6 };
    const request: PublisherRequest = { kind: 'publish', perSecond: fillPerSecond, startUs, window };
    const { published, firstTold } = await this.#publisher.ask<Published>(request);
    if (firstTold !== undefined) throw new Error(`an unexpected answer: ${firstTold}`);
    await this.settle(published);
    return published;
  }

  /** Waits until all published messages have arrived. Rejects if one did not, or not once and in order. */
  async settle(published: Int32Array): Promise<void> {
    const received = await this.#drain(published);
    for (const one of received) {
      const { lost, duplicates, reordered, misrouted } = one.faults;
      if (lost + duplicates + reordered + misrouted > 0) {
        throw new Error(`members lack messages, or got others: ${JSON.stringify(one.faults)} ${one.firstTold ?? ''}`);
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#receivers, ...(this.#publisher ? [this.#publisher] : [])].map((one) => one.end()));
  }

  async #drain(published: Int32Array): Promise<Received[]> {
    const expected = published.reduce((sum, messages, room) => {
      return sum + (messages - (this.#published[room] ?? 0)) * (this.#members[room] ?? 0);
    }, 0);
    const deadline = Date.now() + drainDeadlineMs;
    let last = -1;
    let lastChange = Date.now();
    while (Date.now() < deadline && Date.now() - lastChange < quietMs) {
      const progress = await this.#askReceivers<number>({ kind: 'progress' });
      const received = progress.reduce((sum, one) => sum + one, 0);
      if (received >= expected) break;
      if (received !== last) lastChange = Date.now();
      last = received;
      await new Promise((resolve) => setTimeout(resolve, progressIntervalMs));
    }
    this.#published = published;
    return this.#askReceivers<Received>({ kind: 'end', published });
  }

  #askReceivers<Answer>(request: ReceiverRequest): Promise<Answer[]> {
    return Promise.all(this.#receivers.map((receiver) => receiver.ask<Answer>(request)));
  }
}

const script = (name: 'receiver' | 'publisher') => new URL(`./${name}.js`, import.meta.url);

/** A worker that answers each request once, in order. */
class Thread<Request> {
  readonly #worker: Worker;
  #last: Promise<unknown> = Promise.resolve();

  constructor(file: URL, workerData: object) {
    this.#worker = new Worker(file, { workerData });
  }

  ask<Answer>(request: Request): Promise<Answer> {
    const answer = this.#last.then(async () => {
      this.#worker.postMessage(request);
      // Rejects with the error of a worker that fails.
      const [reply] = (await once(this.#worker, 'message')) as [Answer];
      return reply;
    });
    this.#last = answer;
    return answer;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Each audience has separate source addresses: the kernel keeps the ports of closed connections for a minute. */
function nextBlock(): number {
  blocksUsed++;
  return 1 + (blocksUsed % 250);
}

function membersOf({ connections, rooms, roomsPerConnection }: Omit<Audience, 'block'>): Int32Array {
  const members = new Int32Array(rooms);
  for (let membership = 0; membership < connections * roomsPerConnection; membership++) {
    (members[membership % rooms] as number)++;
  }
  return members;
}

function faultOf(faults: Faults, received: Received[], published: Published): string | undefined {
  const found = Object.entries(faults).filter(([, count]) => count > 0);
  const told = [published, ...received].find((one) => one.told > 0);
  const said = told && `an unexpected answer: ${told.firstTold}`;
  if (found.length > 0) {
    const counts = found.map(([kind, count]) => `${count} ${kind}`).join(', ');
    return said === undefined ? counts : `${counts}; ${said}`;
  }
  const closed = received.find((one) => one.firstClosed !== undefined);
  if (closed !== undefined) return `a member's connection ended: ${closed.firstClosed}`;
  if (said !== undefined) return said;
  if (published.sent < published.scheduled * leastSent) return 'the schedule was not kept';
  return undefined;
}

async function sleepUntil(us: number): Promise<void> {
  const waitMs = (us - nowUs()) / 1000;
  if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
}
