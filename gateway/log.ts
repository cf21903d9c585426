/**
 * The log: one JSON object per line on standard output (pino), which never holds anything up (gateway/output.ts).
 *
 * No token and no secret is ever given to it. Text that comes from outside goes in as a field, never as part of the
 * message, and is cut, so that a name can neither forge a line nor fill a disk.
 */
import { type Logger, pino, stdTimeFunctions } from 'pino';
import { type Output, standardOutput } from './output.ts';

export type { Logger } from 'pino';

export function createLog(level: string, output: Output = standardOutput): Logger {
  const options = {
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const log = pino(options, output);
  output.onRecovered = (lines, error) => {
    log.error({ lines, error }, 'standard output could not be written; lines of the log were left out');
  };
  return log;
}

const longestText = 200;

/** Cuts text that a client chose. */
export function cut(text: string): string {
  return text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
}
