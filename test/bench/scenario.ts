/**
 * What a row of the table is made of: who is measured against whom, what is done to each, and what has to come out.
 */
import { LoadClient, type Trial } from './load/client.ts';
import type { Audience } from './load/plan.ts';
import type { Goal } from './ratios.ts';
import { highestHeld } from './search.ts';
import type { Contestant, Server } from './servers.ts';

export const payloadBytes = 128;
/** A rate is held as long as 99 of 100 messages take less. */
const heldP99Us = 100_000;
/** A search found a rate in short trials; the long one that confirms it may need a lower one. */
const confirmations = 5;
const stepDown = 0.92;

/** How much is done. `--quick` does a little of everything. */
export interface Scale {
  /** Of a trial before it is measured; the first one after connecting needs more. */
  warmSeconds: number;
  settleSeconds: number;
  seconds: number;
  searchSeconds: number;
  /** Of the planned connections, of the planned rates. */
  connectionShare: number;
  rateShare: number;
  /** What the file descriptor limit leaves. */
  maxConnections: number;
  /** Of the time in which nothing happens. */
  idleSeconds: number;
}

export interface Figure {
  key: string;
  title: string;
  unit: string;
  goal?: Goal;
}

export interface Measured {
  /** By the key of a figure. */
  values: Record<string, number>;
  /** What was lost, doubled or late: such a run counts as failed whatever its figures. */
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
  /** Undefined where the goal is a figure of the gateway alone. */
  against: Contestant | undefined;
  nodes?: number;
  figures: Figure[];
  measure(bench: Bench): Promise<Measured>;
}

export interface Shape
  extends Pick<Audience, 'connections' | 'rooms'>,
    Partial<Pick<Audience, 'roomsPerConnection' | 'since'>> {
  /** Otherwise members are on the last node alone. */
  onAllNodes?: boolean;
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

  /** So many as planned, fewer with `--quick` or where file descriptors are short. */
  connections(planned: number): number {
    return Math.min(Math.round(planned * this.scale.connectionShare), this.scale.maxConnections);
  }

  rate(planned: number): number {
    return planned * this.scale.rateShare;
  }

  /** Connects an audience, hands it to `use`, and ends it. Publishes to the first node. */
  async withAudience<Result>(
    { onAllNodes = false, ...shape }: Shape,
    use: (client: LoadClient) => Promise<Result>,
    publishes = true,
  ): Promise<Result> {
    const { dialect, nodes, pids, redisPid } = this.server;
    const ports = nodes.map(({ port }) => port);
    const [publisherPort = 0] = ports;
    const client = new LoadClient({
      audience: { dialect, ports: onAllNodes ? ports : ports.slice(-1), roomsPerConnection: 1, ...shape },
      ...(publishes && { publisherPort }),
      payloadBytes,
      threads: this.#threads,
      servers: pids,
      redis: redisPid,
    });
    try {
      return await use(client);
    } finally {
      await client.close();
    }
  }

  /** One trial at a fixed rate. */
  async trial(
    client: LoadClient,
    messagesPerSecond: number,
    seconds = this.scale.seconds,
    warmSeconds = this.scale.warmSeconds,
  ): Promise<Trial> {
    const trial = await client.run({ messagesPerSecond, warmSeconds, seconds });
    this.trials.push(trial);
    return trial;
  }

  /**
   * Connects, and one trial at a fixed rate. Its first seconds do not count: both sides compile, and collect what was left
   * by so many that have connected, which is not what a message costs.
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
    // With a part of the rates it looks for no maximum.
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

function isHeld(trial: Trial): boolean {
  return trial.held && trial.p99Us < heldP99Us;
}

/** Faults of trials that were no search. */
export function faultsOf(...trials: Trial[]): string[] {
  return trials.flatMap(({ fault, messagesPerSecond }) => {
    return fault === undefined ? [] : [`at ${Math.round(messagesPerSecond)} messages/s: ${fault}`];
  });
}
