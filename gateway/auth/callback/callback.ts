/**
 * The callback: the operator's backend decides what neither a room rule nor a token does (GATEWAY_AUTH_URL).
 *
 * Owns the answers that it may remember, and the questions under way: one at a time for the same thing, and a bound on all.
 * Only an answer that says so allows anything; a question without one is `unanswered`, never allowed. How a question gets
 * there is gateway/auth/callback/exchange.ts. It knows no connections and no rules.
 */
import QuickLRU from 'quick-lru';
import { z } from 'zod';
import type { BackendMetrics } from '../../telemetry/backend-metrics.ts';
import type { CallbackAction, CallbackResult, Events } from '../../telemetry/events.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';
import { maxInfoBytes, mistakesOf } from '../grants.ts';
import { Exchange, SlowAnswerError } from './exchange.ts';

/** Sent as it is. */
export interface Question {
  action: CallbackAction;
  /** Null: anonymous. */
  user: string | null;
  /** Absent for `connect`. */
  room?: string;
  /** Null for a publish by POST, which has none. */
  connection: string | null;
  address: string;
}

/** `unanswered`: no answer, none that can be used, or too many questions are under way. */
export type Verdict = Allowed | 'denied' | 'unanswered';

export interface Allowed {
  /** By performance.now(). Infinity: the answer has no `ttlSeconds`. */
  until: number;
  /** JSON text. */
  info: string | undefined;
}

const maxUnderWay = 256;
/** Answers remembered: so many at least, twice as many at most. */
const maxRemembered = 10_000;
const maxTtlSeconds = 300;

const answerSchema = z.object({
  allow: z.boolean(),
  ttlSeconds: z.number().nonnegative().nullish(),
  info: z
    .unknown()
    .transform((info) => (info === null ? undefined : JSON.stringify(info)))
    .refine((text = '') => Buffer.byteLength(text) <= maxInfoBytes, { error: `is larger than ${maxInfoBytes} bytes` })
    .optional(),
});

interface Remembered {
  verdict: Verdict;
  /** By performance.now(). */
  until: number;
}

export interface CallbackParts {
  events: Pick<Events, 'callbackAnswered'>;
  log: Logger;
}

/** Undefined without GATEWAY_AUTH_URL. */
export function createCallback(
  { authUrl, authSecrets }: { authUrl: string | undefined; authSecrets: Buffer[] | undefined },
  events: BackendMetrics,
  log: Logger,
): Callback | undefined {
  if (authUrl === undefined) return undefined;
  events.expectCallbacks();
  return new Callback(new Exchange(authUrl, authSecrets ?? []), { events, log });
}

export class Callback {
  readonly #exchange: Exchange;
  readonly #parts: CallbackParts;
  readonly #remembered = new QuickLRU<string, Remembered>({ maxSize: maxRemembered });
  readonly #underWay = new Map<string, Promise<Verdict>>();

  constructor(exchange: Exchange, parts: CallbackParts) {
    this.#exchange = exchange;
    this.#parts = parts;
  }

  /** A promise only if the backend has to be asked. It never rejects. */
  ask(question: Question): Verdict | Promise<Verdict> {
    const key = keyOf(question);
    const known = this.#remembered.get(key);
    if (known !== undefined && performance.now() < known.until) return known.verdict;
    const asked = this.#underWay.get(key);
    if (asked !== undefined) return asked;
    if (this.#underWay.size >= maxUnderWay) {
      this.#tell(question, 'overload', performance.now(), `${maxUnderWay} questions are under way`);
      return 'unanswered';
    }
    const verdict = this.#ask(key, question).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, verdict);
    return verdict;
  }

  /** Questions under way end as `unanswered`. */
  close(): void {
    this.#exchange.close();
  }

  async #ask(key: string, question: Question): Promise<Verdict> {
    const askedAt = performance.now();
    try {
      const { verdict, ttlSeconds } = readAnswer(await this.#exchange.ask(JSON.stringify(question)));
      this.#tell(question, verdict === 'denied' ? 'denied' : 'allowed', askedAt);
      // From the question on: the answer may have been made at any moment since.
      const until = askedAt + ttlSeconds * 1_000;
      if (ttlSeconds === 0) return verdict;
      const lasting = verdict === 'denied' ? verdict : { ...verdict, until };
      this.#remembered.set(key, { verdict: lasting, until });
      return lasting;
    } catch (error) {
      this.#tell(question, error instanceof SlowAnswerError ? 'timeout' : 'error', askedAt, reasonOf(error));
      return 'unanswered';
    }
  }

  #tell({ action }: Question, result: CallbackResult, askedAt: number, error?: string): void {
    const { events, log } = this.#parts;
    events.callbackAnswered(action, result, (performance.now() - askedAt) / 1_000);
    if (error === undefined) return;
    log.warn({ backend: this.#exchange.origin, action, error }, 'the callback did not answer; access is refused');
  }
}

/** A host with several addresses fails with one error for each. */
function reasonOf(error: unknown): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error) : (error as Error);
  return truncate(first.message);
}

/**
 * The same thing: one action of one user in one room. A client without a name shares no answer, because its connection or its
 * address may be what the backend looks at.
 */
function keyOf({ action, user, room = '', connection, address }: Question): string {
  // A room has no space in it.
  const who = user === null ? `anonymous ${connection ?? address}` : `user ${user}`;
  return `${action} ${room} ${who}`;
}

/** Throws an Error that says what is wrong with the answer. `ttlSeconds` 0: it holds for this question only. */
function readAnswer(text: string): { verdict: Allowed | 'denied'; ttlSeconds: number } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`the answer is not JSON: ${(error as Error).message}`);
  }
  const result = answerSchema.safeParse(json);
  if (!result.success) throw new Error(`the answer is not valid: ${mistakesOf(result.error).join('; ')}`);
  const { allow, ttlSeconds, info } = result.data;
  const verdict = allow ? { until: Number.POSITIVE_INFINITY, info } : ('denied' as const);
  return { verdict, ttlSeconds: Math.min(ttlSeconds ?? 0, maxTtlSeconds) };
}
