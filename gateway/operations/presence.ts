/** Presence: reads the members of a room on all nodes. */
import type { PresencePage } from '../backplane/presence.ts';
import type { PresenceRequest } from '../protocol/request.ts';
import type { Access } from '../rooms/access.ts';
import type { Presence } from '../rooms/presence.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Caller, mayRead, unreadable } from './caller.ts';
import { refusalOf } from './refusal.ts';

export interface PresenceParts {
  access: Access;
  presence: Presence;
  faults: Faults;
}

export type PresenceQuestion = Omit<PresenceRequest, 'type' | 'id'>;

/** Rejects with a Refusal: `forbidden`, `unavailable`, `timeout` or `internal`. */
export async function presence(
  { access, faults, presence }: PresenceParts,
  caller: Caller,
  question: PresenceQuestion,
): Promise<PresencePage> {
  const { room } = question;
  if (!mayRead(access, caller, 'presence', room)) throw unreadable(access, caller, 'presence', room);
  try {
    return await presence.page(room, question);
  } catch (error) {
    throw refusalOf(faults, 'reading presence failed', error, { again: 'ask again' });
  }
}
