/**
 * The crowd of a library run: applications with the real library, and a few with each broken copy of it.
 *
 * Owns who uses which, and what all of them hold: without a client, before the faults, and after them.
 */
import { until } from '../../support/until.ts';
import type { Random } from '../../unit/random.ts';
import type { LoadClientOptions } from '../client.ts';
import { type Crowd, gather } from '../crowd.ts';
import type { Entry } from '../log.ts';
import type { Library } from './builds.ts';
import { growth, type Holdings, holdings } from './holdings.ts';
import { LibraryMember } from './member.ts';

const heldDeadlineMs = 20_000;
/** Who is present at the end is judged of the real ones. Plain rooms show more: what is missed there cannot be had later. */
const roomsOfBroken = ['h:0', 'h:1', 'p:0', 'p:1', 'p:2'];

export interface MembersPlan {
  library: Library;
  clients: number;
  lossesPerSecond: number;
  messagesPerSecond: number;
  broken: readonly Library[];
  /** Members of each broken library. */
  brokenClients: number;
}

export class Members {
  readonly good: LibraryMember[] = [];
  /** In the order of the broken libraries. */
  readonly broken: LibraryMember[][];
  readonly #plan: MembersPlan;
  #without: Holdings | undefined;
  #before: Holdings | undefined;

  constructor(plan: MembersPlan) {
    this.#plan = plan;
    this.broken = plan.broken.map(() => []);
  }

  /** For the plan of a run. */
  async gather(url: string, random: Random, log: Entry[]): Promise<Crowd> {
    const { clients, lossesPerSecond, messagesPerSecond, broken, brokenClients } = this.#plan;
    this.#without = holdings([]);
    const count = clients + broken.length * brokenClients;
    const make = (options: LoadClientOptions) => this.#make(options);
    const crowd = await gather(url, { count, random, lossesPerSecond, messagesPerSecond, make }, log);
    this.#before = holdings(this.good);
    return crowd;
  }

  /** Once all are settled after the faults. Rejects, and names what they hold more of than before. */
  heldAfter(): Promise<void> {
    return this.#noGrowth(this.#before);
  }

  /** Once all have ended. The test itself holds them, and so each its last socket. */
  heldAtEnd(): Promise<void> {
    return this.#noGrowth(this.#without && { ...this.#without, sockets: this.good.length, rooms: Infinity });
  }

  #make(options: LoadClientOptions): LibraryMember {
    const { library, clients, broken } = this.#plan;
    const { name } = options;
    const index = Number(name.slice(1)) - clients;
    if (index < 0) {
      const member = new LibraryMember({ ...options, library });
      this.good.push(member);
      return member;
    }
    const which = index % broken.length;
    const member = new LibraryMember({
      ...options,
      isBroken: true,
      rooms: roomsOfBroken,
      library: broken[which] as Library,
    });
    this.broken[which]?.push(member);
    return member;
  }

  async #noGrowth(most: Holdings | undefined): Promise<void> {
    if (most === undefined) throw new TypeError('gather the members first');
    const more = () => growth(most, holdings(this.good));
    await until(() => more() === '', heldDeadlineMs, 'no more is held than before').catch(() => {
      throw new Error(`more is held than before: ${more()}`);
    });
  }
}

/** The lines of these members, and everything that was published. */
export function linesOf(log: readonly Entry[], members: readonly LibraryMember[]): Entry[] {
  const names = new Set(members.map(({ name }) => name));
  const isPublic = /^(publish|ack|nack|unknown)$/;
  return log.filter((entry) => !('client' in entry) || isPublic.test(entry.event) || names.has(entry.client));
}
