/**
 * A node as its presence store sees it: the store, what it told, in order, and the connections this node has entered.
 *
 * Owns the store's end. With Redis it listens by the backplane, as a gateway does.
 */
import { randomBytes } from 'node:crypto';
import { MemoryPresence } from '../../gateway/backplane/memory/presence.ts';
import type { PresenceListener, PresencePage, PresenceStore, Present } from '../../gateway/backplane/presence.ts';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { type EnvelopeVersion, writtenVersion } from '../../gateway/redis/envelope.ts';
import { RedisNames } from '../../gateway/redis/names.ts';
import { OnePresenceConnection } from '../../gateway/redis/presence/connections.ts';
import { RedisPresence } from '../../gateway/redis/presence/presence.ts';
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';
import type { JoinLeaveFrame } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';
import { Recorder } from './recorder.ts';

const deadlineMs = 10_000;

/** Nobody is told who comes and goes in rooms that begin with this. */
export const quiet = 'quiet';
export const announces = (room: string) => !room.startsWith(quiet);

export class PresenceNode implements PresenceListener {
  readonly store: PresenceStore;
  /** Begins the ids of its connections. */
  readonly instance: string;
  readonly #listening: Recorder | undefined;
  readonly #told: JoinLeaveFrame[] = [];
  #connections = 0;
  /** Times that it was told to sync. */
  doubts = 0;
  /** What it does then. */
  onDoubt: () => void = () => undefined;
  /** Members that it took out for dead nodes. */
  reapedMembers = 0;

  constructor(store: PresenceStore, instance: string, listening?: Recorder) {
    this.store = store;
    this.instance = instance;
    this.#listening = listening;
    onCleanup(() => store.close());
  }

  /** Starts it and listens in these rooms. */
  async start(...rooms: string[]): Promise<this> {
    await Promise.all([this.store.start(this), this.#listening?.start()]);
    await Promise.all(rooms.map((room) => this.#listening?.backplane.subscribe(room)));
    return this;
  }

  changed(frame: JoinLeaveFrame): void {
    this.#told.push(frame);
  }

  outOfSync(): void {
    this.doubts += 1;
    this.onDoubt();
  }

  reaped(members: number): void {
    this.reapedMembers += members;
  }

  /** A connection of this node that nobody has seen before. */
  present(user: string | null, info?: unknown): Present {
    this.#connections += 1;
    return {
      connection: `${this.instance}-${this.#connections}`,
      user,
      info: info === undefined ? undefined : JSON.stringify(info),
    };
  }

  page(room: string, query: { after?: string; limit?: number; maxBytes?: number } = {}): Promise<PresencePage> {
    return this.store.page(room, { after: undefined, limit: 100, maxBytes: 262_144, ...query });
  }

  /** Join and leave frames of a room, in the order in which they came. */
  frames(room: string): JoinLeaveFrame[] {
    return (this.#listening?.told ?? this.#told).filter((frame) => frame.room === room);
  }

  /** How often it was told that the room was counted anew. */
  recounts(room: string): number {
    return this.#listening?.recounts.filter((each) => each === room).length ?? 0;
  }

  /** What was told of a room, one line for each user or anonymous connection: `join ann`. */
  story(room: string): string[] {
    return this.frames(room).flatMap(({ type, members }) =>
      members.map((member) => `${type} ${'user' in member ? member.user : member.connection}`),
    );
  }

  /** Everything that was told so far has come, if it was going to. */
  async fence(): Promise<void> {
    if (this.#listening !== undefined) await this.#listening.fence();
    // Memory tells by immediates, which run in their order; a timer may come before them.
    else await new Promise((resolve) => setImmediate(resolve));
  }

  untilStory(room: string, lines: string[]): Promise<unknown> {
    const told = () => JSON.stringify(this.story(room).toSorted()) === JSON.stringify(lines.toSorted());
    return until(told, deadlineMs, `${lines} in ${room}`);
  }

  /** Its end as a program that is killed: nothing is taken out. `cut` takes its Redis away first. */
  async die(cut: () => void): Promise<void> {
    cut();
    await this.store.close();
  }
}

export function memoryNode(): PresenceNode {
  return new PresenceNode(new MemoryPresence({ announces }), 'node-0');
}

/** A node on the Redis at `url`. Nodes that share a prefix share their rooms; it listens at `listenUrl`. */
export function redisNode(
  url: string,
  prefix: string,
  {
    listenUrl = url,
    log = createLog('silent'),
    envelopeVersion = writtenVersion,
  }: { listenUrl?: string; log?: Logger; envelopeVersion?: EnvelopeVersion } = {},
): PresenceNode {
  const instance = `node.${randomBytes(3).toString('hex')}`;
  const connections = new OnePresenceConnection(redisConnections(url, log));
  const names = new RedisNames(prefix, 0);
  const store = new RedisPresence({ connections, names, instance, announces, envelopeVersion }, log);
  const backplane = new RedisBackplane(
    { redis: redisConnections(listenUrl), prefix, node: instance, dedupeMs: 60_000, replicated: false },
    log,
  );
  return new PresenceNode(store, instance, new Recorder(backplane));
}
