/**
 * Where a client's tokens come from, and their renewal on the open connection.
 *
 * Owns the last token and the one call for the next. `getToken` is never called while an earlier call is awaited; one that
 * takes longer than 10 s is given up, and what it returns later is ignored.
 */

import { RoomcastError } from '../error.ts';
import type { Connection } from './connection.ts';

export type GetToken = () => Promise<string> | string;

const callMs = 10_000;
const retryMs = 5_000;
/** Between two renewals, however soon the token ends. */
const leastMs = 1_000;
/** setTimeout takes at most 2^31 ms. */
const longestTimerMs = 2e9;
/** Of the time that a token is good for: then it is renewed. */
const renewedAt = 0.8;
const grammar = /^[\w.-]+$/;

export class Tokens {
  /** What `get` gave last had been there before, and there may be a better one. */
  isOld = false;
  readonly #getToken: GetToken | undefined;
  #token: string | undefined;
  /** By Date.now(), which goes on while a machine sleeps. 0: there is none. */
  #goodUntil: number;
  #call: Promise<string> | undefined;

  constructor(token: string | undefined, getToken: GetToken | undefined) {
    this.#token = token;
    this.#goodUntil = token === undefined ? 0 : Infinity;
    this.#getToken = getToken;
  }

  get canRenew(): boolean {
    return this.#getToken !== undefined;
  }

  /** The last token while it is good, else a new one. Undefined: this client has none. */
  async get(): Promise<string | undefined> {
    this.isOld = this.canRenew && Date.now() < this.#goodUntil;
    return this.isOld || !this.canRenew ? this.#token : this.renew();
  }

  renew(): Promise<string> {
    this.#call ??= this.#ask().finally(() => {
      this.#call = undefined;
    });
    return this.#call;
  }

  /** The gateway does not take the last token any more. */
  drop(): void {
    this.#goodUntil = 0;
  }

  /** How long the last token is good for, without a margin, as the gateway says. */
  isGoodFor(ms: number): void {
    this.#goodUntil = Date.now() + ms;
  }

  async #ask(): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new RoomcastError('unauthorized', 'getToken must return within 10 s')), callMs);
    });
    try {
      const token = await Promise.race([this.#getToken?.(), late]);
      if (!isToken(token)) throw new RoomcastError('unauthorized', 'getToken must return a JWT');
      this.#goodUntil = Infinity;
      this.#token = token;
      return token;
    } finally {
      clearTimeout(timer);
    }
  }
}

export function isToken(token: unknown): token is string {
  return typeof token === 'string' && grammar.test(token);
}

/** Renews the token of one connection before it ends, until `stop`. */
export class Renewal {
  readonly #connection: Connection;
  readonly #tokens: Tokens;
  readonly #failed: (error: unknown) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(connection: Connection, tokens: Tokens, failed: (error: unknown) => void) {
    this.#connection = connection;
    this.#tokens = tokens;
    this.#failed = failed;
    this.#plan(connection.welcome?.expiresAt ?? null);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** `expiresAt` is by the gateway's clock, and so is the time now. */
  #plan(expiresAt: number | null): void {
    const { welcome, welcomedAt } = this.#connection;
    if (expiresAt === null || welcome === undefined || !this.#tokens.canRenew) return;
    const leftMs = expiresAt - (welcome.now + performance.now() - welcomedAt);
    const waitMs = Math.max(leastMs, leftMs * renewedAt);
    this.#tokens.isGoodFor(waitMs);
    this.#wait(waitMs);
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => this.#renew(), Math.min(longestTimerMs, ms));
  }

  #renew(): void {
    this.#tokens.renew().then(
      (token) => {
        if (this.#isStopped) return;
        this.#connection.ask(`"type":"auth","token":"${token}"`, (answer) => {
          if (answer?.type === 'ok') this.#plan(answer.expiresAt ?? null);
          else if (answer !== undefined) this.#again(new RoomcastError(answer.code, answer.message));
        });
      },
      (error) => this.#again(error),
    );
  }

  #again(error: unknown): void {
    if (this.#isStopped) return;
    this.#failed(error);
    this.#wait(retryMs * (1 + Math.random()));
  }
}
