/**
 * A load client that follows the protocol, and logs everything it does and sees.
 *
 * It reconnects after the end of a connection (full jitter), with `since` if it has a position. When asked to move, it opens
 * a new connection, and leaves the old one once the new one is in all rooms. It publishes most messages with a key, and
 * retries those if the outcome is unknown. It judges nothing. link.ts owns the sockets, crowd.ts the load.
 */
import type { GapFrame, MessageFrame, OkFrame, Position } from '../../shared/protocol.ts';
import { Random } from '../unit/random.ts';
import { Link, type Push } from './link.ts';
import type { Entry } from './log.ts';
import { idOf, type Payload, payload } from './payload.ts';
import { type Dialect, speeches } from './speech.ts';

const longestBackoffMs = 2_000;
/** Much shorter than the time that a key is remembered. */
const retryForMs = 45_000;
/** Share of messages with a key, where the dialect has keys; the others are never retried. */
const keyedShare = 0.7;
/** A larger difference comes from a node with a wrong clock, and is not a latency. */
const longestLatencyMs = 300_000;

interface Membership {
  wanted: boolean;
  position?: Position;
  /** The connection that gave the position. */
  owner?: Link;
}

interface Unsettled {
  room: string;
  data: Payload;
  firstAt: number;
  /** Its id is its key. */
  keyed: boolean;
  tried?: true;
}

export interface LoadClientOptions {
  name: string;
  dialect: Dialect;
  /** As of the native endpoint. */
  url: string;
  token: string;
  rooms: readonly string[];
  seed: number;
  log: Entry[];
}

export class LoadClient {
  readonly name: string;
  /** Publications with an unknown outcome, to be retried. */
  unsettled = 0;
  /** Latencies of all messages, from the acceptance by a node to here, in ms; also of messages from history. */
  readonly latencies: number[] = [];
  readonly #options: LoadClientOptions;
  readonly #log: Entry[];
  readonly #random: Random;
  readonly #rooms = new Map<string, Membership>();
  readonly #waiting: Unsettled[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Connections; two while it moves. */
  readonly #links = new Set<Link>();
  readonly #vanished: Link[] = [];
  #current: Link | undefined;
  #published = 0;
  #failures = 0;
  #awayMs = 0;
  #stopped = false;

  constructor(options: LoadClientOptions) {
    this.#options = options;
    this.name = options.name;
    this.#log = options.log;
    this.#random = new Random(options.seed);
    for (const room of options.rooms) this.#rooms.set(room, { wanted: true });
  }

  get rooms(): readonly string[] {
    return this.#options.rooms;
  }

  /** In all rooms it wants, on one connection. */
  get settled(): boolean {
    return (
      this.#links.size === 1 && this.#isIn(this.#current) && [...this.#rooms.values()].every(({ wanted }) => wanted)
    );
  }

  connect(): void {
    if (this.#stopped) return;
    const { url, token, dialect } = this.#options;
    const link = new Link(url.replace(speeches.native.path, ''), token, speeches[dialect], {
      welcome: () => this.#welcomed(link),
      push: (_, frame) => this.#pushed(link, frame),
      closed: (_, code) => this.#ended(link, code),
    });
    this.#links.add(link);
  }

  tick(): void {
    for (const link of this.#links) link.tick();
  }

  /** Publishes when it is connected; else later. */
  publish(room: string, length: number): void {
    const data = payload(room, `${this.name}-${++this.#published}`, length);
    this.unsettled++;
    const keyed = speeches[this.#options.dialect].keyed && this.#random.chance(keyedShare);
    this.#attempt({ room, data, firstAt: performance.now(), keyed });
  }

  /** Loses its connection, and stays away for this time. `silently`: without a FIN to the gateway. */
  lose(awayMs: number, silently: boolean): void {
    this.#awayMs = awayMs;
    for (const link of [...this.#links]) {
      if (silently) {
        this.#vanished.push(link);
        link.vanish();
      } else link.drop();
    }
  }

  /** Leaves a room, and comes back later with its old position. */
  wander(room: string, awayMs: number): void {
    const membership = this.#rooms.get(room);
    const link = this.#current;
    if (!membership?.wanted || membership.owner !== link || !link?.usable || this.#links.size > 1) return;
    membership.wanted = false;
    link.ask({ type: 'unsubscribe', room }, (answer) => {
      const refused = typeof answer === 'object' && answer.type === 'error';
      if (refused) membership.wanted = true;
      if (refused) return;
      if (typeof answer === 'object') this.#note(link, { event: 'unsubscribe', room });
      delete membership.owner;
      this.#later(awayMs, () => {
        membership.wanted = true;
        for (const each of this.#links) this.#subscribe(each, room);
      });
    });
  }

  /** Logs its rooms, and ends. */
  end(): void {
    const link = this.#current;
    if (link) this.#note(link, { event: 'end', rooms: [...this.#rooms.keys()] });
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const each of [...this.#links, ...this.#vanished]) each.drop();
  }

  #welcomed(link: Link): void {
    this.#failures = 0;
    this.#note(link, { event: 'open', dialect: this.#options.dialect });
    if (!this.#current?.usable) this.#current = link;
    for (const [room, { wanted }] of this.#rooms) if (wanted) this.#subscribe(link, room);
    this.#publishWaiting();
  }

  #subscribe(link: Link, room: string): void {
    const membership = this.#rooms.get(room);
    if (membership === undefined || !link.usable) return;
    const from = membership.position && { ...membership.position };
    link.ask({ type: 'subscribe', room, ...(from ? { since: from } : {}) }, (answer) => {
      if (typeof answer === 'string') link.drop();
      else if (answer.type === 'ok') this.#joined(link, room, membership, answer, from);
      else this.#later(200 + this.#random.integer(0, 600), () => this.#subscribe(link, room));
    });
  }

  #joined(link: Link, room: string, membership: Membership, ok: OkFrame, from: Position | undefined): void {
    const { epoch, offset, recovered } = ok;
    const said = {
      room,
      ...(epoch === undefined ? {} : { epoch }),
      ...(offset === undefined ? {} : { offset }),
      ...(recovered === undefined ? {} : { recovered }),
    };
    this.#note(link, from ? { event: 'resume', from, ...said } : { event: 'subscribe', ...said });
    if (membership.owner?.usable && membership.owner.number > link.number) return;
    membership.owner = link;
    if (epoch === undefined || offset === undefined) delete membership.position;
    else membership.position = { epoch, offset };
    if (link === this.#current || !this.#isIn(link)) return;
    // Make before break: this connection is in all rooms, so the old one can close.
    const old = this.#current;
    this.#current = link;
    old?.close();
  }

  #isIn(link: Link | undefined): boolean {
    return link?.usable === true && [...this.#rooms.values()].every(({ wanted, owner }) => !wanted || owner === link);
  }

  #pushed(link: Link, frame: Push): void {
    if (frame.type === 'message') this.#delivered(link, frame);
    else if (frame.type === 'gap') this.#told(link, frame);
    else if (frame.type === 'unsubscribed') this.#note(link, { event: 'unsubscribe', room: frame.room });
    else if (frame.type === 'resubscribe') this.#resubscribe(link, frame.room);
    else if (frame.type === 'reconnect') this.#later(frame.afterMs, () => this.#move(link));
  }

  /** Told that messages are missing, and out of the room by that. It goes on from the last message that it has. */
  #resubscribe(link: Link, room: string): void {
    this.#note(link, { event: 'unsubscribe', room, told: true });
    const membership = this.#rooms.get(room);
    if (membership?.owner === link) delete membership.owner;
    if (membership?.wanted) this.#subscribe(link, room);
  }

  #move(from: Link): void {
    if (from === this.#current && this.#links.size === 1) this.connect();
  }

  #delivered(link: Link, { room, offset, id: wire, data, at }: MessageFrame): void {
    const id = idOf(room, data);
    const latencyMs = Date.now() - at;
    if (Math.abs(latencyMs) < longestLatencyMs) this.latencies.push(latencyMs);
    this.#note(link, {
      event: 'deliver',
      room,
      id,
      ...(offset === undefined ? {} : { offset }),
      ...(wire === undefined ? {} : { wire }),
    });
    const membership = this.#rooms.get(room);
    if (membership?.owner === link && membership.position && offset !== undefined) membership.position.offset = offset;
  }

  #told(link: Link, { type: _, ...gap }: GapFrame): void {
    this.#note(link, { event: 'gap', ...gap });
    const membership = this.#rooms.get(gap.room);
    if (membership?.owner !== link || !membership.position) return;
    const { epoch = membership.position.epoch, offset = gap.last ?? membership.position.offset } = gap;
    membership.position = { epoch, offset };
  }

  #ended(link: Link, code: number): void {
    this.#links.delete(link);
    if (link.welcomed) this.#note(link, { event: 'close', code });
    if (link !== this.#current && this.#current?.usable) {
      // Connecting to another node failed. Try again, because the old connection may end soon.
      if (!link.welcomed || !this.#isIn(this.#current)) this.#reconnect();
      return;
    }
    this.#current = [...this.#links].find((other) => other.usable);
    if (this.#links.size === 0) this.#reconnect();
    this.#publishWaiting();
  }

  #publishWaiting(): void {
    for (const one of this.#current?.usable ? this.#waiting.splice(0) : []) this.#attempt(one);
  }

  #reconnect(): void {
    const most = Math.min(longestBackoffMs, 100 * 2 ** this.#failures++);
    this.#later(this.#awayMs + this.#random.integer(0, most), () => this.#links.size < 2 && this.connect());
    this.#awayMs = 0;
  }

  #attempt(one: Unsettled): void {
    // It may have waited for a connection for longer than its key is remembered.
    if (one.tried && performance.now() - one.firstAt > retryForMs) {
      this.unsettled--;
      return;
    }
    const link = this.#current;
    if (!link?.usable) {
      this.#waiting.push(one);
      return;
    }
    one.tried = true;
    const { room, data, keyed } = one;
    const { id } = data;
    this.#note(link, { event: 'publish', room, id });
    link.ask({ type: 'publish', room, data, ...(keyed ? { key: id } : {}) }, (answer) => {
      if (typeof answer === 'object' && answer.type === 'ok') {
        const { epoch, offset, duplicate } = answer;
        const position = epoch === undefined || offset === undefined ? {} : { epoch, offset };
        const untold = !speeches[this.#options.dialect].keyed;
        const more = { ...(duplicate ? { duplicate } : {}), ...(untold ? { untold } : {}) };
        this.#note(link, { event: 'ack', room, id, ...position, ...more });
        this.unsettled--;
        return;
      }
      const code = typeof answer === 'string' ? answer : answer.code;
      const unknown = typeof answer === 'string' || code === 'timeout' || code === 'internal';
      this.#note(link, { event: unknown ? 'unknown' : 'nack', room, id, code });
      const late = performance.now() - one.firstAt > retryForMs;
      if (late || (unknown ? !keyed : this.#random.chance(0.5))) this.unsettled--;
      else this.#later(this.#random.integer(50, 800), () => this.#attempt(one));
    });
  }

  #later(ms: number, run: () => unknown): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }

  #note(link: Link, what: DistributiveOmit<Entry, 't' | 'client' | 'conn'>): void {
    if (this.#stopped) return;
    this.#log.push({ t: performance.now(), client: this.name, conn: link.number, ...what } as Entry);
  }
}

type DistributiveOmit<Union, Keys extends PropertyKey> = Union extends unknown ? Omit<Union, Keys> : never;
