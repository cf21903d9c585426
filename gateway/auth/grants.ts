/**
 * Grants: what the `rooms` claim of a token allows, and the identity of a connection.
 *
 * The claim is checked and compiled once, when the token arrives; a grant is then looked up by a pure function. The
 * operator's room rules are in gateway/rooms/access.ts.
 */
import { z } from 'zod';
import { isRoomPattern, matchesPattern, maxPatternStars } from '../../shared/room.ts';

const maxGrants = 64;
const actionBit = { subscribe: 1, publish: 2, history: 4, presence: 8 } as const;

/** What a token can grant in a room. */
export type TokenAction = keyof typeof actionBit;

const tokenActions = Object.keys(actionBit) as TokenAction[];

/** The patterns of the `rooms` claim. `actions` is a sum of `actionBit`, because every connection holds such a list. */
export type Grants = readonly { pattern: string; actions: number }[];

/** The identity of a connection. `user` null is anonymous. */
export interface Identity {
  user: string | null;
  grants: Grants;
  /** The `info` claim as JSON text, shown in presence. */
  info?: string;
}

export const maxUserBytes = 200;
/** Of `info`, as JSON text. */
export const maxInfoBytes = 512;

/** True for the name of a user: 1 to 200 bytes of valid Unicode. */
export function isUserName(name: unknown): name is string {
  return typeof name === 'string' && name !== '' && Buffer.byteLength(name) <= maxUserBytes && name.isWellFormed();
}

export const anonymous: Identity = { user: null, grants: [] };

/** Every right that rules leave to tokens, in every room. */
export const allGrants: Grants = [
  { pattern: '*', actions: Object.values(actionBit).reduce((sum, bit) => sum | bit, 0) },
];

/** A pattern of room names, in rules and in claims. */
export const roomPattern = z.string().refine(isRoomPattern, {
  error: `is not a room pattern: 1 to 200 characters of the room grammar, with at most ${maxPatternStars} "*"`,
});

const claimSchema = z
  .record(roomPattern, z.array(z.enum(tokenActions)).max(tokenActions.length))
  .refine((claim) => Object.keys(claim).length <= maxGrants, { error: `holds more than ${maxGrants} patterns` });

/** One line per mistake, `path: message`. */
export function mistakesOf(error: z.ZodError): string[] {
  return error.issues.map((issue) => {
    const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    return [issue.path.join('.'), message].filter(Boolean).join(': ');
  });
}

/**
 * Checks the `rooms` claim of a token. An absent claim, null and an empty list (PHP's empty map) grant nothing. Throws a
 * TypeError that lists the mistakes.
 */
export function readGrants(claim: unknown): Grants {
  if (claim === undefined || claim === null || (Array.isArray(claim) && claim.length === 0)) return anonymous.grants;
  const result = claimSchema.safeParse(claim);
  if (!result.success) throw new TypeError(`the rooms claim is not valid: ${mistakesOf(result.error).join('; ')}`);
  return Object.entries(result.data).map(([key, actions]) => ({
    pattern: key,
    actions: actions.reduce((sum, action) => sum | actionBit[action], 0),
  }));
}

/** True if the token of the identity grants the action in the room. */
export function grants(identity: Identity, action: TokenAction, room: string): boolean {
  return identity.grants.some(
    (grant) => (grant.actions & actionBit[action]) !== 0 && matchesPattern(grant.pattern, room),
  );
}
