/**
 * The requests to the threads of the load client, and their answers. Each request has one answer, in order.
 */
import type { Credentials, DialectName, Position } from './dialects.ts';
import type { Faults } from './sequence.ts';

/** The servers under load, and how connections name themselves and their rooms there. */
export interface Place {
  dialect: DialectName;
  /** All nodes are here, on different ports. */
  host: string;
  /** TLS. */
  secure: boolean;
  path: string;
  /** Of the names of users, and of rooms: `r` makes them `r0`, `r1`, … */
  userPrefix: string;
  roomPrefix: string;
  credentials: Credentials;
}

export interface Audience {
  place: Place;
  /** Of the nodes: the members of each room are spread over all of them. */
  ports: number[];
  connections: number;
  rooms: number;
  /** 127.<block>.0.* are the source addresses to a host of 127.*. */
  block: number;
  /** Connection i is in the rooms i*k to i*k + k-1, modulo the number of rooms. */
  roomsPerConnection: number;
  /** By room: the position to resume from, and the number of the first expected message. */
  since?: { position: Position; number: number }[];
}

/** Microseconds of the monotonic clock. Only messages scheduled from `fromUs` to `toUs` are measured. */
export interface Window {
  fromUs: number;
  toUs: number;
}

export interface ReceiverData {
  audience: Audience;
  /** This thread has the connections first, first + step, and so on. */
  first: number;
  step: number;
}

export type ReceiverRequest =
  | { kind: 'connect'; atOnce: number; deadlineMs: number }
  | { kind: 'begin'; window: Window }
  | { kind: 'progress' }
  /** By room: how many messages were published so far. */
  | { kind: 'end'; published: Int32Array };

export interface Connected {
  connections: number;
  /** Handshakes that were refused with a time to try again, and were tried again then. */
  refused: number;
  seconds: number;
  /** The error of a connection that failed. */
  failure: string | undefined;
}

export interface Received {
  /** Latencies of measured messages, as of a histogram. */
  counts: Uint32Array<ArrayBuffer>;
  largest: number;
  /** Messages that arrived inside the window, whatever their scheduled time. */
  inWindow: number;
  faults: Faults;
  /** Texts that are not messages: refusals, and reports of missing messages. */
  told: number;
  firstTold: string | undefined;
  closed: number;
  firstClosed: string | undefined;
}

export interface PublisherData {
  place: Place;
  port: number;
  /** Each publishes to its own part of the rooms. */
  connections: number;
  block: number;
  rooms: number;
  payloadBytes: number;
}

export type PublisherRequest =
  | { kind: 'connect'; deadlineMs: number }
  /** Messages are due at `startUs` and from there on at the rate, until the end of the window. */
  | { kind: 'publish'; perSecond: number; startUs: number; window: Window };

export interface Published {
  /** By room, since the beginning. */
  published: Int32Array;
  /** Scheduled inside the window, and how many of them were sent. */
  scheduled: number;
  sent: number;
  /** Lateness of sending, p99. */
  lateP99Us: number;
  /** A connection ended: nothing more can be published before the next `connect`. */
  ended: boolean;
  told: number;
  firstTold: string | undefined;
}
