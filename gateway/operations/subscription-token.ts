/**
 * Subscription tokens: the right of one user to one room, signed by the issuer of all tokens. Only some dialects have them.
 *
 * Such a token gives the right on its own, whatever rules and grants say, until it ends. It is checked each time it comes, and
 * nothing is kept here: what lasts is the permit of the membership.
 */
import { type Authenticator, KeysUnavailableError } from '../auth/authenticator.ts';
import { TokenError } from '../auth/claims.ts';
import type { Freeze } from '../rooms/freeze.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Logger, truncate } from '../telemetry/log.ts';
import type { Authorised } from './authorise.ts';
import type { Client } from './caller.ts';
import { Refusal } from './refusal.ts';

export interface SubscriptionTokenParts {
  authenticator: Authenticator;
  freeze: Freeze;
  faults: Faults;
  log: Logger;
}

/**
 * Never rejects. Refusals: `unauthorized` if the token is of another user or room, `forbidden` if it is bad or has expired,
 * `unavailable` if it cannot be checked now.
 */
export async function authoriseByToken(
  parts: SubscriptionTokenParts,
  { id, identity }: Client,
  room: string,
  token: string,
): Promise<Authorised> {
  const { authenticator, freeze, log } = parts;
  try {
    const verified = await authenticator.verifySubscription(token);
    // Keys were asked for: before anything that waited is obeyed.
    freeze.check(performance.now());
    const { expiresAt, info, user } = verified;
    if (identity === undefined || user !== identity.user || verified.room !== room) {
      log.info({ connection: id, room }, 'a subscription token of another user or room was refused');
      return new Refusal('unauthorized', 'The token is of another user or room.');
    }
    return { asked: false, until: performance.now() + expiresAt - Date.now(), info, expiresAt };
  } catch (error) {
    return refusalOf(parts, error, { connection: id, room });
  }
}

function refusalOf({ faults, log }: SubscriptionTokenParts, error: unknown, about: object): Refusal {
  if (error instanceof TokenError) {
    const { message, reason } = error;
    log.info({ ...about, reason, error: truncate(message) }, 'subscription token refused');
    const finer = reason === 'expired' ? 'token_expired' : undefined;
    return new Refusal('forbidden', 'The token of this subscription is not valid; get a new one.', { finer });
  }
  if (!(error instanceof KeysUnavailableError)) faults.report('a subscription token could not be verified', error);
  return new Refusal('unavailable', 'The token could not be checked; subscribe again in a moment.');
}
