/**
 * Events: what happens on a node, passed to listeners. Metrics listen, and webhooks.
 *
 * The parts of the gateway know this interface and no listener. A call is synchronous, must not throw, and allocates
 * nothing; without a listener it is an empty function. All values are plain: a listener sees no object of the gateway.
 */
import type { GapFrame } from '../../shared/protocol.ts';

/** Why a handshake, or the user of the token that came with it, was refused. */
export type HandshakeRejection = (typeof handshakeRejections)[number];

export const handshakeRejections = [
  'request',
  'version',
  'subprotocol',
  'origin',
  'capacity',
  'descriptors',
  'draining',
  'overload',
  'address',
  'rooms',
  'token_malformed',
  'token_signature',
  'token_key',
  'token_expired',
  'token_claims',
  'token_unavailable',
  'blocked',
  'callback_denied',
  'callback_unavailable',
] as const;

/** Who publishes: a client, or the operator's server, by the HTTP API or by an input. */
export type PublishSource = (typeof publishSources)[number];

export const publishSources = ['client', 'api', 'input'] as const;

/**
 * What becomes of a well-formed publish: the backplane took it (`ok`), or had it already (`duplicate`), or the error code of
 * the answer. `unavailable`, `timeout` and `internal` are failures of the cluster; `forbidden` and `rate_limited` are its rules.
 */
export type PublishOutcome = (typeof publishOutcomes)[number];

export const publishOutcomes = [
  'ok',
  'duplicate',
  'forbidden',
  'rate_limited',
  'unavailable',
  'timeout',
  'internal',
] as const;

/** `slow`: dropped for a slow reader. `unreadable`: came through the backplane in an unknown format. */
export type DropReason = (typeof dropReasons)[number];

export const dropReasons = ['slow', 'unreadable'] as const;

/**
 * What becomes of events for the operator's backend: `failed`, the receiver has not taken them and they are sent again;
 * `expired`, given up after that; `dropped`, they were too many, or the outbox refused them.
 */
export type WebhookResult = (typeof webhookResults)[number];

export const webhookResults = ['delivered', 'failed', 'expired', 'dropped'] as const;

/**
 * What becomes of a message of an input: `duplicate`, its key was published before; `parked`, it never can be published; `retried`,
 * an attempt failed and another one follows.
 */
export type InputResult = (typeof inputResults)[number];

export const inputResults = ['published', 'duplicate', 'parked', 'retried'] as const;

/** Files that a running node reads again. */
export type ReloadSubject = (typeof reloadSubjects)[number];

export const reloadSubjects = ['rooms', 'certificate'] as const;

/** What the operator's backend is asked for. */
export type CallbackAction = (typeof callbackActions)[number];

export const callbackActions = ['connect', 'subscribe', 'publish'] as const;

/** `timeout`: no whole answer in time; `error`: none that can be used; `overload`: not asked, too many are under way. */
export type CallbackResult = (typeof callbackResults)[number];

export const callbackResults = ['allowed', 'denied', 'timeout', 'error', 'overload'] as const;

/** What a client has the operator's backend do, with an answer or without. */
export type CallKind = (typeof callKinds)[number];

export const callKinds = ['rpc', 'send'] as const;

/** `refused`: answered with an error of the backend. The others are those of questions. */
export type CallResult = (typeof callResults)[number];

export const callResults = ['answered', 'refused', 'timeout', 'error', 'overload'] as const;

export interface Events {
  connectionOpened(): void;
  /** Once per opened connection. `code`: the close code, ours if we closed it (RFC 6455 section 7.4). */
  connectionClosed(code: number): void;
  /** A connection has got its first identity. `connection`: its number on this node. `user`: null if anonymous. */
  clientWelcomed(connection: number, user: string | null): void;
  /** A connection that was welcomed has ended. `user`: its last one. */
  clientLeft(connection: number, user: string | null): void;
  handshakeRejected(reason: HandshakeRejection): void;
  heartbeatTimedOut(): void;
  /** Round trip of a WebSocket ping. */
  pingRoundTrip(seconds: number): void;

  /** The first member of a room on this node joined. */
  roomOccupied(room: string): void;
  /** The last member of a room on this node left. */
  roomVacated(room: string): void;

  /** A publish has its outcome. `seconds`: since it was handed to the backplane; 0 if it never was. */
  publishEnded(source: PublishSource, outcome: PublishOutcome, seconds: number): void;
  /**
   * A message was handed to `members` live members. `at`: when the publishing node accepted it, Unix ms by its clock;
   * undefined for a message from history.
   */
  delivered(members: number, at: number | undefined): void;
  /** A message from history was handed to one member that catches up. */
  fed(): void;
  dropped(reason: DropReason, messages: number): void;

  /** A `gap` was sent: to a room's members on this node, or to one member. */
  gapTold(reason: GapFrame['reason']): void;
  /** A gap was healed: missed messages were delivered from history. */
  gapHealed(): void;
  /** A `subscribe` with `since` to a room with history was answered. */
  resumed(result: 'recovered' | 'refused'): void;
  /** Members of dead nodes were removed from rooms. */
  membersReaped(members: number): void;

  /** A canary came back. */
  backplaneRoundTrip(seconds: number): void;
  /** A lost connection to the backplane was made again. */
  backplaneReconnected(): void;
  /** A question to all nodes was answered by all of them, or its deadline has passed. */
  controlAsked(seconds: number): void;
  reloaded(what: ReloadSubject, result: 'taken' | 'refused'): void;
  /** Of so many events, at each attempt. */
  webhooks(result: WebhookResult, events: number): void;
  /** `input`: its name in GATEWAY_INPUTS_FILE. */
  inputTaken(input: string, result: InputResult): void;
  /** The process stood still. */
  froze(): void;
  /** A question to the operator's backend has ended. Not told of answers that were remembered. */
  callbackAnswered(action: CallbackAction, result: CallbackResult, seconds: number): void;
  /** A call of a client has its answer from the operator's backend, or none. */
  callAnswered(kind: CallKind, result: CallResult, seconds: number): void;

  /**
   * The HTTP API answered a request. `route`: the template of its path, or `other`. `status`: `aborted` if the client went
   * away before it had sent its body.
   */
  requestAnswered(route: string, status: number | 'aborted', seconds: number): void;
}

type Name = keyof Events;
type Call = (...values: never[]) => void;

/** All event names; the compiler checks that none is missing. */
const names = Object.keys({
  connectionOpened: 0,
  connectionClosed: 0,
  clientWelcomed: 0,
  clientLeft: 0,
  handshakeRejected: 0,
  heartbeatTimedOut: 0,
  pingRoundTrip: 0,
  roomOccupied: 0,
  roomVacated: 0,
  publishEnded: 0,
  delivered: 0,
  fed: 0,
  dropped: 0,
  gapTold: 0,
  gapHealed: 0,
  resumed: 0,
  membersReaped: 0,
  backplaneRoundTrip: 0,
  backplaneReconnected: 0,
  controlAsked: 0,
  reloaded: 0,
  webhooks: 0,
  inputTaken: 0,
  froze: 0,
  callbackAnswered: 0,
  callAnswered: 0,
  requestAnswered: 0,
} satisfies Record<Name, 0>) as Name[];

/** Passes each event to the listeners that have a method for it, in order. */
export function tellEvents(...listeners: Partial<Events>[]): Events {
  const told = names.map((name) => [name, toAll(listeners, name)]);
  return Object.fromEntries(told) as Events;
}

function toAll(listeners: Partial<Events>[], name: Name): Call {
  const calls = listeners.flatMap((listener) => (listener[name] === undefined ? [] : [listener[name].bind(listener)]));
  const [only, ...more] = calls as Call[];
  if (only === undefined) return () => undefined;
  if (more.length === 0) return only;
  return (...values) => {
    only(...values);
    for (const call of more) call(...values);
  };
}
