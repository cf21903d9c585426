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

/** The listeners of a topic that the native publish does not reach. */
interface OtherListeners {
  /** The WebSockets per dialect. They subscribe to a topic of that dialect. */
  sockets: Map<Dialect, Set<Listener>>;
  direct: Set<Listener>;
}

/**
 * The topic of a room's `join` and `leave` frames. A room name has no line feed, so it clashes with no topic of
 * messages.
 */
export function presenceTopic(room: string): string {
  return `${room}\n`;
}

/** A frame in the dialects of `OtherListeners`. */
interface Encoded {
  /** Size of the largest of them and of the native frame. */
  bytes: number;
  send(compressible: boolean): void;
}

function topicIn(dialect: Dialect, topic: string): string {
  return dialect === roomcast ? topic : `${topic}\n${dialect.subprotocol}`;
}

export class Fanout {
  readonly #publish: PublishToTopic;
  readonly #backpressure: Backpressure;
  readonly #others = new Map<string, OtherListeners>();

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
    let others = this.#others.get(topic);
    if (others === undefined) {
      others = { sockets: new Map(), direct: new Set() };
      this.#others.set(topic, others);
    }
    if (topics === undefined) others.direct.add(listener);
    else {
      const sockets = others.sockets.get(dialect) ?? new Set();
      others.sockets.set(dialect, sockets.add(listener));
    }
  }

  /** `socketClosed`: the WebSocket server has dropped its subscriptions, and its socket must not be touched. */
  unlisten(topic: string, listener: Listener, socketClosed = false): void {
    const { dialect, topics } = listener;
    if (!socketClosed) topics?.unsubscribe(topicIn(dialect, topic));
    if (topics !== undefined && dialect === roomcast) return;
    const others = this.#others.get(topic);
    if (others === undefined) return;
    if (topics === undefined) others.direct.delete(listener);
    else {
      const sockets = others.sockets.get(dialect);
      sockets?.delete(listener);
      if (sockets?.size === 0) others.sockets.delete(dialect);
    }
    if (others.sockets.size === 0 && others.direct.size === 0) this.#others.delete(topic);
  }

  /** Its socket must be open. */
  isListening(topic: string, listener: Listener): boolean {
    const { dialect, topics } = listener;
    if (topics !== undefined) return topics.isSubscribed(topicIn(dialect, topic));
    return this.#others.get(topic)?.direct.has(listener) ?? false;
  }

  /**
   * Sends a `message` frame to the live members of a room. Members that backpressure stalls first do not get it.
   * `position`: that of the message, in a room with history.
   */
  message(room: Audience, frame: Uint8Array, position: Position | undefined): void {
    const others = this.#others.size === 0 ? undefined : this.#encodeMessage(room.name, frame, position);
    this.#toLive(room, frame, others, true);
  }

  /** Sends any other frame to the live members of a room. */
  reply(room: Audience, reply: Reply): void {
    const frame = roomcast.encode(reply);
    const isGap = reply.type === 'gap';
    const encode = (to: Dialect) => (isGap && to.gapEndsMembership === true ? '' : to.encode(reply));
    const others = this.#others.size === 0 ? undefined : this.#encode(room.name, frame, encode);
    this.#toLive(room, frame, others, false);
    if (isGap && this.#others.size > 0) this.#endByGap(room.name, reply);
  }

  /** It takes these listeners out of the topic, so each is sent it on its own, after the fan-out. */
  #endByGap(topic: string, gap: GapReply): void {
    const others = this.#others.get(topic);
    if (others === undefined) return;
    for (const listener of [...others.direct, ...[...others.sockets.values()].flatMap((sockets) => [...sockets])]) {
      if (listener.dialect.gapEndsMembership === true) listener.reply(gap);
    }
  }

  /**
   * Prepares a frame for at most `listeners` listeners of a topic: encodes it and announces it to backpressure, which
   * may stall some of them. The returned function sends it.
   */
  prepare(topic: string, reply: Reply, listeners: number): () => void {
    const frame = roomcast.encode(reply);
    const others = this.#encode(topic, frame, (to) => to.encode(reply));
    this.#backpressure.beforeFanout(others?.bytes ?? Buffer.byteLength(frame), listeners);
    return () => {
      this.#publish(topic, frame, false, false);
      others?.send(false);
    };
  }

  #toLive(room: Audience, frame: Frame, others: Encoded | undefined, compressible: boolean): void {
    this.#backpressure.beforeFanout(others?.bytes ?? frame.length, room.members - room.detached, room);
    if (room.members === room.detached) return;
    this.#publish(room.name, frame, false, compressible);
    others?.send(compressible);
  }

  /** Separate from `message`, whose every call would allocate for the function. */
  #encodeMessage(topic: string, frame: Uint8Array, position: Position | undefined): Encoded | undefined {
    return this.#encode(topic, frame, (dialect) => dialect.message(frame, position));
  }

  /** Encodes once per dialect of the other listeners. Undefined if there are none. */
  #encode(topic: string, native: Frame, encode: (dialect: Dialect) => Frame): Encoded | undefined {
    const others = this.#others.get(topic);
    if (others === undefined) return undefined;
    const frames = new Map<Dialect, Frame>([[roomcast, native]]);
    const add = (dialect: Dialect) => frames.has(dialect) || frames.set(dialect, encode(dialect));
    for (const dialect of others.sockets.keys()) add(dialect);
    for (const { dialect } of others.direct) add(dialect);
    const send = (compressible: boolean) => {
      for (const [dialect, frame] of frames) {
        if (frame.length === 0) continue;
        if (others.sockets.has(dialect)) {
          this.#publish(topicIn(dialect, topic), frame, dialect.binary, compressible);
        }
        for (const listener of [...others.direct]) if (listener.dialect === dialect) listener.sendUnchecked(frame);
      }
    };
    return { bytes: Math.max(...[...frames.values()].map((frame) => Buffer.byteLength(frame))), send };
  }
}
