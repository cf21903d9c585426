/**
 * The crowd: hundreds of clients and their behaviour. Some publish, in small bursts at a steady rate, whatever the
 * gateway does (open loop). From time to time a client loses its connection, stays away, or leaves a room and returns.
 *
 * Owns the load, all drawn from one seed. It knows no faults.
 */
import { onCleanup } from '../support/cleanup.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import type { Random } from '../unit/random.ts';
import { LoadClient, type LoadClientOptions } from './client.ts';
import { burstRoom, roomPlans, trimmedRoom } from './cluster.ts';
import type { Entry } from './log.ts';
import { allDialects, type Dialect } from './speech.ts';

const tickMs = 50;
const heartbeatMs = 500;
const roomsPerClient = 5;
const usualMessagesPerSecond = 70;
const messagesInARow = 3;
const wandersPerSecond = 2;
/** One in this many stays away long enough for a small history to be trimmed. */
const longAway = 8;
const joinDeadlineMs = 40_000;
const burst = { messages: 24, length: 24_000 };
/** Longer than the longest run, and than the error of a wrong clock. */
const tokenSeconds = 2 * 24 * 3_600;

/** What the crowd needs of a client, whatever it is made of. */
export interface CrowdClient {
  readonly rooms: readonly string[];
  /** In all rooms it wants, on one connection. */
  readonly settled: boolean;
  /** Publications whose outcome is not known yet. */
  readonly unsettled: number;
  /** From the acceptance by a node to here, in ms, of every message. */
  readonly latencies: readonly number[];
  connect(): void;
  /** Called a few times a second. */
  tick?(): void;
  publish(room: string, length: number): void;
  /** Loses its connection; `silently`: the gateway is not told. It may stay away for this time. */
  lose(awayMs: number, silently: boolean): void;
  /** Leaves a room, and comes back after this time with its old position. */
  wander(room: string, awayMs: number): void;
  /** Logs its rooms, and ends. */
  end(): void;
}

export interface CrowdPlan {
  count: number;
  random: Random;
  /** Of the clients, in turn; default: all. */
  dialects?: readonly Dialect[];
  /** Connections lost per second, beside those that the faults cost; default: 4. */
  lossesPerSecond?: number;
  /** Published by all clients together; default: 70. */
  messagesPerSecond?: number;
  /** The rooms of the client with this index; default: five of those of cluster.ts. */
  roomsOf?(index: number): string[];
  /** Makes a client; default: a load client. */
  make?(options: LoadClientOptions): CrowdClient;
}

export interface Crowd {
  readonly clients: readonly CrowdClient[];
  start(): void;
  /** Large messages in one burst: more than a Redis with a small output limit can send. */
  burst(): void;
  /** Stops new messages and losses; resolves when all are in their rooms again and every outcome is known. */
  settle(deadlineMs: number): Promise<void>;
  end(): void;
}

export async function gather(url: string, plan: CrowdPlan, log: Entry[]): Promise<Crowd> {
  const { count, random, lossesPerSecond = 4, messagesPerSecond = usualMessagesPerSecond } = plan;
  const { dialects = allDialects, make = (options) => new LoadClient(options) } = plan;
  const names = roomPlans.map(({ name }) => name);
  const roomsOf = plan.roomsOf ?? (() => random.shuffled(names).slice(0, roomsPerClient));
  const clients: CrowdClient[] = [];
  for (let index = 0; index < count; index++) {
    const name = `c${index}`;
    const token = await mintToken({ sub: name, exp: Math.floor(Date.now() / 1000) + tokenSeconds });
    const seed = random.integer(0, 2 ** 31);
    const rooms = roomsOf(index);
    const dialect = dialects[index % dialects.length] ?? 'native';
    clients.push(make({ name, dialect, url, token, rooms, seed, log }));
  }
  const inTrimmed = clients.filter(({ rooms }) => rooms.includes(trimmedRoom));
  const inBurst = clients.filter(({ rooms }) => rooms.includes(burstRoom));

  let running = false;
  let before = 0;
  let due = { messages: 0, losses: 0, wanders: 0 };
  const heartbeats = setInterval(() => {
    for (const client of clients) client.tick?.();
  }, heartbeatMs);
  const timer = setInterval(() => {
    const now = performance.now();
    const seconds = (now - before) / 1000;
    before = now;
    if (!running) return;
    due = {
      messages: due.messages + seconds * messagesPerSecond,
      losses: due.losses + seconds * lossesPerSecond,
      wanders: due.wanders + seconds * wandersPerSecond,
    };
    for (; due.messages >= messagesInARow; due.messages -= messagesInARow) publish();
    for (; due.losses >= 1; due.losses--) lose();
    for (; due.wanders >= 1; due.wanders--) {
      const client = random.pick(clients);
      client.wander(random.pick(client.rooms), random.integer(0, 1_500));
    }
  }, tickMs);

  function publish(): void {
    const client = random.pick(clients);
    // The room with a small history is busy, so that it is trimmed while a client is away.
    const room = client.rooms.includes(trimmedRoom) && random.chance(0.4) ? trimmedRoom : random.pick(client.rooms);
    for (let count = 0; count < messagesInARow; count++) client.publish(room, random.integer(20, 400));
  }

  function lose(): void {
    const silently = random.chance(0.3);
    if (random.integer(1, longAway) === 1) random.pick(inTrimmed).lose(6_000, silently);
    else random.pick(clients).lose(random.integer(0, 500), silently);
  }

  const end = () => {
    clearInterval(timer);
    clearInterval(heartbeats);
    for (const client of clients) client.end();
  };
  onCleanup(end);
  const settled = () => clients.every((client) => client.settled && client.unsettled === 0);
  for (const client of clients) client.connect();
  await until(() => clients.every((client) => client.settled), joinDeadlineMs, 'all clients are in their rooms');
  return {
    clients,
    start() {
      before = performance.now();
      running = true;
    },
    burst() {
      const client = random.pick(inBurst);
      for (let count = 0; count < burst.messages; count++) client.publish(burstRoom, burst.length);
    },
    async settle(deadlineMs) {
      running = false;
      await until(settled, deadlineMs, 'all clients are back, and know what became of their messages').catch(
        // The checker finds what is missing: the log says who is in which room at the end.
        (error: Error) => process.stderr.write(`${error.message}\n`),
      );
    },
    end,
  };
}
