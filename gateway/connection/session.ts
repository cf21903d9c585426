/**
 * The session of a connection: its identity, from the first token over every refresh to the expiry of the last token.
 *
 * The one owner of the identity. A bad first token closes the connection; after a bad refresh the old identity stays
 * valid until it expires. Tokens are verified in gateway/auth/authenticator.ts. Before a welcome the operator's backend may
 * have its say (gateway/operations/authorise.ts), and the rooms that the token assigns are joined. It knows no other rooms.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import { type FrameId, protocolVersion } from '../../shared/protocol.ts';
import { type Authenticator, KeysUnavailableError } from '../auth/authenticator.ts';
import { type AssignedRoom, TokenError, type Verified } from '../auth/claims.ts';
import type { Identity } from '../auth/grants.ts';
import { type Authorised, type AuthoriseParts, authoriseConnect } from '../operations/authorise.ts';
import type { Client } from '../operations/caller.ts';
import { Refusal } from '../operations/refusal.ts';
import type { Reply } from '../protocol/reply.ts';
import type { AuthRequest, Since } from '../protocol/request.ts';
import type { Events } from '../telemetry/events.ts';
import { type Logger, truncate } from '../telemetry/log.ts';
import type { Assigned } from './membership/joins.ts';

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
  readonly memberships: {
    assign(rooms: readonly AssignedRoom[], since: ReadonlyMap<string, Since> | undefined): Promise<Assigned>;
    reassign(rooms: readonly AssignedRoom[]): void;
  };
  reply(reply: Reply): void;
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  close(code: CloseCode): void;
  fail(error: unknown): void;
  /** It has its first identity now, or became a user after being anonymous. */
  welcomed(identity: Identity): void;
  /** A new token of the same user. Its grants may differ. */
  refreshed(identity: Identity): void;
  /** Requests that waited for the result may be executed. */
  verificationEnded(): void;
}

/** What a connection has to show to be welcomed. */
interface Entry {
  identity: Identity;
  /** Unix ms. */
  expiresAt: number;
  /** Its token makes it a member of these. */
  assigned: readonly AssignedRoom[];
  request: Opening;
}

/** The handshake, or the request in place of it. */
interface Opening extends Pick<AuthRequest, 'since'> {
  id: FrameId | undefined;
  atHandshake: boolean;
}

const noRooms: readonly AssignedRoom[] = [];

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
    if (this.#owner.dialect.opensByRequest !== true) this.#open(token, { id: undefined, atHandshake: true });
  }

  #open(token: string | undefined, request: Opening): void {
    if (token !== undefined) this.#authenticate(token, request);
    else if (this.#parts.config.anonymous) {
      const { anonymous } = this.#parts.authenticator;
      const expiresAt = Number.POSITIVE_INFINITY;
      const asking = this.#admit({ identity: anonymous, expiresAt, assigned: noRooms, request });
      if (asking !== undefined) this.#waitFor(asking);
    }
  }

  /** A request with a token, or one that opens the connection. */
  take({ id, token, opens, since }: AuthRequest): void {
    if (opens !== undefined && opens !== (this.#identity === undefined)) this.#owner.close(closeCode.protocolError);
    else if (opens !== true) this.#authenticate(token ?? '', { id, atHandshake: false });
    else if (token === undefined && !this.#parts.config.anonymous) this.#owner.close(closeCode.unauthorized);
    else this.#open(token, { id, atHandshake: true, ...(since && { since }) });
  }

  #authenticate(token: string, request: Opening): void {
    this.#waitFor(
      this.#parts.authenticator.verify(token).then(
        (verified) => (this.#ended ? undefined : this.#verified(verified, request)),
        (error: unknown) => (this.#ended ? undefined : this.#refused(error, request)),
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

  /** It has no user yet, and its next token names one. */
  get #mayBecomeUser(): boolean {
    return this.#identity === undefined || (this.#user === null && this.#owner.dialect.opensByRequest !== true);
  }

  #verified({ identity, expiresAt, assigned }: Verified, request: Opening): void | Promise<void> {
    if (this.#isBlocked(identity, request.atHandshake)) return;
    const { id } = request;
    if (this.#mayBecomeUser) return this.#admit({ identity, expiresAt, assigned, request });
    if (this.#user === identity.user) {
      this.#identity = this.#withInfo(identity);
      this.#expiresAt = expiresAt;
      this.#owner.memberships.reassign(assigned);
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
  #admit(entry: Entry): void | Promise<void> {
    if (!this.#parts.config.authConnect) return this.#enter(entry);
    const { identity, request } = entry;
    const { id, address } = this.#owner;
    const authorised = authoriseConnect(this.#parts, { id, address, identity, isMember: () => false });
    const settle = (settled: Authorised) => {
      if (this.#ended) return undefined;
      if (settled instanceof Refusal) return this.#turnAway(settled, request.atHandshake);
      if (this.#isBlocked(identity, request.atHandshake)) return undefined;
      this.#info = settled.info;
      return this.#enter(entry);
    };
    return authorised instanceof Promise ? authorised.then(settle) : settle(authorised);
  }

  #turnAway({ code }: Refusal, atHandshake: boolean): void {
    const denied = code === 'forbidden';
    if (atHandshake) this.#parts.events.handshakeRejected(denied ? 'callback_denied' : 'callback_unavailable');
    this.#owner.close(denied ? closeCode.unauthorized : closeCode.internalError);
  }

  /** Joins the rooms that its token assigns, and welcomes it. Other dialects have no place where they could be told. */
  #enter(entry: Entry): void | Promise<void> {
    const { assigned, identity, request } = entry;
    if (assigned.length === 0 || this.#owner.dialect.opensByRequest !== true) return this.#welcome(entry);
    const most = this.#parts.config.maxRoomsPerConnection;
    if (most > 0 && assigned.length > most) return this.#refuseRooms(request, assigned.length, most);
    return this.#owner.memberships.assign(assigned, request.since).then(
      (rooms) => {
        // Redis was asked: before anything of it is obeyed.
        this.#parts.freeze.check(performance.now());
        if (this.#ended || this.#isBlocked(identity, request.atHandshake)) return;
        if (rooms.outdated) this.#roomsFailed('the rule of one has changed');
        else this.#welcome(entry, rooms);
      },
      // Without one of them the client would take its messages for none. It connects again, and goes on from where it was.
      (refusal: Refusal) => {
        if (!this.#ended) this.#roomsFailed(refusal.message);
      },
    );
  }

  #roomsFailed(reason: string): void {
    const { events, log } = this.#parts;
    log.warn({ connection: this.#owner.id, reason }, 'a connection cannot be in the rooms that its token assigns');
    events.handshakeRejected('rooms');
    this.#owner.close(closeCode.internalError);
  }

  #refuseRooms({ id }: Opening, rooms: number, most: number): void {
    const { events, log } = this.#parts;
    const message = `The token assigns ${rooms} rooms, and a connection has ${most} at most (GATEWAY_MAX_ROOMS_PER_CONNECTION).`;
    log.info({ connection: this.#owner.id, reason: 'claims', error: message }, 'token refused');
    events.handshakeRejected('token_claims');
    this.#owner.refuse(id, new Refusal('limit_exceeded', message));
    this.#owner.close(closeCode.unauthorized);
  }

  #withInfo(identity: Identity): Identity {
    const { user, grants } = identity;
    return this.#info === undefined ? identity : { user, grants, info: this.#info };
  }

  #refused(error: unknown, { id, atHandshake }: Opening): void {
    const { log, events } = this.#parts;
    const connection = this.#owner.id;
    if (error instanceof TokenError) {
      log.info({ connection, reason: error.reason, error: truncate(error.message) }, 'token refused');
      if (atHandshake) events.handshakeRejected(`token_${error.reason}`);
      const message = 'The token is not valid; get a new one. The old one goes on to its end.';
      if (this.#mayBecomeUser) this.#closeRefused(error.reason === 'expired', id);
      else this.#owner.reply({ type: 'error', id, code: 'unauthorized', message });
      return;
    }
    const keysAreAway = error instanceof KeysUnavailableError;
    // Missing keys are logged elsewhere, with a bound: any client can cause this error with an unknown key id.
    if (!keysAreAway) log.error({ connection, error: String(error) }, 'a token could not be verified');
    else if (atHandshake) events.handshakeRejected('token_unavailable');
    const code = keysAreAway ? 'unavailable' : 'internal';
    if (this.#mayBecomeUser) this.#owner.close(closeCode.internalError);
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

  #welcome({ identity, expiresAt, request: { id } }: Entry, assigned?: Assigned): void {
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
      rooms: assigned?.told(),
    });
    // The frame may have overfilled the buffer and closed the connection, which then must not count for its user.
    if (this.#ended) return;
    this.#owner.welcomed(identity);
    assigned?.start();
  }
}
