/**
 * Authorisation: who may do what in which room. Deny by default.
 *
 * An action is allowed by the operator's rules (GATEWAY_ROOMS_FILE, the first match wins) or by the grants of the token
 * (gateway/auth/grants.ts). Rules and grants are checked where they enter; every decision here is a pure function. It
 * knows identities and room names, never connections or sockets.
 */
import QuickLRU from 'quick-lru';
import { z } from 'zod';
import { isPersonalRoom, matchesPattern, personalRoom } from '../../shared/room.ts';
import { grants, type Identity, mistakesOf, roomPattern } from '../auth/grants.ts';
import type { HistoryRule } from '../backplane/backplane.ts';

/** What a client can ask for in a room. */
export type Action = 'subscribe' | 'publish';

/**
 * `anyone`; `user`: any authenticated user; `token`: only with a grant of the token; `callback`: with such a grant, or if the
 * operator's backend says so; `server`: no client at all.
 */
export type AccessLevel = 'anyone' | 'user' | 'token' | 'callback' | 'server';

/** `ask`: neither a rule nor a grant decides, but the operator's backend does (gateway/operations/authorise.ts). */
export type Decision = 'allowed' | 'refused' | 'ask';

/** What a member may read besides live messages. */
export type Reading = 'history' | 'presence';

/**
 * What a member gets while its outgoing buffer is over the soft limit. `catch-up`: messages from history, at its own
 * pace. `drop`: none, and a count of those dropped. `latest`: only the last one. `close`: its connection is closed.
 */
export type SlowRule = 'catch-up' | 'drop' | 'latest' | 'close';

export interface RoomRule {
  match: string;
  subscribe: AccessLevel;
  publish: AccessLevel;
  slow: SlowRule;
  /** Undefined in a plain room. */
  history: HistoryRule | undefined;
  /** Members may ask for `presence`. */
  presence: boolean;
  /** Members receive `join` and `leave` frames. */
  joinLeave: boolean;
}

/** Holds for a room that no rule matches. */
export const defaultRule: RoomRule = {
  match: '*',
  subscribe: 'token',
  publish: 'token',
  slow: 'drop',
  history: undefined,
  presence: false,
  joinLeave: false,
};

const maxRules = 1000;
const level = z.enum(['anyone', 'user', 'token', 'callback', 'server']).default('token');
const whole = (least: number, most: number) => {
  const error = `must be a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const historySchema = z.strictObject({
  size: whole(1, 100_000).default(100),
  maxBytes: whole(1_024, 1_073_741_824).default(4_194_304),
  ttlSeconds: whole(1, 31_536_000).default(86_400),
});

const ruleSchema = z
  .strictObject({
    match: roomPattern,
    subscribe: level,
    publish: level,
    slow: z
      .enum(['catch-up', 'drop', 'latest', 'close'], { error: 'must be "catch-up", "drop", "latest" or "close"' })
      .optional(),
    history: historySchema.optional(),
    presence: z.boolean().default(false),
    joinLeave: z.boolean().default(false),
  })
  .refine(({ slow, history }) => slow !== 'catch-up' || history !== undefined, {
    path: ['slow'],
    error: '"catch-up" needs history; give the room a history, or choose "drop", "latest" or "close"',
  })
  .transform(
    (rule): RoomRule => ({
      ...rule,
      history: rule.history,
      slow: rule.slow ?? (rule.history === undefined ? 'drop' : 'catch-up'),
    }),
  );

const roomsFileSchema = z.strictObject({ rooms: z.array(ruleSchema).max(maxRules) });

/** Checks the parsed JSON of a rooms file. Returns the rules, or every mistake in it. */
export function readRules(json: unknown): { rules: RoomRule[] } | { mistakes: string[] } {
  const result = roomsFileSchema.safeParse(json);
  return result.success ? { rules: result.data.rooms } : { mistakes: mistakesOf(result.error) };
}

/** The rules of the rooms asked for last are remembered: of so many at least, of twice as many at most. */
const maxRemembered = 20_000;

/** True if a room created under one rule can stay under the other: they differ only in rights and amounts. */
export function isSameKind(one: RoomRule, other: RoomRule): boolean {
  return (
    one.slow === other.slow &&
    one.presence === other.presence &&
    one.joinLeave === other.joinLeave &&
    (one.history === undefined) === (other.history === undefined)
  );
}

/** The rules of a node. */
export class Access {
  #rules: readonly RoomRule[];
  /** Every frame asks for the rule of its room, and there may be a thousand rules. */
  readonly #remembered = new QuickLRU<string, RoomRule>({ maxSize: maxRemembered });

  constructor(rules: readonly RoomRule[]) {
    this.#rules = rules;
  }

  /** These rules apply from now on. gateway/rooms-file.ts applies them to open rooms and connections. */
  replace(rules: readonly RoomRule[]): void {
    this.#rules = rules;
    this.#remembered.clear();
  }

  /** The first rule that matches the room. */
  rule(room: string): RoomRule {
    const known = this.#remembered.get(room);
    if (known !== undefined) return known;
    const rule = this.#rules.find(({ match }) => matchesPattern(match, room)) ?? defaultRule;
    this.#remembered.set(room, rule);
    return rule;
  }

  /** Whether an identity may do `action` in `room`. The caller has checked the room name. */
  decide(identity: Identity, action: Action, room: string): Decision {
    if (isPersonalRoom(room)) {
      const isOwn = identity.user !== null && room === personalRoom(identity.user);
      return action === 'subscribe' && isOwn ? 'allowed' : 'refused';
    }
    const needed = this.rule(room)[action];
    if (needed === 'server') return 'refused';
    if (needed === 'anyone' || (needed === 'user' && identity.user !== null)) return 'allowed';
    if (grants(identity, action, room)) return 'allowed';
    return needed === 'callback' ? 'ask' : 'refused';
  }

  /** True if the rule of the room turns it on. */
  offers(what: Reading, room: string): boolean {
    const { history, presence } = this.rule(room);
    return what === 'history' ? history !== undefined : presence;
  }

  /**
   * True if an identity may read the history or presence of a room. The rule must turn it on. Then members may, and
   * others with a grant of that name.
   */
  allowsReading(identity: Identity, what: Reading, room: string, isMember: boolean): boolean {
    if (!this.offers(what, room)) return false;
    if (isMember) return true;
    return !isPersonalRoom(room) && this.rule(room).subscribe !== 'server' && grants(identity, what, room);
  }
}
