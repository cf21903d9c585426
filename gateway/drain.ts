/**
 * Drain: moving the clients of a node that is to stop to other nodes, in order and spread over time.
 *
 * Owns the schedule. After the notice each client has a slot, in random order, evenly over the first two thirds of the
 * drain time; in its slot it is asked to move, and a third of the drain time later it is closed if it is still there.
 * So a client has that third to open a new connection before it leaves this one, and the closes are spread like the
 * slots. One loop goes by, whatever the number of clients. It knows no sockets and no frames.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type CloseCode, closeCode } from '../shared/codes.ts';

/** What drain needs of a connection. */
export interface Movable {
  /** Asks the client to open a connection elsewhere. Harmless on one that is closed. */
  askToMove(): void;
  /** Publishes of this client that have no answer yet. */
  readonly publishesUnderWay: number;
  close(code: CloseCode): void;
}

export interface DrainSettings {
  drainNoticeMs: number;
  drainMs: number;
}

const tickMs = 20;
/** A publish under way gets its `ok` before its connection is closed, but is not waited for longer than this. */
const answerMs = 2_000;
/** Peers have so long to read what is buffered and the close frame, from the last close on. */
const closingMs = 3_000;

/** How many of `count` slots, spread evenly over `windowMs`, have begun. The first begins at 0; without a window, all. */
export function slotsBegun(count: number, windowMs: number, elapsedMs: number): number {
  if (elapsedMs < 0) return 0;
  if (elapsedMs >= windowMs) return count;
  return Math.min(count, Math.floor((count * elapsedMs) / windowMs) + 1);
}

/**
 * Resolves as soon as `connections`, a live set that takes no new ones, is empty; at the latest a few seconds after
 * the notice and the drain time are over.
 */
export async function drain(connections: ReadonlySet<Movable>, settings: DrainSettings): Promise<void> {
  const { drainNoticeMs, drainMs } = settings;
  const noticed = performance.now() + drainNoticeMs;
  while (connections.size > 0 && performance.now() < noticed) await delay(tickMs);

  const clients = shuffled([...connections]);
  const [windowMs, graceMs] = [(drainMs * 2) / 3, drainMs / 3];
  const leaving = new Set<Movable>();
  const began = performance.now();
  let asked = 0;
  let closed = 0;
  let lastClosedAt = 0;
  while (connections.size > 0) {
    const elapsed = performance.now() - began;
    if (closed === clients.length && leaving.size === 0 && elapsed > lastClosedAt + closingMs) return;
    for (const due = slotsBegun(clients.length, windowMs, elapsed - graceMs); closed < due; closed++) {
      leaving.add(clients[closed] as Movable);
    }
    // Whose time is over already need not be asked any more.
    asked = Math.max(asked, closed);
    for (const due = slotsBegun(clients.length, windowMs, elapsed); asked < due; asked++) clients[asked]?.askToMove();
    for (const client of leaving) {
      if (client.publishesUnderWay > 0 && elapsed < drainMs + answerMs) continue;
      leaving.delete(client);
      client.close(closeCode.draining);
      lastClosedAt = elapsed;
    }
    await delay(tickMs);
  }
}

/** Fisher and Yates; an order in which clients came would move all clients of one failed node at once. */
function shuffled<Item>(items: Item[]): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other] as Item, items[last] as Item];
  }
  return items;
}
