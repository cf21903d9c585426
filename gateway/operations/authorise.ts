/**
 * Authorise: may a client connect, subscribe or publish? By rule or grant at once, or by asking the operator's backend.
 *
 * Every connect, subscribe and publish of a client passes here. It keeps no state; the answers that may be remembered are in
 * gateway/auth/callback/callback.ts.
 */
import type { Callback, Verdict } from '../auth/callback/callback.ts';
import type { Access, Action } from '../rooms/access.ts';
import type { Freeze } from '../rooms/freeze.ts';
import type { CallbackAction } from '../telemetry/events.ts';
import { type Client, forbidden, may } from './caller.ts';
import { Refusal } from './refusal.ts';

export interface AuthoriseParts {
  config: { authConnect: boolean };
  access: Access;
  /** Undefined without GATEWAY_AUTH_URL. */
  callback: Callback | undefined;
  freeze: Freeze;
}

/** What the right rests on. */
export interface Permit {
  /** The backend gave it, and not a rule or the token. */
  readonly asked: boolean;
  /** By performance.now(). Then the backend has to be asked again. */
  readonly until: number;
  /** JSON text for presence, in place of that of the token. */
  readonly info: string | undefined;
  /** Unix ms. Set: a subscription token gave it, and the right ends with that. Infinity: the token has no end. */
  readonly expiresAt?: number;
  /** The token of the connection makes it a member, and not a request. */
  readonly assigned?: true;
}

export type Authorised = Permit | Refusal;

/** The right comes from a rule or from the token. */
export const byRule: Permit = { asked: false, until: Number.POSITIVE_INFINITY, info: undefined };

/** The token of the connection says so, as that of a subscription may: whatever rules say, and until another one comes. */
export const byAssignment: Permit = { ...byRule, expiresAt: Number.POSITIVE_INFINITY, assigned: true };

/**
 * A promise only if the backend has to be asked; it never rejects. Refusals: `forbidden`, or `unavailable` if the backend gave
 * no answer.
 */
export function authorise(
  parts: AuthoriseParts,
  client: Client,
  action: Action,
  room: string,
): Authorised | Promise<Authorised> {
  const decision = may(parts.access, client, action, room);
  if (decision === 'allowed') return byRule;
  return decision === 'refused' ? forbidden(action) : askAbout(parts, client, action, room);
}

/** On its own, because a function that makes a closure costs memory each time, also where it makes none. */
function askAbout(
  parts: AuthoriseParts,
  client: Client,
  action: Action,
  room: string,
): Authorised | Promise<Authorised> {
  const verdict = ask(parts, client, action, room);
  if (!(verdict instanceof Promise)) return authorised(verdict, action);
  return verdict.then((answer) => {
    // Before anything that waited is obeyed.
    parts.freeze.check(performance.now());
    // A rule or a token that came meanwhile may forbid it.
    return may(parts.access, client, action, room) === 'refused' ? forbidden(action) : authorised(answer, action);
  });
}

/** The same for a connection, before it is welcomed, and for the client of a publish by POST. `client` has its identity. */
export function authoriseConnect(parts: AuthoriseParts, client: Client): Authorised | Promise<Authorised> {
  if (!parts.config.authConnect) return byRule;
  const verdict = ask(parts, client, 'connect', undefined);
  return verdict instanceof Promise
    ? verdict.then((answer) => authorised(answer, 'connect'))
    : authorised(verdict, 'connect');
}

function ask(
  { callback }: AuthoriseParts,
  { identity, id, address }: Client,
  action: CallbackAction,
  room: string | undefined,
): Verdict | Promise<Verdict> {
  // The configuration allows no rule to ask without GATEWAY_AUTH_URL.
  if (callback === undefined || identity === undefined) return 'unanswered';
  const about = room === undefined ? {} : { room };
  return callback.ask({ action, user: identity.user, ...about, connection: id, address });
}

function authorised(verdict: Verdict, action: CallbackAction): Authorised {
  if (verdict === 'denied') return forbidden(`${action}ByCallback`);
  if (verdict !== 'unanswered') return { asked: true, ...verdict };
  return new Refusal('unavailable', 'The server that decides about this did not answer; try again in a moment.');
}
