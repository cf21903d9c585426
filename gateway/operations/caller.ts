/**
 * The caller of an operation, and its rights.
 *
 * A client has the rights that the rule of the room and its token give (gateway/rooms/access.ts). `server` is the
 * operator's own backend: it needs no right, but the rule of the room must offer what it asks for.
 */
import type { Identity } from '../auth/grants.ts';
import type { FinerCode } from '../protocol/reply.ts';
import { type Access, type Action, type Decision, defaultRule, type Reading } from '../rooms/access.ts';
import { Refusal } from './refusal.ts';

export interface Client {
  /** Of its connection. Null for a publish by POST, which has none. */
  readonly id: string | null;
  readonly address: string;
  /** Undefined before authentication: the client has no rights. */
  readonly identity: Identity | undefined;
  isMember(room: string): boolean;
}

export const server = Symbol('server');

export type Caller = Client | typeof server;

/** Whether the client may publish or subscribe to the room, by rule or grant. */
export function may(access: Access, caller: Client, action: Action, room: string): Decision {
  return caller.identity === undefined ? 'refused' : access.decide(caller.identity, action, room);
}

/** True if the caller may read the history or the presence of the room. */
export function mayRead(access: Access, caller: Caller, what: Reading, room: string): boolean {
  if (caller === server) return access.offers(what, room);
  const { identity } = caller;
  return identity !== undefined && access.allowsReading(identity, what, room, caller.isMember(room));
}

const sentences = {
  subscribe: 'Neither a room rule nor the token allows to subscribe to this room.',
  subscribeAnyMore: 'Neither a room rule nor the token allows to subscribe to this room any more.',
  renew: 'Only members of a room may bring a new token for it; subscribe with it.',
  publish: 'Neither a room rule nor the token allows to publish to this room.',
  connectByCallback: 'The server that decides about connections does not allow this one.',
  subscribeByCallback: 'The server that decides about this room does not allow to subscribe to it.',
  publishByCallback: 'The server that decides about this room does not allow to publish to it.',
  history: 'Only members of a room that keeps history may read it, or a token that says so.',
  administer: 'Only the server may do this.',
  presence: 'Only members of a room whose rule has presence may ask who is there, or a token that says so.',
};

/** The field of a rule that offers it. */
const offer = { history: '"history": {}', presence: '"presence": true' };

/** Why the caller may not read the history or the presence of the room. */
export function unreadable(access: Access, caller: Caller, what: Reading, room: string): Refusal {
  if (caller !== server) return access.offers(what, room) ? forbidden(what) : forbidden(what, 'not_offered');
  const rule = access.rule(room);
  const sentence =
    rule === defaultRule
      ? `No rule of GATEWAY_ROOMS_FILE matches this room; add one with ${offer[what]}.`
      : `The rule of GATEWAY_ROOMS_FILE for this room, "match": ${JSON.stringify(rule.match)}, has no ${what}; add ${offer[what]} to it.`;
  return new Refusal('forbidden', sentence, { finer: 'not_offered' });
}

export function forbidden(what: keyof typeof sentences, finer?: FinerCode): Refusal {
  return new Refusal('forbidden', sentences[what], { finer });
}
