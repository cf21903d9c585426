/**
 * What the connections of a node share: its parts and settings, as far as connections need them. Types only.
 */
import type { CloseCode } from '../../shared/codes.ts';
import type { Shares } from '../admission/shares.ts';
import type { Calls } from '../auth/callback/calls.ts';
import type { AuthoriseParts } from '../operations/authorise.ts';
import type { HistoryParts } from '../operations/history.ts';
import type { PresenceParts } from '../operations/presence.ts';
import type { PublishParts } from '../operations/publish.ts';
import type { Backpressure } from '../rooms/backpressure.ts';
import type { Fanout } from '../rooms/fanout.ts';
import type { Freeze } from '../rooms/freeze.ts';
import type { RateSettings, UserConnections } from './limits.ts';
import type { MembershipsParts } from './membership/memberships.ts';
import type { SessionParts, SessionSettings } from './session.ts';

/** The settings (gateway/settings.ts) that connections need. */
export interface ConnectionSettings extends SessionSettings, RateSettings {
  authConnect: boolean;
  authTimeoutMs: number;
  clientTimeoutMs: number;
}

export interface ConnectionParts
  extends SessionParts,
    MembershipsParts,
    AuthoriseParts,
    PublishParts,
    HistoryParts,
    PresenceParts {
  config: ConnectionSettings;
  /** Prefix of the id of every connection. */
  instance: string;
  backpressure: Backpressure;
  /** Undefined without GATEWAY_RPC_URL. */
  calls?: Calls | undefined;
  fanout: Fanout;
  freeze: Freeze;
  shares: Shares;
  users: UserConnections<{ close(code: CloseCode): void }>;
}
