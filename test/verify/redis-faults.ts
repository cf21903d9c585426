/** Faults of the one Redis of all nodes: its process, its limits, its users, and what other clients do to it. */
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../support/until.ts';
import { administer } from './administrator.ts';
import { redisUser } from './cluster.ts';
import type { Fault } from './fault.ts';
import { presenceRoom } from './nodes.ts';

const pubsubLimit = { small: 'pubsub 32kb 0 0', usual: 'pubsub 32mb 8mb 60' };
/** Enough for the administrator and some of the nine connections of three nodes. */
const fewClients = 6;
const usualClients = 10_000;
/** After this time Redis answers BUSY while a script runs, and the script can be killed. */
const busyAfterMs = { soon: 1_000, usual: 5_000 };
const endDeadlineMs = 10_000;

export const redisFaults = {
  'Redis killed': {
    holdMs: [200, 1_500],
    async inflict({ cluster }, { holdMs }) {
      await cluster.redis.kill();
      await pause(holdMs);
      await cluster.redis.start();
    },
  },
  'Redis emptied': {
    holdMs: [0, 0],
    async inflict({ cluster, log }) {
      const from = performance.now();
      await cluster.emptyRedis();
      log.push({ t: performance.now(), event: 'wipe', from });
    },
  },
  'Redis frozen': {
    holdMs: [500, 4_000],
    async inflict({ cluster }, { holdMs }) {
      await cluster.redis.pause();
      await pause(holdMs);
      await cluster.redis.resume();
    },
  },
  'Redis slow': {
    holdMs: [1_000, 3_000],
    async inflict({ cluster }, { holdMs }) {
      const end = performance.now() + holdMs;
      // A new pause waits for the end of the last one.
      while (performance.now() < end) await cluster.tellRedis('CLIENT', 'PAUSE', 300, 'ALL');
    },
  },
  'clients paused': paused('ALL'),
  'writers paused': paused('WRITE'),
  'slow script': {
    holdMs: [2_000, 7_000],
    async inflict({ cluster }, { holdMs }) {
      // New connections get BUSY meanwhile, also the administrator's.
      await administer(cluster.redis, async (tell) => {
        await tell('CONFIG', 'SET', 'busy-reply-threshold', busyAfterMs.soon);
        const ended = cluster.tellRedis('EVAL', 'while true do end', 0).catch((error: Error) => error.message);
        await pause(holdMs);
        await until(() => tell('SCRIPT', 'KILL'), endDeadlineMs, 'the script is ended');
        if (!/killed/.test(String(await ended))) throw new Error(`the script did not run: ${await ended}`);
        await tell('CONFIG', 'SET', 'busy-reply-threshold', busyAfterMs.usual);
      });
    },
  },
  'scripts flushed': {
    holdMs: [500, 1_500],
    async inflict({ cluster }, { holdMs }) {
      const end = performance.now() + holdMs;
      do {
        await cluster.tellRedis('SCRIPT', 'FLUSH');
        await pause(100);
      } while (performance.now() < end);
    },
  },
  'memory full': {
    holdMs: [1_000, 3_000],
    async inflict({ cluster }, { holdMs }) {
      await cluster.tellRedis('CONFIG', 'SET', 'maxmemory', 1);
      await pause(holdMs);
      await cluster.tellRedis('CONFIG', 'SET', 'maxmemory', 0);
    },
  },
  'output limit': {
    holdMs: [500, 1_000],
    async inflict({ cluster, crowd }, { holdMs }) {
      await cluster.tellRedis('CONFIG', 'SET', 'client-output-buffer-limit', pubsubLimit.small);
      crowd.burst();
      await pause(holdMs);
      await cluster.tellRedis('CONFIG', 'SET', 'client-output-buffer-limit', pubsubLimit.usual);
    },
  },
  'too many clients': {
    holdMs: [1_000, 3_000],
    async inflict({ cluster }, { holdMs }) {
      // Later connections are refused, also the administrator's.
      await administer(cluster.redis, async (tell) => {
        await tell('CONFIG', 'SET', 'maxclients', fewClients);
        const end = performance.now() + holdMs;
        do {
          await tell('CLIENT', 'KILL', 'USER', redisUser.name);
          await pause(500);
        } while (performance.now() < end);
        await tell('CONFIG', 'SET', 'maxclients', usualClients);
      });
    },
  },
  'subscribers killed': {
    holdMs: [0, 0],
    async inflict({ cluster }) {
      await cluster.tellRedis('CLIENT', 'KILL', 'TYPE', 'pubsub');
    },
  },
  'password changed': {
    holdMs: [500, 3_000],
    async inflict({ cluster }, { holdMs }) {
      const { name, password } = redisUser;
      // The change alone does not affect open connections.
      await cluster.tellRedis('ACL', 'SETUSER', name, 'resetpass', '>another');
      await pause(holdMs / 2);
      await cluster.tellRedis('CLIENT', 'KILL', 'USER', name);
      await pause(holdMs / 2);
      await cluster.tellRedis('ACL', 'SETUSER', name, 'resetpass', `>${password}`);
    },
  },
  "a key in the way of a room's messages": inTheWay((room) => `rc:{${room}}:messages`),
  "a key in the way of a room's position": inTheWay((room) => `rc:{${room}}:position`, 'room'),
  'a key in the way of the line': inTheWay(() => 'rc:line', 'all rooms'),
  'a key in the way of members': inTheWay(() => `rc:{${presenceRoom}}:members`),
  'a key in the way of users': inTheWay(() => `rc:{${presenceRoom}}:users`),
} satisfies Record<string, Fault>;

function paused(who: 'ALL' | 'WRITE'): Fault {
  return {
    holdMs: [1_000, 4_000],
    async inflict({ cluster }, { holdMs }) {
      await cluster.tellRedis('CLIENT', 'PAUSE', holdMs, who);
      await pause(holdMs);
    },
  };
}

/** A node may have put the key right by itself, and so begun new epochs: then deleting it would begin others. */
const clearTheWay = "if redis.pcall('GET', KEYS[1]) == 'in the way' then redis.call('DEL', KEYS[1]) end";

/** Replaces a key of the nodes by a string, and deletes that later. `lapses`: the rooms whose epoch that ends. */
function inTheWay(key: (room: string) => string, lapses?: 'room' | 'all rooms'): Fault {
  return {
    holdMs: [500, 2_000],
    async inflict({ cluster, log }, { room, holdMs }) {
      await cluster.tellRedis('SET', key(room), 'in the way');
      await pause(holdMs);
      await cluster.tellRedis('EVAL', clearTheWay, 1, key(room));
      if (lapses === 'room') log.push({ t: performance.now(), event: 'lapse', room });
      if (lapses === 'all rooms') log.push({ t: performance.now(), event: 'lapse' });
    },
  };
}
