/**
 * The session of a connection: its identity, from the first token over every refresh to the expiry of the last token.
 *
 * The one owner of the identity. A bad first token closes the connection; after a bad refresh the old identity stays
 * valid until it expires. Tokens are verified in gateway/auth/authenticator.ts. It knows no rooms.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import { type FrameId, protocolVersion } from '../../shared/protocol.ts';
import { type Authenticator, KeysUnavailableError, TokenError, type Verified } from '../auth/authenticator.ts';
import { anonymous, type Identity } from '../auth/grants.ts';
import type { Reply } from '../protocol/reply.ts';
import type { Events } from '../telemetry/events.ts';
import { type Logger, truncate } from '../telemetry/log.ts';

/** The settings (gateway/settings.ts) that a session needs, and those that `welcome` contains. */
export interface SessionSettings {
  nodeId: string;
  anonymous: boolean;
  pingIntervalMs: number;
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
}

export interface SessionParts {
  config: SessionSettings;
  authenticator: Authenticator;
  /** Users whom an operator has blocked: gateway/operations/blocks.ts. */
  blocks: { has(user: string): boolean };
  events: Events;
  log: Logger;
}

export interface SessionOwner {
  readonly id: string;
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
    if (token !== undefined) this.authenticate(token, undefined, true);
    else if (this.#parts.config.anonymous) this.#welcome(anonymous, Number.POSITIVE_INFINITY, undefined);
  }

  authenticate(token: string, id: FrameId | undefined, atHandshake: boolean): void {
    this.#pending = true;
    this.#parts.authenticator
      .verify(token)
      .then(
        (verified) => this.#ended || this.#verified(verified, id, atHandshake),
        (error: unknown) => this.#ended || this.#refused(error, id, atHandshake),
      )
      .then(() => {
        this.#pending = false;
        if (!this.#ended) this.#owner.verificationEnded();
      })
      .catch((error: unknown) => this.#owner.fail(error));
  }

  /** The connection has ended. Returns its user; null if anonymous or without identity. */
  end(): string | null {
    this.#ended = true;
    return this.#user;
  }

  get #user(): string | null {
    return this.#identity?.user ?? null;
  }

  #verified({ identity, expiresAt }: Verified, id: FrameId | undefined, atHandshake: boolean): void {
    const { blocks, events } = this.#parts;
    if (identity.user !== null && blocks.has(identity.user)) {
      if (atHandshake) events.handshakeRejected('blocked');
      this.#owner.close(closeCode.disconnected);
    } else if (this.#user === null) {
      this.#welcome(identity, expiresAt, id);
    } else if (this.#user === identity.user) {
      this.#identity = identity;
      this.#expiresAt = expiresAt;
      this.#owner.refreshed(identity);
      this.#owner.reply({ type: 'ok', id, expiresAt });
    } else {
      const message = 'The token is of another user; open a new connection for that one.';
      this.#owner.reply({ type: 'error', id, code: 'forbidden', message });
    }
  }

  #refused(error: unknown, id: FrameId | undefined, atHandshake: boolean): void {
    const { log, events } = this.#parts;
    const connection = this.#owner.id;
    if (error instanceof TokenError) {
      log.info({ connection, reason: error.reason, error: truncate(error.message) }, 'token refused');
      if (atHandshake) events.handshakeRejected(`token_${error.reason}`);
      const message = 'The token is not valid; get a new one. The old one goes on to its end.';
      if (this.#user === null) this.#owner.close(closeCode.unauthorized);
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

  #welcome(identity: Identity, expiresAt: number, id: FrameId | undefined): void {
    const { config } = this.#parts;
    this.#identity = identity;
    this.#expiresAt = expiresAt;
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
      features: [],
    });
    // The frame may have overfilled the buffer and closed the connection, which then must not count for its user.
    if (!this.#ended) this.#owner.welcomed(identity);
  }
}
