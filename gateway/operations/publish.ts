/** Publish: sends one message to one room, on all nodes. */
import type { Published } from '../backplane/backplane.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { Message, MessageStamper } from '../protocol/roomcast/message.ts';
import type { Access } from '../rooms/access.ts';
import type { Hub } from '../rooms/hub.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Caller, forbidden, may, server } from './caller.ts';
import { refusalOf } from './refusal.ts';

export interface PublishParts {
  access: Access;
  hub: Hub;
  stamper: MessageStamper;
  events: Events;
  faults: Faults;
}

/**
 * Resolves when the backplane has taken the message, or has found an earlier one with the same key (`duplicate`). A
 * room with history adds the position. Rejects with a Refusal: `forbidden` or `unavailable` (not published), `timeout`
 * or `internal` (unknown outcome). The caller has checked the fields of `message`.
 */
export function publish(parts: PublishParts, caller: Caller, message: Message): Promise<Published> {
  const { access, events, faults, hub, stamper } = parts;
  const { room } = message;
  if (!may(access, caller, 'publish', room)) return Promise.reject(forbidden('publish'));
  const from = caller === server ? null : (caller.identity?.user ?? null);
  return hub.publish(stamper.stamp(message, from, access.rule(room).history)).then(
    (published) => {
      if (!published.duplicate) events.published();
      return published;
    },
    (error: unknown) => {
      events.publishFailed(error instanceof BackplaneError ? error.code : 'internal');
      throw refusalOf(faults, 'publishing failed', error, { again: 'publish again', uncertain: 'with the same key' });
    },
  );
}
