/**
 * The log: one JSON object per line on standard output (pino).
 *
 * No token and no secret is ever given to it. Text that comes from outside goes in as a field, never as part of the
 * message, and is cut, so that a name can neither forge a line nor fill a disk.
 */
import { type Logger, pino, stdTimeFunctions } from 'pino';

export type { Logger } from 'pino';

export function createLog(level: string): Logger {
  return pino({
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}

const longestText = 200;

/** Cuts text that a client chose. */
export function cut(text: string): string {
  return text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
}
