/**
 * One run from beginning to end: a cluster, a crowd, and faults; then a quiet time, the rooms of every client, and the
 * history of each room. The result is a log, which checker.ts judges afterwards.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Client, connectWelcomed, okOf } from '../support/client.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { roomPlans } from './cluster.ts';
import { type Crowd, gather } from './crowd.ts';
import type { Faults, World } from './fault.ts';
import type { Entry, EntryOf, PlannedFault, RoomPlan, StoredMessage } from './log.ts';
import { inflict } from './nemesis.ts';
import type { Nodes } from './nodes.ts';
import { idOf } from './payload.ts';
import { allDialects, type Dialect } from './speech.ts';

/** The run ends after this time without any message. */
export const quietMs = 2_500;
const historyPage = 500;
const mostMembers = 1_000;
const answerDeadlineMs = 10_000;
/** Histories that are read at the same time. */
const readsAtOnce = 16;
/** The load goes on for so long after the last fault. */
const aftermathMs = 3_000;

export interface RunPlan<Site extends Nodes> {
  seed: number;
  /** Duration of the faults, if there are any; default: until each has been inflicted. */
  minutes?: number;
  clients: number;
  /** Default: all. */
  dialects?: readonly Dialect[];
  faults: Faults<Site>;
  schedule: PlannedFault[];
  /** Default: those of cluster.ts. */
  rooms?: RoomPlan[];
  /** Longest time to settle, and then to get quiet; a broken gateway may never do either. */
  patienceMs: number;
  start(): Promise<Site>;
  /** Brings the clients; default: load clients. */
  gather?(url: string, random: Random, log: Entry[]): Promise<Crowd>;
  /** Runs before the load. */
  prepare?(world: World<Site>): Promise<void>;
  /** Runs under load before the faults. */
  disturb?(world: World<Site>): Promise<void>;
}

export interface Played {
  log: Entry[];
  latencies: number[];
}

export async function play<Site extends Nodes>(plan: RunPlan<Site>): Promise<Played> {
  const { seed, minutes, clients, dialects = allDialects, schedule, rooms = roomPlans, patienceMs, start } = plan;
  const random = new Random(seed);
  const log: Entry[] = [{ t: performance.now(), event: 'run', seed, minutes: minutes ?? 0, rooms, schedule }];
  const cluster = await start();
  const { url } = cluster.balancer;
  const crowd = await (plan.gather?.(url, random, log) ?? gather(url, { count: clients, dialects, random }, log));
  await plan.prepare?.({ cluster, crowd, log });
  crowd.start();
  await plan.disturb?.({ cluster, crowd, log });
  const lastsMs = minutes === undefined ? Number.POSITIVE_INFINITY : minutes * 60_000;
  const endsAt = performance.now() + lastsMs;
  await inflict(plan, endsAt, new Random(seed), { cluster, crowd, log });
  const isStuck = log.some(({ event }) => event === 'stuck');
  if (!isStuck) await pause(minutes === undefined ? aftermathMs : Math.max(0, endsAt - performance.now()));
  await crowd.settle(patienceMs);
  await quiet(log, patienceMs);
  await readEnd(url, rooms, log).catch((error: Error) => {
    log.push({ t: performance.now(), event: 'stuck', what: `at the end the rooms cannot be read: ${error.message}` });
  });
  crowd.end();
  return { log, latencies: crowd.clients.flatMap((client) => client.latencies) };
}

async function quiet(log: Entry[], deadlineMs: number): Promise<void> {
  const lastAt = () => log.at(-1)?.t ?? 0;
  await until(() => performance.now() - lastAt() > quietMs, deadlineMs, 'nothing comes any more').catch(
    // A client still gets messages that nobody publishes: the checker reports them.
    (error: Error) => process.stderr.write(`${error.message}\n`),
  );
}

async function readEnd(url: string, rooms: readonly RoomPlan[], log: Entry[]): Promise<void> {
  const token = await mintToken({ sub: 'reader', rooms: { '*': ['history', 'presence'] } });
  const reader = await connectWelcomed(url, token);
  log.push(...(await readPresence(reader, rooms)), ...(await readHistories(reader, rooms)));
  await reader.close();
}

async function readPresence(reader: Client, rooms: readonly RoomPlan[]): Promise<Entry[]> {
  const presences: Entry[] = [];
  for (const { name: room, presence } of rooms) {
    if (!presence) continue;
    const page = await reader.request({ type: 'presence', room, limit: mostMembers }, answerDeadlineMs);
    const { count = 0, users = 0, members = [] } = okOf(page);
    const names = members.map(({ user, connection }) => user ?? connection);
    presences.push({ t: performance.now(), event: 'presence', room, members: names, count, users });
  }
  return presences;
}

async function readHistories(reader: Client, rooms: readonly RoomPlan[]): Promise<Entry[]> {
  const names = rooms.filter(({ history }) => history).map(({ name }) => name);
  const histories: Entry[] = [];
  const readOn = async () => {
    for (let room = names.pop(); room !== undefined; room = names.pop())
      histories.push(await readHistory(reader, room));
  };
  await Promise.all(Array.from({ length: readsAtOnce }, readOn));
  return histories;
}

export async function readHistory(reader: Client, room: string): Promise<EntryOf<'history'>> {
  const items: StoredMessage[] = [];
  for (let after = 0; ; ) {
    const page = await reader.request({ type: 'history', room, after, limit: historyPage }, answerDeadlineMs);
    const { epoch = '', offset = 0, first = 0, messages = [], more } = okOf(page);
    items.push(...messages.map((message) => ({ id: idOf(room, message.data), offset: message.offset ?? 0 })));
    after = items.at(-1)?.offset ?? after;
    if (!more) return { t: performance.now(), event: 'history', room, epoch, first, offset, items };
  }
}
