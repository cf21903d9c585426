/** A node as the operations on the whole cluster see it, each on its own node (gateway/operations/cluster). Types only. */
import type { BusiestRooms } from '../rooms/busiest-rooms.ts';
import type { Room } from '../rooms/hub.ts';
import type { SlowPolicy } from '../telemetry/gauges.ts';
import type { Numbers } from '../telemetry/numbers.ts';
import type { Blocks } from './blocks.ts';
import type { Disconnectable } from './disconnect.ts';

/** What an operator is told of a connection. */
export interface Condition {
  address: string;
  /** Unix ms. */
  openedAt: number;
  /** How many it is in. */
  rooms: number;
  /** Bytes that wait for the client to read. */
  bufferedBytes: number;
  /** Of the last ping that was answered. Null: none was yet, or its transport has none. */
  rttMs: number | null;
}

export interface OperatedConnection extends Disconnectable {
  /** On its node, rising. Its id is the instance of the node, `-`, and this. */
  readonly number: number;
  readonly condition: Condition;
  isMember(room: string): boolean;
}

export interface LocalNode {
  readonly node: string;
  /** This run of the node, unique. */
  readonly instance: string;
  readonly version: string;
  /** Unix ms. */
  readonly startedAt: number;
  /** It moves its clients away, and stops. */
  readonly draining: boolean;
  /** In the order of their numbers. */
  readonly connections: ReadonlySet<OperatedConnection>;
  readonly hub: {
    readonly rooms: Iterable<Room>;
    readonly roomCount: number;
    /** In all rooms together. */
    readonly memberCount: number;
    /** Its members on this node, 0 if it has none. */
    membersOf(room: string): number;
    /** Set: it counts what is delivered in each room. */
    busiest: BusiestRooms | undefined;
  };
  readonly blocks: Blocks;
  /** Clients that send their commands by requests of their own. */
  readonly emulated: {
    /** False if it has no such session. */
    receive(session: string, data: Buffer): boolean;
  };
  readonly vitals: Vitals;
  readonly gauges: NodeGauges;
  numbers(): Promise<Numbers>;
}

/** What is measured when it is asked for. */
export interface NodeGauges {
  bufferedBytes(): number;
  /** Connections that read too slowly, by what the rule of their room gives them. */
  slow(): Record<SlowPolicy, number>;
  /** Undefined: it carries messages, and takes writes. Otherwise why not. */
  trouble(): string | undefined;
  /** 0: no limit. */
  readonly limits: { connections: number; bufferedBytes: number };
}

export interface Vitals {
  /** Of the last canary. Undefined: none came back yet. */
  readonly backplaneRttMs: number | undefined;
  readonly publishedPerSecond: number;
  readonly deliveredPerSecond: number;
}
