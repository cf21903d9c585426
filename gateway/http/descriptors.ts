/**
 * File descriptors of this process: how many connections fit into their limit, and what happens when none is left.
 *
 * Without descriptors, uWebSockets.js cannot accept a connection, and retries for ever at full CPU; the admin port and Redis
 * get no descriptor either. So a reserve of descriptors is kept open on /dev/null. When a check finds no other descriptor
 * left, the reserve is released for the admin port, Redis and files, and each new client is closed as soon as it is
 * accepted, until there is room again. It knows no sockets.
 */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Logger } from '../telemetry/log.ts';

/** Not for connections: the reserve, the process itself, and clients that are being refused with an answer. */
const reservedDescriptors = 512;
/** Connections allowed at the lowest limit. */
const fewestConnections = 64;
/** The lowest limit a node starts with: the process itself, the reserve, and the fewest connections. */
export const fewestDescriptors = 288;

/** Size of the reserve: more than the admin port (gateway/http/admin.ts) and Redis take together. */
const heldBack = 160;
/** Free descriptors needed, besides a new reserve, before new clients are let in again. */
const roomToGoOn = 32;
const checkIntervalMs = 250;

/** The soft limit of open files, which Node raises to the hard limit at its start. Infinity if there is no limit. */
export function descriptorLimit(): number {
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } };
  const soft = Number(report.userLimits?.open_files?.soft);
  return Number.isFinite(soft) ? soft : Number.POSITIVE_INFINITY;
}

/** How many connections a limit of open files leaves room for. */
export function connectionsWithin(limit: number): number {
  return Math.max(fewestConnections, limit - reservedDescriptors);
}

const shortage =
  'no file descriptor is left: new clients are closed at once; raise the limit of open files (ulimit -n)';

export class Descriptors {
  readonly #log: Logger;
  #held = take(heldBack);
  #short = false;
  readonly #timer = setInterval(() => (this.#short ? this.#recover() : this.#check()), checkIntervalMs);

  /** Throws an Error if there are too few descriptors for the reserve. */
  constructor(log: Logger) {
    this.#log = log;
  }

  /** True while no descriptor is left: close each accepted client at once. */
  get short(): boolean {
    return this.#short;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#release();
  }

  #check(): void {
    try {
      release(take(1));
    } catch (error) {
      this.#short = true;
      this.#release();
      // EMFILE: the limit of this process. ENFILE: the limit of the machine.
      this.#log.error({ error: (error as Error).message }, shortage);
    }
  }

  #recover(): void {
    try {
      const room = take(roomToGoOn + heldBack);
      this.#held = room.splice(roomToGoOn);
      release(room);
      this.#short = false;
    } catch (error) {
      this.#log.error({ error: (error as Error).message }, shortage);
    }
  }

  #release(): void {
    release(this.#held);
    this.#held = [];
  }
}

/** Opens `count` descriptors. If one cannot be opened, closes all and throws its Error. */
function take(count: number): number[] {
  const taken: number[] = [];
  try {
    while (taken.length < count) taken.push(openSync(devNull, 'r'));
    return taken;
  } catch (error) {
    release(taken);
    throw error;
  }
}

function release(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeSync(descriptor);
}
