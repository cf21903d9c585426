/**
 * The parts of a row of the table: the contestants, the load on each, and the goal.
 */
import { LoadClient, type Trial as LoadTrial } from '../../gateway/cli/load/client.ts';
import { type DialectName, dialects } from '../../gateway/cli/load/dialects.ts';
import type { Audience, Place } from '../../gateway/cli/load/plan.ts';
import { cpuSeconds } from './machine.ts';
import type { Goal } from './ratios.ts';
import { highestHeld } from './search.ts';
import { benchSecret, type Contestant, type Server } from './servers.ts';

export const payloadBytes = 128;
/** A rate holds while the p99 of the latency is below this. */
const heldP99Us = 100_000;
/** A search uses short trials; the long trial that confirms its rate may need a lower one. */
const confirmations = 5;
const stepDown = 0.92;
const guestsPerRoom = 10;

/** The amount of work. `--quick` does a little of everything. */
export interface Scale {
  /** Unmeasured start of a trial; the first one after connecting needs more. */
  warmSeconds: number;
  settleSeconds: number;
  seconds: number;
  searchSeconds: number;
  /** Shares of the planned connections and of the planned rates. */
  connectionShare: number;
  rateShare: number;
  /** Connections that the limit of open files allows. */
  maxConnections: number;
  /** Length of the idle time. */
  idleSeconds: number;
}

export interface Figure {
  key: string;
  title: string;
  unit: string;
  goal?: Goal;
}

/** A trial, and what the kernel counted in its measured time. */
export interface Trial extends LoadTrial {
  serverCpuShare: number;
  clientCpuShare: number;
  serverCpuUsPerDelivery: number;
  serverCpuUsPerMessage: number;
  redisCpuUsPerMessage: number;
  /** Of the node that takes the messages. */
  firstCpuUsPerMessage: number;
}

export interface Measured {
  /** By the key of a figure. */
  values: Record<string, number>;
  /** Lost, doubled or late messages: such a run counts as failed, whatever its figures. */
  faults: string[];
  /** All trials, for the JSON file. */
  trials: Trial[];
  /** For plots: by the name of a curve. */
  curves?: Record<string, [x: number, y: number][]>;
}

export interface Scenario {
  name: string;
  title: string;
  subject: Contestant;
  /** Undefined if the goal is a figure of the gateway alone. */
  against: Contestant | undefined;
  nodes?: number;
  figures: Figure[];
  measure(bench: Bench): Promise<Measured>;
}

export interface Shape
  extends Pick<Audience, 'connections' | 'rooms'>,
    Partial<Pick<Audience, 'roomsPerConnection' | 'since'>> {
  /** `r` makes the rooms r0, r1, … */
  roomPrefix?: string;
  /** Otherwise all members are on the last node. */
  onAllNodes?: boolean;
  /** Of all tokens. */
  claims?: { exp?: number };
  /** A WebSocket waits for answers, with at most 16 publishes unanswered. By the HTTP API it is so anyway. */
  answered?: boolean;
}

/** A running server, and the means to put load on it. */
export class Bench {
  readonly server: Server;
  readonly scale: Scale;
  readonly trials: Trial[] = [];
  readonly #threads: number;
  readonly #contestant: Contestant;

  constructor(contestant: Contestant, server: Server, scale: Scale, threads: number) {
    this.#contestant = contestant;
    this.server = server;
    this.scale = scale;
    this.#threads = threads;
  }

  /** Messages go in by the HTTP API. */
  get byApi(): boolean {
    return this.#contestant.apiConnections !== undefined;
  }

  /** The planned number, fewer with `--quick` or if file descriptors are short. */
  connections(planned: number): number {
    return Math.min(Math.round(planned * this.scale.connectionShare), this.scale.maxConnections);
  }

  rate(planned: number): number {
    return planned * this.scale.rateShare;
  }

  /** Connects an audience, hands it to `use`, and ends it. Publishes to the first node. */
  async withAudience<Result>(
    { onAllNodes = false, answered = false, roomPrefix = 'r', claims = {}, ...shape }: Shape,
    use: (client: LoadClient) => Promise<Result>,
    publishes = true,
  ): Promise<Result> {
    const { nodes } = this.server;
    const { dialect, publisherDialect = dialect } = this.#contestant;
    const ports = nodes.map(({ port }) => port);
    const [first] = nodes;
    const { byApi } = this;
    const script = byApi ? './api-publisher.js' : './window-publisher.js';
    const client = new LoadClient({
      audience: {
        place: placeOf(dialect, roomPrefix, claims),
        ports: onAllNodes ? ports : ports.slice(-1),
        roomsPerConnection: 1,
        ...shape,
      },
      ...(publishes && { publisherPort: (byApi ? first?.adminPort : first?.port) ?? 0 }),
      publisherPlace: placeOf(publisherDialect, roomPrefix, claims),
      publishers: this.#contestant.apiConnections ?? 1,
      ...((byApi || answered) && { publisherScript: new URL(script, import.meta.url) }),
      payloadBytes,
      threads: this.#threads,
    });
    try {
      return await use(client);
    } finally {
      await client.close();
    }
  }

  /** With the guests of the contestant, if it has any. */
  async withGuests<Result>(use: () => Promise<Result>): Promise<Result> {
    const connections = this.connections(this.#contestant.guests ?? 0);
    if (connections === 0) return use();
    const ports = this.server.nodes.map(({ port }) => port);
    const rooms = Math.ceil(connections / guestsPerRoom);
    const place = placeOf('centrifugo', 'guests');
    const audience = { place, ports, connections, rooms, roomsPerConnection: 1 };
    const guests = new LoadClient({ audience, publishers: 0, payloadBytes, threads: 1 });
    try {
      await guests.connect();
      return await use();
    } finally {
      await guests.close();
    }
  }

  /** One trial at a fixed rate. */
  async trial(
    client: LoadClient,
    messagesPerSecond: number,
    seconds = this.scale.seconds,
    warmSeconds = this.scale.warmSeconds,
  ): Promise<Trial> {
    const samples: CpuSample[] = [];
    const atEdge = () => void samples.push(this.#cpuSample());
    const load = await client.run({ messagesPerSecond, warmSeconds, seconds }, atEdge);
    const trial = { ...load, ...cpuOf(load, samples) };
    this.trials.push(trial);
    return trial;
  }

  #cpuSample(): CpuSample {
    const { pids, redisPid } = this.server;
    return {
      wall: performance.now() / 1000,
      server: cpuSeconds(pids),
      first: cpuSeconds(pids.slice(0, 1)),
      redis: cpuSeconds([redisPid]),
      client: cpuSeconds([process.pid]),
    };
  }

  /**
   * Connects, then runs one trial at a fixed rate. The first seconds do not count: both sides compile, and collect the
   * garbage of connecting, which is not the cost of a message.
   */
  async measureAt(shape: Shape, messagesPerSecond: number, seconds: number): Promise<Trial> {
    return this.withAudience(shape, async (client) => {
      await client.connect();
      return this.trial(client, this.rate(messagesPerSecond), seconds, this.scale.settleSeconds);
    });
  }

  /** A full trial at the highest rate that holds. */
  async highest(client: LoadClient, start: number, factor: number, halvings = 4): Promise<Trial> {
    const { searchSeconds, rateShare } = this.scale;
    const holds = async (rate: number) => isHeld(await this.trial(client, rate, searchSeconds));
    const first = this.rate(start) * this.#contestant.pace;
    const own = this.#contestant.pace < 1 ? 2 : factor;
    // With reduced rates it does not search for a maximum.
    const plan =
      rateShare < 1 ? { start: first, factor, halvings: 0, most: first } : { start: first, factor: own, halvings };
    let rate = await highestHeld(holds, plan);
    if (rate === 0) throw new Error(`no rate was held: ${this.trials.at(-1)?.fault ?? 'all were too slow'}`);
    for (let attempt = 0; ; attempt++, rate *= stepDown) {
      const trial = await this.trial(client, rate);
      if (isHeld(trial) || attempt === confirmations) return trial;
    }
  }
}

function placeOf(dialect: DialectName, roomPrefix: string, claims: { exp?: number } = {}): Place {
  const credentials = { secret: benchSecret, claims };
  const { path } = dialects[dialect];
  return { dialect, path, host: '127.0.0.1', secure: false, userPrefix: '', roomPrefix, credentials };
}

/** Seconds, of the wall clock and of CPUs. */
type CpuSample = Record<'wall' | 'server' | 'first' | 'redis' | 'client', number>;

function cpuOf({ deliveriesPerSecond, sentPerSecond }: LoadTrial, [from, to]: CpuSample[]) {
  const share = (of: 'server' | 'first' | 'redis' | 'client') => {
    if (from === undefined || to === undefined) throw new TypeError('a trial has a begin and an end');
    return (to[of] - from[of]) / (to.wall - from.wall);
  };
  return {
    serverCpuShare: share('server'),
    clientCpuShare: share('client'),
    serverCpuUsPerDelivery: (share('server') / deliveriesPerSecond) * 1e6,
    serverCpuUsPerMessage: (share('server') / sentPerSecond) * 1e6,
    redisCpuUsPerMessage: (share('redis') / sentPerSecond) * 1e6,
    firstCpuUsPerMessage: (share('first') / sentPerSecond) * 1e6,
  };
}

function isHeld(trial: Trial): boolean {
  return trial.held && trial.p99Us < heldP99Us;
}

/** Faults of trials outside of a search. */
export function faultsOf(...trials: Trial[]): string[] {
  return trials.flatMap(({ fault, messagesPerSecond }) => {
    return fault === undefined ? [] : [`at ${Math.round(messagesPerSecond)} messages/s: ${fault}`];
  });
}
