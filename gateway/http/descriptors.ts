/**
 * File descriptors of this process: how many connections their limit leaves room for, and what happens when none is left.
 *
 * A port whose connections cannot be accepted stays readable, and uWebSockets.js would try again for ever, with all of the
 * CPU, while the admin port and Redis get no descriptor either. So some are held back, with nothing in them. When a look
 * finds that no other is left they are let go, for the admin port, Redis and files, and each new client is closed as soon as
 * it is accepted, until there is room again. It knows no sockets.
 */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Logger } from '../telemetry/log.ts';

/** Kept from connections: for those held back, the process itself, and clients that are being refused with an answer. */
const reservedDescriptors = 512;
/** However low the limit is, so many connections are let in. */
const fewestConnections = 64;
/** For the process itself, what is held back, and the fewest connections. */
export const fewestDescriptors = 192;

/** More than the admin port (gateway/http/admin.ts) and Redis take together. */
const heldBack = 64;
/** So many have to be free, besides those that are held back again, before new clients are let in. */
const roomToGoOn = 32;
const lookIntervalMs = 250;

/** The limit of open files, which Node has raised as far as it may when it started. Infinity where there is none. */
export function descriptorLimit(): number {
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } };
  const soft = Number(report.userLimits?.open_files?.soft);
  return Number.isFinite(soft) ? soft : Number.POSITIVE_INFINITY;
}

/** What a limit of open files leaves for connections. */
export function connectionsWithin(limit: number): number {
  return Math.max(fewestConnections, limit - reservedDescriptors);
}

const shortage =
  'no file descriptor is left: new clients are closed at once; raise the limit of open files (ulimit -n)';

export class Descriptors {
  readonly #log: Logger;
  #held = take(heldBack);
  #short = false;
  readonly #timer = setInterval(() => (this.#short ? this.#goOn() : this.#look()), lookIntervalMs);

  /** Throws an Error if there are too few from the beginning. */
  constructor(log: Logger) {
    this.#log = log;
  }

  /** No other is left: whoever is accepted has to be closed at once. */
  get short(): boolean {
    return this.#short;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#letGo();
  }

  #look(): void {
    try {
      release(take(1));
    } catch (error) {
      this.#short = true;
      this.#letGo();
      // EMFILE is the limit of this process, ENFILE that of the machine.
      this.#log.error({ error: (error as Error).message }, shortage);
    }
  }

  #goOn(): void {
    try {
      const room = take(roomToGoOn + heldBack);
      this.#held = room.splice(roomToGoOn);
      release(room);
      this.#short = false;
    } catch (error) {
      this.#log.error({ error: (error as Error).message }, shortage);
    }
  }

  #letGo(): void {
    release(this.#held);
    this.#held = [];
  }
}

/** Opens so many descriptors, or throws the Error of the one that could not be opened, and keeps none. */
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
