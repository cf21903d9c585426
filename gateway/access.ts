/**
 * Authorisation: who may do what in which room. Deny by default.
 *
 * Two sources add up: the rules of the operator (GATEWAY_ROOMS_FILE, the first that matches wins) and the `rooms` claim
 * of the token. Both are compiled and checked where they enter; afterwards every question is a pure function. It knows
 * identities and room names, never connections or sockets.
 */
import { z } from 'zod';
import { isPersonalRoom, isRoomPattern, matchesPattern, maxPatternStars, personalRoom } from '../shared/room.ts';

/** What a client can ask for in a room. */
export type Action = 'subscribe' | 'publish';

/** `anyone`; `user`: any authenticated; `token`: only by the token's `rooms` claim; `server`: no client at all. */
export type AccessLevel = 'anyone' | 'user' | 'token' | 'server';

/** What becomes of messages for a member whose outgoing buffer is over the soft limit. */
export type SlowRule = 'drop' | 'close';

export interface RoomRule {
  match: string;
  subscribe: AccessLevel;
  publish: AccessLevel;
  slow: SlowRule;
}

/** One pattern of the `rooms` claim and what it grants, a sum of `actionBit`: a node holds one for every connection. */
export type Grants = readonly { pattern: string; actions: number }[];

/** Who a connection speaks for. `user` null is anonymous. */
export interface Identity {
  user: string | null;
  grants: Grants;
}

export const anonymous: Identity = { user: null, grants: [] };

/** Holds for a room that no rule matches. */
const defaultRule: RoomRule = { match: '*', subscribe: 'token', publish: 'token', slow: 'drop' };

const maxRules = 1000;
const maxGrants = 64;
/** `history` and `presence` may stand in a token; nothing asks for them yet. */
const actionBit = { subscribe: 1, publish: 2, history: 4, presence: 8 } as const;
const tokenActions = Object.keys(actionBit) as (keyof typeof actionBit)[];

const pattern = z.string().refine(isRoomPattern, {
  error: `is not a room pattern: 1 to 200 characters of the room grammar, with at most ${maxPatternStars} "*"`,
});
const level = z.enum(['anyone', 'user', 'token', 'server']).default('token');
const notYet = (what: string) =>
  z.undefined({ error: `${what} is not offered by this version; leave the field out` }).optional();

const ruleSchema = z.strictObject({
  match: pattern,
  subscribe: level,
  publish: level,
  slow: z
    .enum(['drop', 'close'], {
      error: (issue) =>
        issue.input === 'catch-up' || issue.input === 'latest'
          ? `"${issue.input}" needs history, which this version does not offer; use "drop" or "close"`
          : 'must be "drop" or "close"',
    })
    .default('drop'),
  history: notYet('history'),
  presence: notYet('presence'),
  joinLeave: notYet('joinLeave (presence)'),
});

const roomsFileSchema = z.strictObject({ rooms: z.array(ruleSchema).max(maxRules) });

const claimSchema = z
  .record(pattern, z.array(z.enum(tokenActions)).max(tokenActions.length))
  .refine((claim) => Object.keys(claim).length <= maxGrants, { error: `holds more than ${maxGrants} patterns` });

/** One line for each thing wrong, `path: message`. */
function mistakes(error: z.ZodError): string[] {
  return error.issues.map((issue) => {
    const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    return [issue.path.join('.'), message].filter(Boolean).join(': ');
  });
}

/** Checks the parsed JSON of a rooms file. Returns the rules, or every mistake in it. */
export function readRules(json: unknown): { rules: RoomRule[] } | { mistakes: string[] } {
  const result = roomsFileSchema.safeParse(json);
  return result.success
    ? { rules: result.data.rooms.map(({ match, subscribe, publish, slow }) => ({ match, subscribe, publish, slow })) }
    : { mistakes: mistakes(result.error) };
}

/** Checks the `rooms` claim of a token; undefined is no grant. Throws a TypeError that says what is wrong with it. */
export function readGrants(claim: unknown): Grants {
  if (claim === undefined) return anonymous.grants;
  const result = claimSchema.safeParse(claim);
  if (!result.success) throw new TypeError(`the rooms claim is not valid: ${mistakes(result.error).join('; ')}`);
  return Object.entries(result.data).map(([key, actions]) => ({
    pattern: key,
    actions: actions.reduce((sum, action) => sum | actionBit[action], 0),
  }));
}

/** The rules of a node. Immutable. */
export class Access {
  readonly #rules: readonly RoomRule[];

  constructor(rules: readonly RoomRule[]) {
    this.#rules = rules;
  }

  /** The first rule that matches the room. */
  rule(room: string): RoomRule {
    return this.#rules.find((rule) => matchesPattern(rule.match, room)) ?? defaultRule;
  }

  /** Says whether an identity may do `action` in `room`. The room name has been checked. */
  allows(identity: Identity, action: Action, room: string): boolean {
    if (isPersonalRoom(room)) {
      return action === 'subscribe' && identity.user !== null && room === personalRoom(identity.user);
    }
    const needed = this.rule(room)[action];
    if (needed === 'server') return false;
    if (needed === 'anyone') return true;
    if (needed === 'user' && identity.user !== null) return true;
    return identity.grants.some(
      (grant) => (grant.actions & actionBit[action]) !== 0 && matchesPattern(grant.pattern, room),
    );
  }
}
