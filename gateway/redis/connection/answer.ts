/**
 * Reads replies as what a command answers with. A reply of another type comes from something that is no Redis, or belongs to
 * another command: the outcome of the command is unknown then, like that of one without an answer. (If replies are out of
 * step, the next master probe of gateway/redis/connection/connection.ts finds it, and connects again.) Pure functions.
 */
import { BackplaneError } from '../../backplane/backplane.ts';
import type { Reply } from './resp.ts';

export function integerOf(reply: Reply | undefined): number {
  if (typeof reply !== 'number') throw unexpected();
  return reply;
}

/** An integer that a script hands on as text. */
export function integerIn(reply: Reply | undefined): number {
  const text = textOf(reply);
  if (!/^\d{1,16}$/.test(text)) throw unexpected();
  return Number(text);
}

export function textOf(reply: Reply | undefined): string {
  return bytesOf(reply).toString();
}

export function bytesOf(reply: Reply | undefined): Buffer {
  if (!(reply instanceof Buffer)) throw unexpected();
  return reply;
}

export function listOf(reply: Reply | undefined): Reply[] {
  if (!Array.isArray(reply)) throw unexpected();
  return reply;
}

export function textsOf(reply: Reply | undefined): string[] {
  return listOf(reply).map(textOf);
}

export function unexpected(): BackplaneError {
  return new BackplaneError('timeout', 'Redis answered with something else than what was asked for');
}
