/**
 * The id of a request of this dialect: which command it was, its number, and what its answer has to know of it. Pure
 * functions.
 *
 * An answer of the protocol is named after its command, and the rest of the gateway returns the id of a request as it was. So
 * this dialect keeps no state of a connection.
 */
import type { FrameId } from '../../../shared/protocol.ts';

export type Command =
  | 'connect'
  | 'refresh'
  | 'sub_refresh'
  | 'subscribe'
  | 'unsubscribe'
  | 'publish'
  | 'presence'
  | 'presence_stats'
  | 'history'
  | 'rpc'
  /** A command without an answer of its own: only errors. */
  | 'other';

export interface ReturnAddress {
  command: Command;
  number: number;
  /** Of `history`, to find out whether messages behind `since` are missing. */
  reverse?: boolean;
  since?: { offset: number; epoch: string };
}

export function writeAddress({ command, number, reverse, since }: ReturnAddress): string {
  const start = `${command} ${number}`;
  if (command !== 'history') return start;
  // The epoch comes last: whatever a client sends there is read back as one field.
  return `${start} ${reverse === true ? 1 : 0} ${since?.offset ?? ''} ${since?.epoch ?? ''}`;
}

/** Undefined: the client expects no answer. */
export function readAddress(id: FrameId | undefined): ReturnAddress | undefined {
  if (typeof id !== 'string') return undefined;
  const [command = 'other', number = '', reverse, offset = '', ...epoch] = id.split(' ');
  const start = { command: command as Command, number: Number(number) };
  if (reverse === undefined) return start;
  return {
    ...start,
    reverse: reverse === '1',
    ...(offset === '' ? {} : { since: { offset: Number(offset), epoch: epoch.join(' ') } }),
  };
}
