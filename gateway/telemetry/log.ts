/**
 * The log: one JSON object per line on standard output (pino). It never blocks (gateway/telemetry/output.ts).
 *
 * Callers give it no token and no secret. Text from outside is a field, never part of the message, and is cut: a client can
 * neither forge a line nor fill a disk. Repeated trouble is counted (gateway/telemetry/line-limit.ts).
 */
import { type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { LineLimit } from './line-limit.ts';
import { type Output, standardOutput } from './output.ts';

export type { Logger } from 'pino';

/** The numbers of pino's levels. */
const { info = 30, warn = 40, error = 50 } = pino.levels.values;

/** True for lines that are rate limited. Debug lines are asked for, and a fatal line is the last one: both always pass. */
function isTrouble(level: number, fields: object): boolean {
  return level === warn || level === error || (level === info && ('reason' in fields || 'error' in fields));
}

export function createLog(level: string, output: Output = standardOutput): Logger {
  const limit = new LineLimit();
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    hooks: {
      logMethod(args, method, lineLevel) {
        const [first, last] = args as unknown as [string | Record<string, unknown>, string | undefined];
        const [fields, message] = typeof first === 'string' ? [{}, first] : [first, last ?? ''];
        const write = (written: Record<string, unknown>) => method.apply(this, [written, message]);
        if (isTrouble(lineLevel, fields)) limit.pass(message, fields, write);
        else write(fields);
      },
    },
  };
  const log = pino(options, output);
  output.onRecovered = (lines, error) => {
    log.error({ lines, error }, 'standard output could not be written; lines of the log were dropped');
  };
  return log;
}

/** In characters. */
const longestText = 200;

/** Cuts text that comes from a client. */
export function truncate(text: string): string {
  return text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
}
