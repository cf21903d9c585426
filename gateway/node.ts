/**
 * What the connections of a node share: its parts, as far as a connection needs them. Types only.
 */
import type { CloseCode } from '../shared/codes.ts';
import type { Access } from './access.ts';
import type { Authenticator } from './auth.ts';
import type { Backpressure } from './backpressure.ts';
import type { Config } from './config.ts';
import type { Faults } from './faults.ts';
import type { Freeze } from './freeze.ts';
import type { Hub } from './hub.ts';
import type { UserConnections } from './limits.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { Presence } from './presence.ts';
import type { Publisher } from './publish.ts';

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
