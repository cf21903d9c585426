/**
 * `POST /rooms/{room}/messages`: one publish without a connection.
 *
 * The token is checked for each request. The rate of a connection applies to each user of this node, and to each address
 * of clients without a token: a request has no connection of its own. It knows no responses.
 */
import { closeCode } from '../../../shared/codes.ts';
import { KeysUnavailableError } from '../../auth/authenticator.ts';
import { TokenError } from '../../auth/claims.ts';
import type { Identity } from '../../auth/grants.ts';
import type { ConnectionParts } from '../../connection/parts.ts';
import { authorise, authoriseConnect } from '../../operations/authorise.ts';
import { publish } from '../../operations/publish.ts';
import { Refusal } from '../../operations/refusal.ts';
import { readPublishBody } from '../../protocol/roomcast/decode.ts';
import type { Problem } from '../problem.ts';
import type { ClientRates } from './client-rates.ts';
import { type ProblemDetail, problem, problemOfClose } from './problem.ts';

/** A request that waited while the process stood still is read within this time after it goes on. */
const staleMs = 1_000;

export interface Post {
  room: string;
  token: string | undefined;
  address: string;
  /** The body. */
  text: string;
}

/** The JSON text of the answer to a publish, or a problem. */
export type Published = { ok: string } | { problem: Problem };

export class Publishing {
  readonly #rates: ClientRates;

  constructor(rates: ClientRates) {
    this.#rates = rates;
  }

  /** Never rejects, except for a fault of the gateway. */
  async publish(parts: ConnectionParts, { room, token, address, text }: Post): Promise<Published> {
    if (stoodStill(parts)) return { problem: problem(stale) };
    const identity = await identify(parts, token);
    if ('problem' in identity) return identity;
    const retryAfterMs = this.#rates.take(identity.user, address);
    if (retryAfterMs > 0) {
      parts.events.publishEnded('client', 'rate_limited', 0);
      const message = 'Too many messages; send the next one after Retry-After.';
      return { problem: problem({ code: 'rate_limited', message, retryAfterMs }) };
    }
    const request = readPublishBody(room, text);
    if (request.type === 'rejected') return { problem: problem(request) };
    const client = { id: null, address, identity, isMember: () => false };
    const admitted = await authoriseConnect(parts, client);
    if (admitted instanceof Refusal) return { problem: problem(asUnauthorized(admitted)) };
    const authorised = await authorise(parts, client, 'publish', room);
    if (stoodStill(parts)) return { problem: problem(stale) };
    const { post } = parts.lanes;
    const bytes = await post.begin(request.data);
    try {
      // It may have waited for its place.
      if (stoodStill(parts)) return { problem: problem(stale) };
      const { duplicate, position } = await publish(parts, client, authorised, request);
      return { ok: JSON.stringify({ ...position, ...(duplicate ? { duplicate } : {}) }) };
    } catch (error) {
      if (error instanceof Refusal) return { problem: problem(error) };
      throw error;
    } finally {
      post.end(bytes);
    }
  }
}

const stale: ProblemDetail = {
  code: 'unavailable',
  message: 'The node stood still, and does not take what waited; publish again.',
};

/** What waited meanwhile is old: nobody may get it as new. */
function stoodStill({ freeze }: ConnectionParts): boolean {
  const now = performance.now();
  freeze.check(now);
  return now - freeze.thawedAt < staleMs;
}

/** A denied `connect` is what 4501 is for a connection. */
function asUnauthorized({ code, message }: Refusal): ProblemDetail {
  return { code: code === 'forbidden' ? 'unauthorized' : code, message };
}

async function identify(
  { authenticator, blocks, config, log, events }: ConnectionParts,
  token: string | undefined,
): Promise<Identity | { problem: Problem }> {
  if (token === undefined) {
    if (config.anonymous) return authenticator.anonymous;
    return { problem: problem({ code: 'unauthorized', message: 'Send a token, as Authorization: Bearer.' }) };
  }
  try {
    const { identity } = await authenticator.verify(token);
    if (identity.user === null || !blocks.has(identity.user)) return identity;
    events.handshakeRejected('blocked');
    return { problem: problemOfClose(closeCode.disconnected) };
  } catch (error) {
    if (error instanceof TokenError) {
      events.handshakeRejected(`token_${error.reason}`);
      return { problem: problem({ code: 'unauthorized', message: 'The token is not valid; get a new one.' }) };
    }
    if (!(error instanceof KeysUnavailableError)) log.error({ error: String(error) }, 'a token could not be verified');
    else events.handshakeRejected('token_unavailable');
    const message = 'The token could not be checked; send it again in a moment.';
    return { problem: problem({ code: 'unavailable', message }) };
  }
}
