/**
 * The session of a connection: its identity, from the first token over every refresh to the expiry of the last token.
 *
 * The one owner of the identity. A bad first token closes the connection; after a bad refresh the old identity stays
 * valid until it expires. Tokens are verified in gateway/auth/authenticator.ts. Before a welcome the operator's backend may
 * have its say (gateway/operations/authorise.ts). It knows no rooms.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import { type FrameId, protocolVersion } from '../../shared/protocol.ts';
import { type Authenticator, KeysUnavailableError } from '../auth/authenticator.ts';
import { TokenError, type Verified } from '../auth/claims.ts';
import type { Identity } from '../auth/grants.ts';
import { type Authorised, type AuthoriseParts, authoriseConnect } from '../operations/authorise.ts';
import type { Client } from '../operations/caller.ts';
import { Refusal } from '../operations/refusal.ts';
import type { Reply } from '../protocol/reply.ts';
import type { AuthRequest } from '../protocol/request.ts';
import type { Events } from '../telemetry/events.ts';
import { type Logger, truncate } from '../telemetry/log.ts';

/** The settings (gateway/settings.ts) that a session needs, and those that `welcome` contains. */
export interface SessionSettings {
  authConnect: boolean;
  nodeId: string;
  anonymous: boolean;
  pingIntervalMs: number;
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
  dedupeMs: number;
}

export interface SessionParts extends AuthoriseParts {
  config: SessionSettings;
  authenticator: Authenticator;
  /** Users whom an operator has blocked: gateway/operations/blocks.ts. */
  blocks: { has(user: string): boolean };
  events: Events;
  log: Logger;
}

export interface SessionOwner extends Client {
  readonly dialect: { readonly opensByRequest?: true };
  readonly id: string;
  readonly number: number;
  reply(reply: Reply): void;
  close(code: CloseCode): void;
  fail(error: unknown): void;
  /** It has its first identity now, or became a user after being anonymous. */
  welcomed(identity: Identity): void;
  /** A new token of the same user. Its grants may differ. */
  refreshed(identity: Identity): void;
  /** Requests that waited for the result may be executed. */
  verificationEnded(): void;
}

export class Session {
  readonly #owner: SessionOwner;
  readonly #parts: SessionParts;
  #identity: Identity | undefined;
  /** Of the connection, from the operator's backend: in place of that of every token. */
  #info: string | undefined;
  #expiresAt = Number.POSITIVE_INFINITY;
  #pending = false;
  #ended = false;

  constructor(owner: SessionOwner, parts: SessionParts) {
    this.#owner = owner;
    this.#parts = parts;
  }

  /** Undefined before `welcome`. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** True while a token is being verified; later requests wait. */
  get pending(): boolean {
    return this.#pending;
  }

  /** Unix ms. From then on no request is obeyed. */
  get expiresAt(): number {
    return this.#expiresAt;
  }

  /** `token`: the one in the handshake, if any. */
  begin(token: string | undefined): void {
    if (this.#owner.dialect.opensByRequest !== true) this.#open(token, undefined);
  }

  #open(token: string | undefined, id: FrameId | undefined): void {
    if (token !== undefined) this.#authenticate(token, id, true);
    else if (this.#parts.config.anonymous) {
      const asking = this.#admit(this.#parts.authenticator.anonymous, Number.POSITIVE_INFINITY, id, true);
      if (asking !== undefined) this.#waitFor(asking);
    }
  }

  /** A request with a token, or one that opens the connection. */
  take({ id, token, opens }: AuthRequest): void {
    if (opens !== undefined && opens !== (this.#identity === undefined)) this.#owner.close(closeCode.protocolError);
    else if (opens !== true) this.#authenticate(token ?? '', id, false);
    else if (token === undefined && !this.#parts.config.anonymous) this.#owner.close(closeCode.unauthorized);
    else this.#open(token, id);
  }

  #authenticate(token: string, id: FrameId | undefined, atHandshake: boolean): void {
    this.#waitFor(
      this.#parts.authenticator.verify(token).then(
        (verified) => (this.#ended ? undefined : this.#verified(verified, id, atHandshake)),
        (error: unknown) => (this.#ended ? undefined : this.#refused(error, id, atHandshake)),
      ),
    );
  }

  /** Later requests wait for it. */
  #waitFor(result: Promise<void>): void {
    this.#pending = true;
    result
      .then(() => {
        // Keys or the backend were asked: before anything that waited is obeyed.
        this.#parts.freeze.check(performance.now());
        this.#pending = false;
        if (!this.#ended) this.#owner.verificationEnded();
      })
      .catch((error: unknown) => this.#owner.fail(error));
  }

  /** The connection has ended. Returns its user; null if anonymous or without identity. */
  end(): string | null {
    this.#ended = true;
    if (this.#identity !== undefined) this.#parts.events.clientLeft(this.#owner.number, this.#user);
    return this.#user;
  }

  get #user(): string | null {
    return this.#identity?.user ?? null;
  }

  #verified({ identity, expiresAt }: Verified, id: FrameId | undefined, atHandshake: boolean): void | Promise<void> {
    if (this.#isBlocked(identity, atHandshake)) return;
    const { opensByRequest } = this.#owner.dialect;
    const mayBecomeUser = this.#identity === undefined || (this.#user === null && opensByRequest !== true);
    if (mayBecomeUser) return this.#admit(identity, expiresAt, id, atHandshake);
    if (this.#user === identity.user) {
      this.#identity = this.#withInfo(identity);
      this.#expiresAt = expiresAt;
      this.#owner.refreshed(identity);
      this.#owner.reply({ type: 'ok', id, expiresAt });
    } else {
      const message = 'The token is of another user; open a new connection for that one.';
      this.#owner.reply({ type: 'error', id, code: 'forbidden', message });
    }
  }

  #isBlocked({ user }: Identity, atHandshake: boolean): boolean {
    const { blocks, events } = this.#parts;
    if (user === null || !blocks.has(user)) return false;
    if (atHandshake) events.handshakeRejected('blocked');
    this.#owner.close(closeCode.disconnected);
    return true;
  }

  /** Welcomes it, unless the operator's backend is to be asked and does not allow it. */
  #admit(
    identity: Identity,
    expiresAt: number,
    frame: FrameId | undefined,
    atHandshake: boolean,
  ): void | Promise<void> {
    if (!this.#parts.config.authConnect) return this.#welcome(identity, expiresAt, frame);
    const { id, address } = this.#owner;
    const authorised = authoriseConnect(this.#parts, { id, address, identity, isMember: () => false });
    const settle = (settled: Authorised) => {
      if (this.#ended) return;
      if (settled instanceof Refusal) this.#turnAway(settled, atHandshake);
      else if (!this.#isBlocked(identity, atHandshake)) {
        this.#info = settled.info;
        this.#welcome(identity, expiresAt, frame);
      }
    };
    return authorised instanceof Promise ? authorised.then(settle) : settle(authorised);
  }

  #turnAway({ code }: Refusal, atHandshake: boolean): void {
    const denied = code === 'forbidden';
    if (atHandshake) this.#parts.events.handshakeRejected(denied ? 'callback_denied' : 'callback_unavailable');
    this.#owner.close(denied ? closeCode.unauthorized : closeCode.internalError);
  }

  #withInfo(identity: Identity): Identity {
    return this.#info === undefined ? identity : { ...identity, info: this.#info };
  }

  #refused(error: unknown, id: FrameId | undefined, atHandshake: boolean): void {
    const { log, events } = this.#parts;
    const connection = this.#owner.id;
    if (error instanceof TokenError) {
      log.info({ connection, reason: error.reason, error: truncate(error.message) }, 'token refused');
      if (atHandshake) events.handshakeRejected(`token_${error.reason}`);
      const message = 'The token is not valid; get a new one. The old one goes on to its end.';
      if (this.#user === null) this.#closeRefused(error.reason === 'expired', id);
      else this.#owner.reply({ type: 'error', id, code: 'unauthorized', message });
      return;
    }
    const keysAreAway = error instanceof KeysUnavailableError;
    // Missing keys are logged elsewhere, with a bound: any client can cause this error with an unknown key id.
    if (!keysAreAway) log.error({ connection, error: String(error) }, 'a token could not be verified');
    else if (atHandshake) events.handshakeRejected('token_unavailable');
    const code = keysAreAway ? 'unavailable' : 'internal';
    if (this.#user === null) this.#owner.close(closeCode.internalError);
    else
      this.#owner.reply({
        type: 'error',
        id,
        code,
        message: 'The token could not be checked; send it again in a moment.',
      });
  }

  /** Its client gets a new token where the old one has only expired. */
  #closeRefused(expired: boolean, id: FrameId | undefined): void {
    const tells = expired && this.#owner.dialect.opensByRequest === true;
    if (tells) this.#owner.reply({ type: 'expired', id });
    this.#owner.close(tells ? closeCode.tokenExpired : closeCode.unauthorized);
  }

  #welcome(identity: Identity, expiresAt: number, id: FrameId | undefined): void {
    const { config, events } = this.#parts;
    const isFirst = this.#identity === undefined;
    this.#identity = this.#withInfo(identity);
    this.#expiresAt = expiresAt;
    if (isFirst) events.clientWelcomed(this.#owner.number, identity.user);
    this.#owner.reply({
      type: 'welcome',
      ...(id === undefined ? {} : { id }),
      version: protocolVersion,
      connection: this.#owner.id,
      user: identity.user,
      node: config.nodeId,
      now: Date.now(),
      expiresAt: Number.isFinite(expiresAt) ? expiresAt : null,
      pingIntervalMs: config.pingIntervalMs,
      maxMessageBytes: config.maxMessageBytes,
      maxRooms: config.maxRoomsPerConnection,
      dedupeMs: config.dedupeMs,
      features: [],
    });
    // The frame may have overfilled the buffer and closed the connection, which then must not count for its user.
    if (!this.#ended) this.#owner.welcomed(identity);
  }
}
