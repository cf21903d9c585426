/**
 * Gateways that break a promise in a Redis Cluster, as broken-builds.ts has them for one Redis. The first and the last differ from
 * sound ones only there.
 */
import { changedBuild } from '../../support/changed-build.ts';
import type { ViolationKind } from '../publications.ts';
import type { ShardFaultKind } from './faults.ts';
import type { Ack } from './site.ts';

interface BrokenShards {
  breaks: string;
  /** The fault that makes it show, and with which GATEWAY_ACK. */
  fault: ShardFaultKind;
  ack: Ack;
  /** At least one of these violations must be found. */
  expected: ViolationKind[];
  /** Returns the program, as for spawnNode. */
  make(): string;
}

export const brokenShards: BrokenShards[] = [
  {
    breaks: 'stays where a slot was when it has moved',
    fault: 'slots migrated',
    ack: 'stored',
    expected: ['LOST_TAIL', 'LOST_GAP'],
    make: () =>
      changedBuild(
        { file: 'redis/cluster/rooms.js', place: 'revoked(room, plane) {', change: 'revoked(room, plane) { return;' },
        { file: 'redis/cluster/rooms.js', place: 'moved(slots) {', change: 'moved(slots) { return;' },
      ),
  },
  {
    breaks: 'takes a promoted replica for whole',
    fault: 'primary killed, its replica cut off',
    ack: 'stored',
    expected: ['DIVERGE', 'HISTORY', 'LOST_GAP', 'LOST_TAIL'],
    make: () =>
      changedBuild(
        { file: 'redis/history/line.lua', place: "if ARGV[3] == '1' and not", change: 'if false and not' },
        { file: 'redis/history/room.lua', place: 'offset < tonumber(seen_offset)', change: 'false' },
      ),
  },
  {
    breaks: 'refuses all rooms while one shard is away',
    fault: 'primary killed',
    ack: 'replicated',
    expected: ['NOTICED'],
    make: () =>
      changedBuild({
        file: 'redis/cluster/backplane.js',
        place: 'publish(publication) {',
        change: 'publish(publication) { if (!this.up) return Promise.reject(noShard());',
      }),
  },
];
