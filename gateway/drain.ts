/**
 * Drain: moves the clients of a stopping node to other nodes, spread over time.
 *
 * Owns the schedule. After the notice each client gets a slot, in random order, evenly over the first two thirds of the
 * drain time. In its slot the client is asked to move. A third of the drain time later it is closed if it is still there.
 * In that third it opens a new connection before it leaves this one; the closes are spread like the slots. One loop serves
 * any number of clients. It knows no sockets and no frames.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type CloseCode, closeCode } from '../shared/codes.ts';

/** What drain needs of a connection. */
export interface Movable {
  /** Asks the client to open a connection elsewhere. Does nothing on a closed connection. */
  askToMove(): void;
  /** Publishes of this client without an answer yet. */
  readonly inbox: { readonly publishing: { readonly count: number } };
  close(code: CloseCode): void;
}

export interface DrainSettings {
  drainNoticeMs: number;
  drainMs: number;
}

const tickMs = 20;
/** After the drain time, longest wait for the answers to publishes before their connection is closed. */
const answerMs = 2_000;
/** Time for peers to read what is buffered and the close frame, counted from the last close. */
const closingMs = 3_000;

/** How many of `count` slots, spread evenly over `windowMs`, have begun. The first begins at 0. With a window of 0, all. */
export function slotsBegun(count: number, windowMs: number, elapsedMs: number): number {
  if (elapsedMs < 0) return 0;
  if (elapsedMs >= windowMs) return count;
  return Math.min(count, Math.floor((count * elapsedMs) / windowMs) + 1);
}

/**
 * Resolves as soon as `connections` is empty, at the latest a few seconds after the notice and the drain time.
 * `connections` is a live set that takes no new ones. If it does take some, they stay, and the time is used up.
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
    // A client that is due to close is not asked any more.
    asked = Math.max(asked, closed);
    for (const due = slotsBegun(clients.length, windowMs, elapsed); asked < due; asked++) clients[asked]?.askToMove();
    for (const client of leaving) {
      if (client.inbox.publishing.count > 0 && elapsed < drainMs + answerMs) continue;
      leaving.delete(client);
      client.close(closeCode.draining);
      lastClosedAt = elapsed;
    }
    await delay(tickMs);
  }
}

/** Fisher-Yates. In the order of their arrival, all clients of one failed node would move at once. */
function shuffled<Item>(items: Item[]): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other] as Item, items[last] as Item];
  }
  return items;
}
