/**
 * The pieces of work whose costs have a budget: what each is, and what is counted of it.
 *
 * Each is done once before it is counted, so that what is only done the first time is not.
 */
import type { OkFrame } from '../../shared/protocol.ts';
import type { Counts } from './meter.ts';
import { type MemberProtocol, publishFrame, type Stage } from './stage.ts';

interface Scenario {
  name: string;
  /** What the counts are divided by. */
  unit: string;
  counts: (keyof Counts)[];
  /** The same with native members. */
  native?: string;
  /** Builds what the work needs. The work returns how many units it was. */
  prepare(stage: Stage): Promise<() => Promise<number>>;
}

const burst = 32;
const bursts = 100;
const publishedBursts = 20;
const backendConnections = 16;
const attempts = 3;

export const scenarios: Scenario[] = [
  ...delivering('', 'gateway'),
  ...delivering(" that speak Centrifugo's JSON", 'centrifugo'),
  ...delivering(" that speak Centrifugo's Protobuf", 'centrifugoProtobuf'),
  {
    name: 'publishing: bursts of 32 messages',
    unit: 'publish',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'redisBytes', 'heapBytes'],
    prepare: (stage) => publishing(stage, 'empty', false),
  },
  {
    name: 'publishing, each acknowledged: bursts of 32 messages',
    unit: 'publish',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'redisBytes', 'heapBytes'],
    prepare: (stage) => publishing(stage, 'empty', true),
  },
  {
    name: 'publishing to a room with history, each acknowledged: bursts of 32 messages',
    unit: 'publish',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'redisBytes', 'heapBytes'],
    prepare: (stage) => publishing(stage, 'kept:empty', true),
  },
  {
    // How many of a burst share a write to Redis depends on time.
    name: 'publishing by the HTTP API: bursts of 16 requests, each on a connection of its own',
    unit: 'publish',
    counts: ['sends', 'commands', 'redisBytes', 'heapBytes'],
    prepare: async (stage) => {
      const backend = await stage.backend(backendConnections);
      return async () => {
        for (let left = 2 * publishedBursts; left > 0; left--) await backend.publish('empty');
        return 2 * publishedBursts * backendConnections;
      };
    },
  },
  {
    name: 'connecting: a connection that joins a room which has members',
    unit: 'connection',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'heapBytes'],
    prepare: async (stage) => {
      await stage.fill('joined', 1);
      return async () => {
        await stage.fill('joined', 100);
        return 100;
      };
    },
  },
  {
    name: 'joining: connections that join 100 rooms each, none of which has members',
    unit: 'room',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'redisBytes', 'heapBytes'],
    prepare: async (stage) => {
      let guests = 0;
      return async () => {
        for (let left = 10; left > 0; left--) {
          const guest = await stage.enter();
          const rooms = named(`joined:${++guests}:`, 100);
          await guest.send(rooms.map((room, id) => ({ type: 'subscribe', id, room })));
        }
        return 10 * 100;
      };
    },
  },
  {
    name: 'resuming: connections that resume 32 rooms each, a message behind',
    unit: 'room',
    counts: ['sends', 'writes', 'reads', 'all', 'commands', 'redisBytes', 'heapBytes'],
    prepare: async (stage) => {
      const rooms = named('kept:resumed:', burst);
      const host = await stage.enter();
      const joined = await host.send(rooms.map((room, id) => ({ type: 'subscribe', id, room })));
      const again = joined.map((answer) => {
        const { id, epoch, offset } = answer as OkFrame;
        return { type: 'subscribe', id, room: rooms[Number(id)], since: { epoch, offset } };
      });
      await (await stage.enter()).send(rooms.map((room, id) => publishFrame(room, id)));
      return async () => {
        // Each room is answered by an `ok`, and the message.
        for (let left = 10; left > 0; left--) await (await stage.enter()).send(again, 2 * rooms.length);
        return 10 * rooms.length;
      };
    },
  },
  {
    name: 'nothing: a connection that hears nothing, until the third canary',
    unit: 'connection',
    counts: ['sends', 'writes', 'commands'],
    prepare: async (stage) => {
      const connections = 500;
      await stage.fill('quiet', connections);
      return async () => {
        await stage.canaries(3);
        return connections;
      };
    },
  },
];

function delivering(who: string, protocol: MemberProtocol): Scenario[] {
  const scenario = (name: string, prepare: Scenario['prepare']): Scenario => ({
    name: `${name}${who}`,
    unit: 'delivery',
    counts: ['sends', 'reads', 'all', 'heapBytes'],
    ...(protocol !== 'gateway' && { native: name }),
    prepare,
  });
  return [
    scenario('a hot room: bursts of 32 messages to 30 members', async (stage) => {
      await stage.fill('hot', 30, protocol);
      return () => hearing(stage, Array(burst).fill('hot'), 30);
    }),
    scenario('many rooms: bursts of one message to each of 32 rooms of 10 members', async (stage) => {
      const rooms = named('many', burst);
      for (const room of rooms) await stage.fill(room, 10, protocol);
      return () => hearing(stage, rooms, 10);
    }),
  ];
}

/**
 * The counts of one unit of work. What else happens on the machine can only add to them, by taking a burst apart, and the
 * heap grows by whole pages: counts that are not good are taken again, and the least of each is the node's own.
 */
export async function least(
  { counts, prepare }: Scenario,
  stage: Stage,
  isGood: (counts: Partial<Counts>) => boolean,
): Promise<Partial<Counts>> {
  const work = await prepare(stage);
  await work();
  const found: Partial<Counts> = {};
  for (let attempt = 0; attempt < attempts; attempt++) {
    let units = 0;
    const spent = await stage.meter.measure(async () => {
      units = await work();
    });
    for (const name of counts) found[name] = Math.min(found[name] ?? Number.POSITIVE_INFINITY, spent[name] / units);
    if (isGood(found)) break;
  }
  return found;
}

/** Bursts of one message to each room. Returns the deliveries. */
async function hearing(stage: Stage, rooms: string[], members: number): Promise<number> {
  const deliveries = rooms.length * members;
  for (let left = bursts; left > 0; left--) await stage.heard(deliveries, () => stage.fromElsewhere(rooms));
  return bursts * deliveries;
}

/** Of a burst that is not acknowledged the last message is: Redis has taken those before it then. */
async function publishing(stage: Stage, room: string, acknowledged: boolean): Promise<() => Promise<number>> {
  const guest = await stage.enter();
  const frames = named('', burst).map((_, id) => publishFrame(room, acknowledged || id === burst - 1 ? id : undefined));
  return async () => {
    for (let left = publishedBursts; left > 0; left--) await guest.send(frames);
    return publishedBursts * burst;
  };
}

function named(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}
