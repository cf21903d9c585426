/**
 * What the connections of a node share: its parts, as far as a connection needs them. Types only.
 */
import type { CloseCode } from '../../shared/codes.ts';
import type { Authenticator } from '../auth/authenticator.ts';
import type { Config } from '../config.ts';
import type { Freeze } from '../freeze.ts';
import type { Publisher } from '../protocol/message.ts';
import type { Access } from '../rooms/access.ts';
import type { Backpressure } from '../rooms/backpressure.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Presence } from '../rooms/presence.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { UserConnections } from './limits.ts';

export interface Node {
  config: Config;
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
  metrics: Metrics;
  faults: Faults;
  log: Logger;
}
