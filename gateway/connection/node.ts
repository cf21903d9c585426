/**
 * What the connections of a node share: its parts, as far as a connection needs them. Types only.
 */
import type { CloseCode } from '../../shared/codes.ts';
import type { Authenticator } from '../auth/authenticator.ts';
import type { Publisher } from '../protocol/message.ts';
import type { Access } from '../rooms/access.ts';
import type { Backpressure } from '../rooms/backpressure.ts';
import type { Freeze } from '../rooms/freeze.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Presence } from '../rooms/presence.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/log.ts';
import type { RateSettings, UserConnections } from './limits.ts';

/** Of the settings (gateway/settings.ts), those that connections obey. */
export interface ConnectionSettings extends RateSettings {
  nodeId: string;
  anonymous: boolean;
  authTimeoutMs: number;
  clientTimeoutMs: number;
  pingIntervalMs: number;
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
}

export interface Node {
  config: ConnectionSettings;
  /** Begins the id of every connection. */
  instance: string;
  access: Access;
  authenticator: Authenticator;
  backpressure: Backpressure;
  freeze: Freeze;
  hub: Hub;
  presence: Presence;
  publisher: Publisher;
  users: UserConnections<{ close(code: CloseCode): void }>;
  events: Events;
  faults: Faults;
  log: Logger;
}
