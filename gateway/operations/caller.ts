/**
 * The caller of an operation, and its rights.
 *
 * A client has the rights that the rule of the room and its token give (gateway/rooms/access.ts). `server` is the
 * operator's own backend: it needs no right, but the rule of the room must offer what it asks for.
 */
import type { Identity } from '../auth/grants.ts';
import type { Access, Action, Reading } from '../rooms/access.ts';
import { Refusal } from './refusal.ts';

export interface Client {
  /** Undefined before authentication: the client has no rights. */
  readonly identity: Identity | undefined;
  isMember(room: string): boolean;
}

export const server = Symbol('server');

export type Caller = Client | typeof server;

/** True if the caller may publish or subscribe to the room. */
export function may(access: Access, caller: Caller, action: Action, room: string): boolean {
  if (caller === server) return true;
  return caller.identity !== undefined && access.allows(caller.identity, action, room);
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
  publish: 'Neither a room rule nor the token allows to publish to this room.',
  history: 'Only members of a room that keeps history may read it, or a token that says so.',
  administer: 'Only the server may do this.',
  presence: 'Only members of a room whose rule has presence may ask who is there, or a token that says so.',
};

export function forbidden(what: keyof typeof sentences): Refusal {
  return new Refusal('forbidden', sentences[what]);
}
