/**
 * A node as the backplane sees it: a listener that writes down what it is told, in order, and the backplane it is told by.
 *
 * Owns the backplane's end. Frames are kept as they came and read only when a test asks, so one that changes later shows.
 */
import type { Backplane, BackplaneListener, PresenceUpdate, Publication } from '../../gateway/backplane/backplane.ts';
import { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import type { JoinLeaveFrame, Position } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';

export type Event =
  | { kind: 'message'; room: string; frame: Uint8Array; at: number; position: Position | undefined }
  | { kind: 'gap'; room: string; why: 'interrupted' | 'unreadable' };

const deadlineMs = 10_000;
/** As `redis-cli --cluster create` gives them to three primaries. */
const thirds = [0, 5_461, 10_923].map((from) => Array.from({ length: 5_461 }, (_, index) => from + index));
let count = 0;

/** A publication to a plain room, with its finished frame. */
export interface PlainPublication extends Publication {
  frame: string;
}

/** A publication to a plain room whose data tells it from every other one. */
export function publication(room: string, fields: Partial<PlainPublication> = {}): PlainPublication {
  count += 1;
  const frame = fields.frame ?? `{"type":"message","room":"${room}","data":${count}}`;
  return { room, frame, prefix: frame, suffix: '', at: Date.now(), ...fields };
}

/** A publication to a room with history, whose data tells it from every other one. */
export function keptPublication(room: string, fields: Partial<Publication> = {}): Publication {
  count += 1;
  const history = { size: 100, maxBytes: 1_048_576, ttlSeconds: 60 };
  return { room, prefix: '{"offset":', suffix: `,"data":${count}}`, at: Date.now(), history, ...fields };
}

export class Recorder implements BackplaneListener {
  readonly backplane: Backplane;
  readonly events: Event[] = [];
  /** Join and leave frames. */
  readonly told: JoinLeaveFrame[] = [];
  /** Rooms that were counted anew, each time. */
  readonly recounts: string[] = [];
  readonly roundTrips: number[] = [];
  reconnects = 0;
  /** True while a test calls the backplane. */
  calling = false;
  calledFromWithin = 0;

  constructor(backplane: Backplane) {
    this.backplane = backplane;
    onCleanup(() => backplane.close());
  }

  async start(): Promise<this> {
    await this.backplane.start(this);
    return this;
  }

  message(room: string, frame: Uint8Array, at: number, position: Position | undefined): void {
    this.#told({ kind: 'message', room, frame, at, position });
  }

  gap(room: string, why: 'interrupted' | 'unreadable'): void {
    this.#told({ kind: 'gap', room, why });
  }

  presence(update: PresenceUpdate): void {
    if (update.type === 'recount') this.recounts.push(update.room);
    else this.told.push(update);
  }

  roundTrip(seconds: number): void {
    this.roundTrips.push(seconds);
  }

  reconnected(): void {
    this.reconnects += 1;
  }

  /** The frames of a room, as text, in order. */
  frames(room: string): string[] {
    return this.events.flatMap((event) =>
      event.kind === 'message' && event.room === room ? [Buffer.from(event.frame).toString('utf8')] : [],
    );
  }

  /** What was told of a room, in order: frames as text, and why messages are missing. */
  story(room: string): string[] {
    const ofRoom = this.events.filter((event) => event.room === room);
    return ofRoom.map((event) => (event.kind === 'gap' ? event.why : Buffer.from(event.frame).toString('utf8')));
  }

  roomsWithGap(): string[] {
    return this.events.flatMap((event) => (event.kind === 'gap' ? [event.room] : []));
  }

  untilFrames(room: string, number: number): Promise<unknown> {
    return until(() => this.frames(room).length >= number, deadlineMs, `${number} messages of ${room}`);
  }

  untilUp(up: boolean): Promise<unknown> {
    return until(() => this.backplane.up === up, deadlineMs, `the backplane is ${up ? 'up' : 'down'}`);
  }

  /**
   * Resolves when everything that was published before has arrived, if it was going to: the way is one queue; in a cluster of
   * three, one for each third of the slots.
   */
  async fence(publisher: Recorder = this): Promise<void> {
    const name = `fence:${count}`;
    const rooms =
      this.backplane instanceof ClusterBackplane ? thirds.map((slots) => roomIn(slots, `${name}:`)) : [name];
    for (const room of rooms) {
      await this.backplane.subscribe(room);
      await publisher.backplane.publish(publication(room));
      await this.untilFrames(room, 1);
      this.backplane.unsubscribe(room);
    }
  }

  #told(event: Event): void {
    if (this.calling) this.calledFromWithin += 1;
    this.events.push(event);
  }
}

/** Makes the backplanes of all nodes that are on one and the same; not started yet. */
export type CreateBackplanes = (dedupeMs: number) => Backplane[];

/** Starts all nodes. `one` and `other` are the same node where there is only one. */
export async function startNodes(create: CreateBackplanes, dedupeMs = 60_000) {
  const nodes = await Promise.all(create(dedupeMs).map((backplane) => new Recorder(backplane).start()));
  const [one, other] = [nodes[0], nodes.at(-1)];
  if (one === undefined || other === undefined) throw new Error('create made no backplane');
  return { nodes, one, other };
}

/** Starts all nodes and subscribes each to these rooms. */
export async function subscribedNodes(create: CreateBackplanes, ...rooms: string[]) {
  const started = await startNodes(create);
  await Promise.all(started.nodes.flatMap(({ backplane }) => rooms.map((room) => backplane.subscribe(room))));
  return started;
}

/** The code with which a publication or subscription was refused, or 'taken'. */
export function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'taken',
    (error: { code?: string }) => error.code ?? String(error),
  );
}
