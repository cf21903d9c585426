/**
 * One run from beginning to end: a cluster, a crowd, a nemesis; then quiet, the last look of every client, and what the
 * gateway holds of each room with history. The result is a log; it is judged afterwards, by checker.ts.
 */
import { connectWelcomed, okOf } from '../support/client.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { roomPlans, startCluster } from './cluster.ts';
import { gather } from './crowd.ts';
import type { Entry, PlannedFault, StoredMessage } from './log.ts';
import { inflict } from './nemesis.ts';
import { idOf } from './payload.ts';

/** Nothing may have come for so long before the last look. */
export const quietMs = 2_500;
const quietDeadlineMs = 30_000;
const historyPage = 500;
const answerDeadlineMs = 10_000;

export interface RunPlan {
  seed: number;
  minutes: number;
  clients: number;
  schedule: PlannedFault[];
  /** As in spawnNode. */
  program?: string;
}

export interface Played {
  log: Entry[];
  latencies: number[];
}

export async function play({ seed, minutes, clients, schedule, program }: RunPlan): Promise<Played> {
  const random = new Random(seed);
  const log: Entry[] = [{ t: performance.now(), event: 'run', seed, minutes, rooms: roomPlans, schedule }];
  const cluster = await startCluster(program);
  const crowd = await gather(cluster.balancer.url, clients, random, log);
  const endsAt = performance.now() + minutes * 60_000;
  crowd.start();
  await inflict(schedule, endsAt, new Random(seed), { cluster, crowd, log });
  await until(() => performance.now() >= endsAt, minutes * 60_000, 'the time of the run is over');
  await crowd.settle();
  await quiet(log);
  crowd.end();
  log.push(...(await readHistories(cluster.balancer.url)));
  return { log, latencies: crowd.clients.flatMap((client) => client.latencies) };
}

async function quiet(log: Entry[]): Promise<void> {
  const lastAt = () => log.at(-1)?.t ?? 0;
  await until(() => performance.now() - lastAt() > quietMs, quietDeadlineMs, 'nothing comes any more').catch(
    // Somebody still gets messages that nobody publishes: the checker will say which.
    (error: Error) => process.stderr.write(`${error.message}\n`),
  );
}

async function readHistories(url: string): Promise<Entry[]> {
  const token = await mintToken({ sub: 'reader', rooms: { '*': ['history'] } });
  const reader = await connectWelcomed(url, token);
  const histories: Entry[] = [];
  for (const { name: room, history } of roomPlans) {
    if (!history) continue;
    const items: StoredMessage[] = [];
    for (let after = 0; ; ) {
      const page = await reader.request({ type: 'history', room, after, limit: historyPage }, answerDeadlineMs);
      const { epoch = '', offset = 0, first = 0, messages = [], more } = okOf(page);
      items.push(...messages.map((message) => ({ id: idOf(room, message.data), offset: message.offset ?? 0 })));
      after = items.at(-1)?.offset ?? after;
      if (more) continue;
      histories.push({ t: performance.now(), event: 'history', room, epoch, first, offset, items });
      break;
    }
  }
  await reader.close();
  return histories;
}
