/**
 * Published data: a unique id that contains a checksum, so that a message changed on its way is found.
 */
import { createHash } from 'node:crypto';

export interface Payload {
  id: string;
  pad: string;
}

/** `name` is unique in the run; `length`: characters of padding. */
export function payload(room: string, name: string, length: number): Payload {
  const pad = name.padEnd(length, '·x');
  return { id: `${name}-${checksum(room, name, pad)}`, pad };
}

/** The id of received data, or `corrupt …`. */
export function idOf(room: string, data: unknown): string {
  const { id, pad } = (data ?? {}) as Partial<Payload>;
  if (typeof id !== 'string' || typeof pad !== 'string') return `corrupt ${JSON.stringify(data)}`;
  const name = id.slice(0, id.lastIndexOf('-'));
  return id === `${name}-${checksum(room, name, pad)}` ? id : `corrupt ${id}`;
}

function checksum(room: string, name: string, pad: string): string {
  return createHash('sha1').update(`${room} ${name} ${pad}`).digest('hex').slice(0, 12);
}
