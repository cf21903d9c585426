/** Reads GATEWAY_WEBHOOK_EVENTS: the types of events that are sent. */
import { type EventType, eventTypes } from '../backplane/outbox.ts';

/** Those of connections are many, and are sent only when they are asked for. */
export const usualEventTypes = eventTypes.filter((type) => !type.startsWith('connection.'));

/** Throws a TypeError with a sentence for the operator. */
export function readEventTypes(text: string): EventType[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  const types = names.flatMap((name) => eventTypes.filter((type) => type === name));
  if (types.length < names.length || types.length === 0) {
    throw new TypeError(`must be a comma list of ${eventTypes.join(', ')}`);
  }
  return [...new Set(types)];
}
