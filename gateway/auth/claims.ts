/**
 * The claims of a token whose signature is good: whose it is, what it grants, and until when.
 *
 * `exp` and `sub` are required for a connection (RFC 7519 section 4.1), neither for a subscription, nor with `insecure`. Claims are copied by name; the
 * payload is never merged into an object. It knows no keys.
 */
import QuickLRU from 'quick-lru';
import { isRoomName, roomNameRule } from '../../shared/room.ts';
import { allGrants, type Grants, type Identity, isUserName, maxInfoBytes, maxUserBytes, readGrants } from './grants.ts';

/** Why a token was refused; also a metric label, so the set is closed. */
export type TokenRefusal = 'malformed' | 'signature' | 'key' | 'expired' | 'claims';

/** The token is refused for good. The message is for the log; clients never see it. */
export class TokenError extends Error {
  readonly reason: TokenRefusal;

  constructor(reason: TokenRefusal, message: string) {
    super(message);
    this.name = 'TokenError';
    this.reason = reason;
  }
}

export interface Verified {
  /** Anonymous only with the setting `insecure`. */
  identity: Identity;
  /** Unix milliseconds; Infinity only with `insecure`. From then on no frame of this connection is obeyed. */
  expiresAt: number;
  /** Only with subscriptions. */
  assigned: readonly AssignedRoom[];
}

/** A room whose member the user is from the connect on. */
export interface AssignedRoom {
  room: string;
  /** JSON text for presence, in place of that of the token. */
  info: string | undefined;
  /** JSON text for the client. */
  data: string | undefined;
}

/** For one room, and for nothing else. */
export interface VerifiedSubscription {
  /** Null: an anonymous one. */
  user: string | null;
  room: string;
  /** JSON text for presence. */
  info: string | undefined;
  /** Unix milliseconds; Infinity without `exp`. */
  expiresAt: number;
}

/** Tolerated difference between the clocks of issuer and gateway. */
export const toleranceSeconds = 5;
/** The last second of the year 9999; a larger `exp` is a mistake. */
const latestExpiry = 253_402_300_799;

/** As far as they are read. `exp` is a number, because jose has checked it. */
export interface Claims {
  sub?: unknown;
  exp?: number;
  info?: unknown;
  rooms?: unknown;
  channel?: unknown;
  channels?: unknown;
  subs?: unknown;
}

export interface ClaimSettings {
  /** There are tokens for one subscription: those with the claim `channel`; and `channels` and `subs` assign rooms. */
  centrifugo: boolean;
  /** A token may be without `sub`, which is anonymous, and without `exp`; and every one has all rights. */
  insecure: boolean;
}

/** The function throws a TokenError. */
export function claimsReader({
  centrifugo,
  insecure,
}: ClaimSettings): (claims: Claims) => Verified | VerifiedSubscription {
  const grantsOf = rememberGrants();
  return (claims) => {
    if (centrifugo && claims.channel !== undefined) return readSubscription(claims);
    const { identity, expiresAt } = insecure ? readInsecurely(claims) : readConnection(claims, grantsOf);
    // Not by a spread with a field behind it: Node 20 makes a shape for each such object, and thousands are remembered.
    return { identity, expiresAt, assigned: centrifugo ? readAssigned(claims) : none };
  };
}

/** The claims seen last are remembered: so many at least, twice as many at most. */
const maxRememberedGrants = 1_000;
const maxRememberedCharacters = 1_000;

/** Most tokens of an issuer have equal grants. They are checked once, and all connections share the result. */
function rememberGrants(): (claim: unknown) => Grants {
  const remembered = new QuickLRU<string, Grants>({ maxSize: maxRememberedGrants });
  return (claim) => {
    const text = JSON.stringify(claim) ?? '';
    const known = remembered.get(text);
    if (known !== undefined) return known;
    const grants = checkedGrants(claim);
    if (text.length <= maxRememberedCharacters) remembered.set(text, grants);
    return grants;
  };
}

function checkedGrants(claim: unknown): Grants {
  try {
    return readGrants(claim);
  } catch (error) {
    throw new TokenError('claims', (error as TypeError).message);
  }
}

const none: readonly AssignedRoom[] = [];

/** `channels` is a list of rooms, `subs` has options for each: `info` and `data`. A room may be in both. */
function readAssigned({ channels, subs }: Claims): readonly AssignedRoom[] {
  if (isEmpty(channels) && isEmpty(subs)) return none;
  if (!isEmpty(channels) && !Array.isArray(channels)) throw new TokenError('claims', 'channels is no list of rooms');
  if (!isEmpty(subs) && !isObject(subs)) throw new TokenError('claims', 'subs is no object with a field for each room');
  const rooms = new Map<unknown, AssignedRoom>();
  for (const room of (channels ?? []) as unknown[]) rooms.set(room, optionsOf('channels', room, {}));
  for (const [room, options] of Object.entries(subs ?? {})) rooms.set(room, optionsOf('subs', room, options));
  return [...rooms.values()];
}

/** Of absent claims, null, and an empty list (PHP's empty map). */
function isEmpty(claim: unknown): boolean {
  return claim === undefined || claim === null || (Array.isArray(claim) && claim.length === 0);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function optionsOf(claim: string, room: unknown, options: unknown): AssignedRoom {
  if (!isRoomName(room)) throw new TokenError('claims', `${claim} names a room that is not ${roomNameRule}`);
  const { info, data } = isObject(options) ? options : {};
  return { room, info: infoOf(info), data: data === undefined ? undefined : JSON.stringify(data) };
}

type Connection = Omit<Verified, 'assigned'>;

function readConnection({ sub, exp, info, rooms }: Claims, grantsOf: (claim: unknown) => Grants): Connection {
  if (!isUserName(sub)) throw badUser();
  if (exp === undefined) throw new TokenError('claims', 'exp is missing');
  return { identity: identityOf(sub, grantsOf(rooms), info), expiresAt: endOf(exp) };
}

function readInsecurely({ sub, exp, info }: Claims): Connection {
  return { identity: identityOf(userOf(sub), allGrants, info), expiresAt: endOf(exp) };
}

function readSubscription({ sub, exp, info, channel }: Claims): VerifiedSubscription {
  if (!isRoomName(channel)) throw new TokenError('claims', 'channel is no name of a room');
  return { user: userOf(sub), room: channel, info: infoOf(info), expiresAt: endOf(exp) };
}

/** Null: anonymous. */
function userOf(sub: unknown = ''): string | null {
  if (sub === '') return null;
  if (!isUserName(sub)) throw badUser();
  return sub;
}

function identityOf(user: string | null, grants: Grants, info: unknown): Identity {
  const text = infoOf(info);
  return text === undefined ? { user, grants } : { user, grants, info: text };
}

function badUser(): TokenError {
  return new TokenError('claims', `sub must be 1 to ${maxUserBytes} bytes of valid Unicode`);
}

/** JSON text. */
function infoOf(info: unknown): string | undefined {
  const text = info === undefined ? undefined : JSON.stringify(info);
  if (text === undefined || Buffer.byteLength(text) <= maxInfoBytes) return text;
  throw new TokenError('claims', `info is larger than ${maxInfoBytes} bytes`);
}

/**
 * Of the rights, in Unix milliseconds; Infinity without `exp`. A token that arrives within the tolerance after its `exp` is good
 * until the tolerance ends.
 */
function endOf(exp: number | undefined): number {
  if (exp === undefined) return Number.POSITIVE_INFINITY;
  if (exp > latestExpiry) throw new TokenError('claims', 'exp is beyond the year 9999');
  const expired = exp * 1000 <= Date.now();
  return Math.floor((exp + (expired ? toleranceSeconds : 0)) * 1000);
}
