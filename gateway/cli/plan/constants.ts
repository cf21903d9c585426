/**
 * The constants of the capacity model (gateway/cli/plan/capacity.ts): what each thing costs, its unit, and its source.
 *
 * docs/performance.md shows this table (a test holds the two equal), says how the numbers were measured, and which are
 * estimates. Measure again when the hot path, the scripts or the machine change.
 */

interface Constant {
  value: number;
  unit: string;
  meaning: string;
  /** `bench`: measured by the runs that docs/performance.md describes. `redis`: measured by test/bench/constants.mjs. */
  source: 'bench' | 'redis';
}

const bench = (value: number, unit: string, meaning: string): Constant => ({ value, unit, meaning, source: 'bench' });
const redis = (value: number, unit: string, meaning: string): Constant => ({ value, unit, meaning, source: 'redis' });

export const constants = {
  nodeBytes: bench(70e6, 'B', 'a node without clients'),
  connectionBytes: bench(1_900, 'B', 'an authenticated connection in one room, in the process'),
  socketBytes: bench(6_000, 'B', 'its socket, in the kernel'),
  membershipBytes: bench(320, 'B', 'each further room of a connection'),
  roomBytes: bench(1_000, 'B', 'a room with members on the node'),
  feedBytes: bench(1_200, 'B', 'the same, extra for history'),
  presentBytes: bench(530, 'B', 'a member of a room with presence, extra on its node'),
  pingUs: bench(32, 'us', 'a ping and its pong'),
  connectUs: bench(72, 'us', 'handshake, token (HS256) and a first room'),
  joinUs: bench(10, 'us', 'a room that is new on the node'),
  publishUs: bench(6, 'us', 'a publish, at the publishing node'),
  receiveUs: bench(20, 'us', 'a message from Redis, at each node with a member'),
  writeUs: bench(8.5, 'us', 'a write to a member: one system call for any number of frames'),
  frameUs: bench(0.25, 'us', 'a frame in such a write'),
  byteNs: bench(0.3, 'ns', 'a byte of such a frame'),
  redisPublishUs: redis(7, 'us', 'PUBLISH'),
  redisAppendUs: redis(16.5, 'us', 'a publish with history: the script, XADD, PUBLISH'),
  redisNodeUs: redis(0.7, 'us', 'delivery to each subscribed node'),
  redisReadUs: redis(15, 'us', 'a read of history with nothing new'),
  redisSubscribeUs: redis(0.7, 'us', 'SUBSCRIBE, for each channel of a batch'),
  redisPresenceUs: redis(12.5, 'us', 'a member that joins or leaves a room with presence'),
  redisBeatUs: redis(10, 'us', 'the beat of a node'),
  redisBeatNodeUs: redis(0.08, 'us', 'each other beat that it reads'),
  redisChannelBytes: redis(100, 'B', 'a channel with a subscriber'),
  redisSubscriptionBytes: redis(125, 'B', 'each node subscribed to it'),
  redisKeptBytes: redis(80, 'B', 'a message in history, beside its frame'),
  redisPositionBytes: redis(400, 'B', 'the position of a room with history'),
  redisMemberBytes: redis(95, 'B', 'a member of a room with presence'),
} as const satisfies Record<string, Constant>;
