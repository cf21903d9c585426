/**
 * Fan-out: hands one frame to everybody on this node who listens to a topic, in each listener's dialect.
 *
 * A topic is the messages of a room, or its `join` and `leave` frames. The WebSocket server keeps who listens to what, so
 * that a frame costs one call for one listener or ten thousand. What it cannot do alone is kept here, by topic: how many
 * WebSockets speak another dialect than the native one, and the listeners that are no WebSockets. Nodes that have neither
 * pay one comparison for each frame. Backpressure is told of every frame before it goes out.
 */
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Reply } from '../protocol/reply.ts';
import { roomcast } from '../protocol/roomcast/dialect.ts';
import type { Backpressure, Tally } from './backpressure.ts';

/** Publishes to a topic of the WebSocket server, in one call. */
export type PublishToTopic = (topic: string, frame: Frame, binary: boolean) => void;

/** The topics that one WebSocket is subscribed to. */
export interface Topics {
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  isSubscribed(topic: string): boolean;
}

export interface Listener {
  readonly dialect: Dialect;
  /** Undefined: it is no WebSocket, and is sent each frame by itself. */
  readonly topics: Topics | undefined;
  /** By itself: a frame of its dialect. */
  send(frame: Frame): void;
  /**
   * As one of many: the same without a look at its buffer, which may not change its state in the middle of a fan-out.
   * Backpressure has been told.
   */
  fannedOut(frame: Frame): void;
}

/** A room, as far as fan-out goes. */
export interface Audience extends Tally {
  readonly name: string;
  /** Members on this node, and those of them that get no live message now. */
  readonly members: number;
  readonly detached: number;
}

/** Those who listen to a topic and are not served by the native publish. */
interface Others {
  /** WebSockets by dialect; their topic carries its name. */
  sockets: Map<Dialect, number>;
  direct: Set<Listener>;
}

/** The topic of a room's `join` and `leave` frames; that of its messages is its name. No room has such a name. */
export function presenceTopic(room: string): string {
  return `${room}\n`;
}

/** A frame in the dialects of `Others`. */
interface Encoded {
  /** Of the largest, the native one included. */
  bytes: number;
  send(): void;
}

function topicIn(dialect: Dialect, topic: string): string {
  return dialect === roomcast ? topic : `${topic}\n${dialect.subprotocol}`;
}

export class Fanout {
  readonly #publish: PublishToTopic;
  readonly #backpressure: Backpressure;
  readonly #others = new Map<string, Others>();

  constructor(publish: PublishToTopic, backpressure: Backpressure) {
    this.#publish = publish;
    this.#backpressure = backpressure;
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
    else others.sockets.set(dialect, (others.sockets.get(dialect) ?? 0) + 1);
  }

  /** `gone`: its socket is, and the WebSocket server has forgotten it. */
  unlisten(topic: string, listener: Listener, gone = false): void {
    const { dialect, topics } = listener;
    if (!gone) topics?.unsubscribe(topicIn(dialect, topic));
    if (topics !== undefined && dialect === roomcast) return;
    const others = this.#others.get(topic);
    if (others === undefined) return;
    if (topics === undefined) others.direct.delete(listener);
    else {
      const left = (others.sockets.get(dialect) ?? 0) - 1;
      if (left > 0) others.sockets.set(dialect, left);
      else others.sockets.delete(dialect);
    }
    if (others.sockets.size === 0 && others.direct.size === 0) this.#others.delete(topic);
  }

  /** Its socket is open. */
  isListening(topic: string, listener: Listener): boolean {
    const { dialect, topics } = listener;
    if (topics !== undefined) return topics.isSubscribed(topicIn(dialect, topic));
    return this.#others.get(topic)?.direct.has(listener) ?? false;
  }

  /** A `message` frame, to the live members of a room. Backpressure may put some of them aside first: they do not get it. */
  message(room: Audience, frame: Uint8Array): void {
    this.#toLive(room, frame, this.#others.size === 0 ? undefined : this.#encodeMessage(room.name, frame));
  }

  /** Anything else, to the live members of a room. */
  reply(room: Audience, reply: Reply): void {
    const frame = roomcast.encode(reply);
    const others = this.#others.size === 0 ? undefined : this.#encode(room.name, frame, (to) => to.encode(reply));
    this.#toLive(room, frame, others);
  }

  /**
   * To those who listen to a topic; `listeners` is how many, at most. Backpressure is told now, and may put some aside. The
   * frame goes out when the function that is returned is called.
   */
  prepare(topic: string, reply: Reply, listeners: number): () => void {
    const frame = roomcast.encode(reply);
    const others = this.#encode(topic, frame, (to) => to.encode(reply));
    this.#backpressure.beforeFanout(others?.bytes ?? Buffer.byteLength(frame), listeners);
    return () => {
      this.#publish(topic, frame, false);
      others?.send();
    };
  }

  #toLive(room: Audience, frame: Frame, others: Encoded | undefined): void {
    this.#backpressure.beforeFanout(others?.bytes ?? frame.length, room.members - room.detached, room);
    if (room.members === room.detached) return;
    this.#publish(room.name, frame, false);
    others?.send();
  }

  /** Apart from `message`, which would allocate for the function even where nobody needs it. */
  #encodeMessage(topic: string, frame: Uint8Array): Encoded | undefined {
    return this.#encode(topic, frame, (dialect) => dialect.message(frame));
  }

  /** Once for each dialect that somebody listens in, besides WebSockets of the native one. Undefined where nobody does. */
  #encode(topic: string, native: Frame, encode: (dialect: Dialect) => Frame): Encoded | undefined {
    const others = this.#others.get(topic);
    if (others === undefined) return undefined;
    const frames = new Map<Dialect, Frame>([[roomcast, native]]);
    const add = (dialect: Dialect) => frames.has(dialect) || frames.set(dialect, encode(dialect));
    for (const dialect of others.sockets.keys()) add(dialect);
    for (const { dialect } of others.direct) add(dialect);
    const send = () => {
      for (const [dialect, frame] of frames) {
        if (others.sockets.has(dialect)) this.#publish(topicIn(dialect, topic), frame, dialect.binary);
        for (const listener of [...others.direct]) if (listener.dialect === dialect) listener.fannedOut(frame);
      }
    };
    return { bytes: Math.max(...[...frames.values()].map((frame) => Buffer.byteLength(frame))), send };
  }
}
