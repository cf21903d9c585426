/**
 * Which server has which slot, by what the servers say (CLUSTER SLOTS, and CLUSTER NODES for the epochs).
 *
 * A server that is cut off, or that lags behind, tells an old map. So the owner of a slot is the one with the highest epoch, as
 * among the servers themselves; an owner that nobody has confirmed for `staleMs` is given up, for a cluster that was built anew.
 * An epoch is of a server, not of a slot: who lags behind may name an old owner with a new epoch. So an owner that says itself
 * that another has the slot is believed.
 * It asks servers that this node is connected to. Without any it asks those of the settings, and those it has heard of, each on
 * a connection of its own. It owns the map, and how often it is read. It never knows rooms.
 */
import { type Logger, truncate } from '../../telemetry/log.ts';
import type { Endpoint } from '../connection/address.ts';
import { type ClusterAddress, dialOnce } from '../connection/dial.ts';
import { slotCount } from './slots.ts';

/** A primary, by the name under which all that concerns it is known: `host:port`. */
export interface Primary extends Endpoint {
  name: string;
}

/** Runs the commands at one server, in one write. */
export type Ask = (...commands: readonly string[][]) => Promise<unknown[]>;

export interface TopologyParts {
  address: ClusterAddress;
  /** The servers that this node is connected to. */
  connected(): { from: Endpoint; ask: Ask }[];
  /** After each answer that changed an owner. */
  onChange(slots: readonly number[]): void;
  /** After each reading. */
  onRead(): void;
  log: Logger;
}

const steadyMs = 2_000;
/** Between two readings that somebody asked for. */
const soonestMs = 200;
const staleMs = 10_000;
/** Servers that are asked at once. */
const asked = 3;
/** The flag of the server that answers. */
const myself = 'myself';

export class Topology {
  readonly #parts: TopologyParts;
  readonly #owners = new Array<Primary | undefined>(slotCount);
  readonly #epochs = new Float64Array(slotCount);
  readonly #confirmedAt = new Float64Array(slotCount);
  readonly #primaries = new Map<string, Primary>();
  /** All servers, replicas too, as of the last answer. */
  #known: Endpoint[] = [];
  /** The last answer, if it named an owner for each slot and all of them counted. */
  #told = '';
  #timer: NodeJS.Timeout | undefined;
  #reading = false;
  #wanted = false;
  #readAt = Number.NEGATIVE_INFINITY;
  #ended = false;
  #trouble: string | undefined = 'no server of the cluster has answered yet';

  constructor(parts: TopologyParts) {
    this.#parts = parts;
  }

  /** Why the map could not be read the last time. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  ownerOf(slot: number): Primary | undefined {
    return this.#owners[slot];
  }

  start(): void {
    void this.#read();
  }

  /** The map may be wrong: reads it soon. */
  refresh(): void {
    if (this.#ended) return;
    this.#wanted = true;
    if (!this.#reading) this.#readIn(Math.max(0, soonestMs - (performance.now() - this.#readAt)));
  }

  close(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #readIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#read(), ms);
  }

  async #read(): Promise<void> {
    this.#reading = true;
    this.#wanted = false;
    this.#readAt = performance.now();
    const { connected, onRead } = this.#parts;
    let answered = await this.#askSome(shuffled(connected()));
    if (!answered) answered = await this.#askSome(shuffled(this.#strangers()));
    this.#reading = false;
    if (this.#ended) return;
    if (answered) this.#trouble = undefined;
    onRead();
    if (this.#wanted) this.refresh();
    else this.#readIn(answered ? steadyMs : soonestMs);
  }

  /** Asks a few at a time until one answers. Each answer counts at once: others may hang. */
  async #askSome(servers: { from: Endpoint; ask: Ask }[]): Promise<boolean> {
    for (let at = 0; at < servers.length && !this.#ended; at += asked) {
      const answers = servers.slice(at, at + asked).map(async ({ from, ask }) => {
        try {
          const [slots, nodes] = await ask(['CLUSTER', 'SLOTS'], ['CLUSTER', 'NODES']);
          if (!this.#ended) this.#take(slots as Range[], epochsOf(String(nodes)), from);
          return true;
        } catch (error) {
          this.#failed(from, error as Error);
          return false;
        }
      });
      if ((await Promise.all(answers)).includes(true)) return true;
    }
    return false;
  }

  #failed({ host, port }: Endpoint, { message }: Error): void {
    const trouble = `${host}:${port}: ${truncate(message)}`;
    if (trouble === this.#trouble || this.#ended) return;
    this.#trouble = trouble;
    this.#parts.log.warn(
      { server: `${host}:${port}`, error: truncate(message) },
      'the map of the cluster was not read',
    );
  }

  #take(ranges: Range[], epochs: Map<string, number>, from: Endpoint): void {
    const servers = ranges.flatMap(([, , ...all]) => all.map((server) => endpointOf(server, from)));
    if (servers.length > 0) this.#known = [...new Map(servers.map((each) => [nameOf(each), each])).values()];
    const now = performance.now();
    const owned = ranges.flatMap(([first, last, primary]): Owned[] => {
      const epoch = epochs.get(String(primary[2]));
      return epoch === undefined ? [] : [{ first, last, owner: this.#primary(endpointOf(primary, from)), epoch }];
    });
    // Next to all answers say what the one before has said.
    const told = owned.map(({ first, last, owner, epoch }) => `${first}-${last} ${owner.name} ${epoch}`).join();
    if (told === this.#told) this.#confirmedAt.fill(now);
    else this.#change(owned, told, now, { name: nameOf(from), epoch: epochs.get(myself) ?? -1 });
  }

  /** `by`: who said it. */
  #change(owned: readonly Owned[], told: string, now: number, by: { name: string; epoch: number }): void {
    const changed: number[] = [];
    let counted = 0;
    for (const { first, last, owner, epoch } of owned) {
      for (let slot = first; slot <= last; slot++) {
        const [before, since] = [this.#owners[slot], this.#epochs[slot] ?? 0];
        const isStale = now - (this.#confirmedAt[slot] ?? 0) > staleMs;
        const isGivenUp = before?.name === by.name && by.epoch >= since && owner.name !== by.name;
        if (epoch < since && !isStale && !isGivenUp) continue;
        counted++;
        this.#epochs[slot] = epoch;
        this.#confirmedAt[slot] = now;
        if (before === owner) continue;
        this.#owners[slot] = owner;
        changed.push(slot);
      }
    }
    this.#told = counted === slotCount ? told : '';
    if (changed.length > 0) this.#parts.onChange(changed);
  }

  #primary(endpoint: Endpoint): Primary {
    const name = nameOf(endpoint);
    const known = this.#primaries.get(name) ?? { ...endpoint, name };
    this.#primaries.set(name, known);
    return known;
  }

  #strangers(): { from: Endpoint; ask: Ask }[] {
    const all = new Map([...this.#parts.address.nodes, ...this.#known].map((each) => [nameOf(each), each]));
    return [...all.values()].map((from) => ({ from, ask: (...commands) => this.#askAlone(from, commands) }));
  }

  async #askAlone(server: Endpoint, commands: readonly string[][]): Promise<unknown[]> {
    const redis = dialOnce(this.#parts.address, server);
    let why: Error | undefined;
    redis.on('error', (error: Error) => {
      why = error;
    });
    try {
      await redis.connect();
      return await Promise.all(commands.map(([name = '', ...words]) => redis.call(name, ...words)));
    } catch (error) {
      // `connect` rejects with "Connection is closed."; the event says why.
      throw why ?? error;
    } finally {
      redis.disconnect();
    }
  }
}

interface Owned {
  first: number;
  last: number;
  owner: Primary;
  epoch: number;
}

type Server = [host: unknown, port: number, id: unknown];
type Range = [first: number, last: number, primary: Server, ...replicas: Server[]];

/** Without a host, Redis means the address at which it was asked. */
function endpointOf([host, port]: Server, { host: asked }: Endpoint): Endpoint {
  const name = host === null ? '' : String(host);
  return { host: name === '' || name === '?' ? asked : name, port: Number(port) };
}

function nameOf({ host, port }: Endpoint): string {
  return `${host}:${port}`;
}

/** The reply to CLUSTER NODES: id, address, flags, primary, ping, pong, config epoch, … Of who answers under `myself`, too. */
function epochsOf(nodes: string): Map<string, number> {
  const epochs = new Map<string, number>();
  for (const line of nodes.split('\n')) {
    const [id = '', , flags = '', , , , epoch] = line.split(' ');
    epochs.set(id, Number(epoch));
    if (flags.split(',').includes(myself)) epochs.set(myself, Number(epoch));
  }
  return epochs;
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  const keyed = items.map((item) => ({ item, key: Math.random() }));
  return keyed.sort((one, other) => one.key - other.key).map(({ item }) => item);
}
