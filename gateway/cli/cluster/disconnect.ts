/** `roomcast disconnect`: closes the connections of a user on all nodes, and may keep the user out for a time. */
import type { Environment } from '../../environment.ts';
import { print, printable, printJson } from '../output.ts';
import { type ApiOptions, apiOf, call, expectAll, type Missing } from './api.ts';

export interface DisconnectOptions extends ApiOptions {
  /** Seconds; 0 ends a block. */
  block?: number;
}

interface Disconnected extends Missing {
  disconnected: number;
}

/** Rejects with a Failure, also if a node has not confirmed. */
export async function disconnect(user: string, options: DisconnectOptions, env: Environment): Promise<void> {
  const { block: blockSeconds } = options;
  const path = `/users/${encodeURIComponent(user)}/disconnect`;
  const result = await call<Disconnected>(apiOf(options, env), 'POST', path, { blockSeconds });
  if (options.json) printJson(result);
  else print(`${printable(textOf(result.disconnected, user, blockSeconds))}\n`);
  expectAll(result, 'it may have connections of this user that are still open');
}

function textOf(disconnected: number, user: string, blockSeconds: number | undefined): string {
  const connections = disconnected === 1 ? '1 connection' : `${disconnected} connections`;
  const blocked = blockSeconds === 0 ? '; not blocked any more' : `; blocked for ${blockSeconds} s`;
  return `disconnected ${connections} of ${user}${blockSeconds === undefined ? '' : blocked}`;
}
