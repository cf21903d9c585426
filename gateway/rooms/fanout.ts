/**
 * Fan-out: sends one frame to every listener of a topic on this node, each in its own dialect.
 *
 * A room has two topics: its messages, and its `join` and `leave` frames. The WebSocket server holds the subscriptions,
 * so a frame costs one call for one listener or ten thousand. This file adds what the server lacks, per topic: the
 * WebSockets in each other dialect, and the listeners that are not WebSockets. A node with neither pays one
 * comparison per frame. Every frame is announced to backpressure before it is sent.
 */
import type { Position } from '../../shared/protocol.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { GapReply, Reply } from '../protocol/reply.ts';
import { roomcast } from '../protocol/roomcast/dialect.ts';
import type { Backpressure, Tally } from './backpressure.ts';

/** Publishes to a topic of the WebSocket server, in one call. `compressible`: it holds one message, see Socket.send. */
export type PublishToTopic = (topic: string, frame: Frame, binary: boolean, compressible: boolean) => void;

/** The topics that one WebSocket is subscribed to. */
export interface Topics {
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  isSubscribed(topic: string): boolean;
}

export interface Listener {
  readonly dialect: Dialect;
  /** Undefined if it is not a WebSocket: it is sent each frame on its own. */
  readonly topics: Topics | undefined;
  /** Sends a frame of its dialect, then checks its buffer: it may stall or be closed in this call. */
  send(frame: Frame): void;
  /**
   * Sends a frame of its dialect as part of a fan-out, without checking its buffer: a listener must not change its
   * state in the middle of a fan-out, and backpressure has counted the frame already.
   */
  sendUnchecked(frame: Frame): void;
  /** Sends it a frame on its own, and obeys it: only outside of a fan-out. */
  reply(reply: Reply): void;
}

/** What a listener hears of a room: its messages, and `join` and `leave` if it has them. */
interface Heard {
  readonly name: string;
  readonly joinLeave: boolean;
}

/** What fan-out needs of a room. */
export interface Audience extends Tally {
  readonly name: string;
  /** Members on this node, and how many of them are detached from the fan-out. */
  readonly members: number;
  readonly detached: number;
}

/** The listeners of a topic that speak one dialect, without the WebSockets of the native one. */
interface Group {
  readonly dialect: Dialect;
  /** The topic of its WebSockets. */
  readonly topic: string;
  readonly listeners: Set<Listener>;
  /** So many of them are no WebSockets. */
  direct: number;
}

/** Replaced when groups come or go, so that a fan-out under way goes on with those that it began with. */
type Groups = readonly Group[];

/**
 * The topic of a room's `join` and `leave` frames. A room name has no line feed, so it clashes with no topic of
 * messages.
 */
export function presenceTopic(room: string): string {
  return `${room}\n`;
}

function topicIn(dialect: Dialect, topic: string): string {
  return dialect === roomcast ? topic : `${topic}\n${dialect.subprotocol}`;
}

export class Fanout {
  readonly #publish: PublishToTopic;
  readonly #backpressure: Backpressure;
  /** The groups of each topic that has any. */
  readonly #groups = new Map<string, Groups>();

  constructor(publish: PublishToTopic, backpressure: Backpressure) {
    this.#publish = publish;
    this.#backpressure = backpressure;
  }

  /** Both topics of a room. */
  enter({ name, joinLeave }: Heard, listener: Listener): void {
    this.listen(name, listener);
    if (joinLeave) this.listen(presenceTopic(name), listener);
  }

  /** `socketClosed`: as in `unlisten`. */
  leave({ name, joinLeave }: Heard, listener: Listener, socketClosed: boolean): void {
    this.unlisten(name, listener, socketClosed);
    if (joinLeave) this.unlisten(presenceTopic(name), listener, socketClosed);
  }

  listen(topic: string, listener: Listener): void {
    const { dialect, topics } = listener;
    topics?.subscribe(topicIn(dialect, topic));
    if (topics !== undefined && dialect === roomcast) return;
    const group = this.#groupOf(topic, dialect) ?? this.#addGroup(topic, dialect);
    if (topics === undefined && !group.listeners.has(listener)) group.direct++;
    group.listeners.add(listener);
  }

  /** `socketClosed`: the WebSocket server has dropped its subscriptions, and its socket must not be touched. */
  unlisten(topic: string, listener: Listener, socketClosed = false): void {
    const { dialect, topics } = listener;
    if (!socketClosed) topics?.unsubscribe(topicIn(dialect, topic));
    if (topics !== undefined && dialect === roomcast) return;
    const group = this.#groupOf(topic, dialect);
    if (group?.listeners.delete(listener) !== true) return;
    if (topics === undefined) group.direct--;
    if (group.listeners.size === 0) this.#removeGroup(topic, group);
  }

  #groupOf(topic: string, dialect: Dialect): Group | undefined {
    return this.#groups.get(topic)?.find((group) => group.dialect === dialect);
  }

  #addGroup(topic: string, dialect: Dialect): Group {
    const group = { dialect, topic: topicIn(dialect, topic), listeners: new Set<Listener>(), direct: 0 };
    this.#groups.set(topic, [...(this.#groups.get(topic) ?? []), group]);
    return group;
  }

  #removeGroup(topic: string, gone: Group): void {
    const left = this.#groups.get(topic)?.filter((group) => group !== gone) ?? [];
    if (left.length === 0) this.#groups.delete(topic);
    else this.#groups.set(topic, left);
  }

  /** Its socket must be open. */
  isListening(topic: string, listener: Listener): boolean {
    const { dialect, topics } = listener;
    if (topics !== undefined) return topics.isSubscribed(topicIn(dialect, topic));
    return this.#groupOf(topic, dialect)?.listeners.has(listener) ?? false;
  }

  /**
   * Sends a `message` frame to the live members of a room. Members that backpressure stalls first do not get it.
   * `position`: that of the message, in a room with history.
   */
  message(room: Audience, frame: Uint8Array, position: Position | undefined): void {
    const groups = this.#groupsOf(room.name);
    const frames = groups === noGroups ? noFrames : new Array<Frame>(groups.length);
    // Neither a loop over values nor a function is used: either would be objects for each message.
    for (let index = 0; index < groups.length; index++) {
      const { dialect } = groups[index] as Group;
      frames[index] = dialect === roomcast ? frame : dialect.message(frame, position);
    }
    this.#toLive(room, frame, groups, frames, true);
  }

  /** Sends any other frame to the live members of a room. */
  reply(room: Audience, reply: Reply): void {
    const isGap = reply.type === 'gap';
    const groups = this.#groupsOf(room.name);
    const frames = groups.map(({ dialect }) => (isGap && dialect.gapEndsMembership ? '' : dialect.encode(reply)));
    this.#toLive(room, roomcast.encode(reply), groups, frames, false);
    if (isGap) this.#endByGap(groups, reply);
  }

  /** It takes these listeners out of the topic, so each is sent it on its own, after the fan-out. */
  #endByGap(groups: Groups, gap: GapReply): void {
    for (const { dialect, listeners } of groups) {
      if (dialect.gapEndsMembership === true) for (const listener of [...listeners]) listener.reply(gap);
    }
  }

  /**
   * Prepares a frame for at most `listeners` listeners of a topic: encodes it and announces it to backpressure, which
   * may stall some of them. The returned function sends it.
   */
  prepare(topic: string, reply: Reply, listeners: number): () => void {
    const frame = roomcast.encode(reply);
    const groups = this.#groupsOf(topic);
    const frames = groups.map(({ dialect }) => dialect.encode(reply));
    this.#backpressure.beforeFanout(largest(frame, frames), listeners);
    return () => {
      this.#publish(topic, frame, false, false);
      this.#toGroups(groups, frames, false);
    };
  }

  #groupsOf(topic: string): Groups {
    return this.#groups.size === 0 ? noGroups : (this.#groups.get(topic) ?? noGroups);
  }

  #toLive(room: Audience, frame: Frame, groups: Groups, frames: readonly Frame[], compressible: boolean): void {
    this.#backpressure.beforeFanout(largest(frame, frames), room.members - room.detached, room);
    if (room.members === room.detached) return;
    this.#publish(room.name, frame, false, compressible);
    this.#toGroups(groups, frames, compressible);
  }

  /** `frames`: one for each group. Listeners that have left a group since do not get it. */
  #toGroups(groups: Groups, frames: readonly Frame[], compressible: boolean): void {
    for (let index = 0; index < groups.length; index++) {
      const { dialect, direct, listeners, topic } = groups[index] as Group;
      const frame = frames[index] as Frame;
      if (frame.length === 0) continue;
      if (listeners.size > direct) this.#publish(topic, frame, dialect.binary, compressible);
      if (direct === 0) continue;
      for (const listener of [...listeners]) if (listener.topics === undefined) listener.sendUnchecked(frame);
    }
  }
}

const noGroups: Groups = [];
const noFrames: Frame[] = [];

/** In bytes. */
function largest(native: Frame, frames: readonly Frame[]): number {
  let bytes = Buffer.byteLength(native);
  for (let index = 0; index < frames.length; index++) {
    bytes = Math.max(bytes, Buffer.byteLength(frames[index] as Frame));
  }
  return bytes;
}
