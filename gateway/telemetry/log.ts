/**
 * The log: one JSON object per line on standard output (pino), which never holds anything up (gateway/telemetry/output.ts).
 *
 * No token and no secret is ever given to it. Text that comes from outside goes in as a field, never as part of the
 * message, and is cut, so that a name can neither forge a line nor fill a disk. Trouble that comes again and again is
 * counted (gateway/telemetry/line-limit.ts).
 */
import { type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';
import { LineLimit } from './line-limit.ts';
import { type Output, standardOutput } from './output.ts';

export type { Logger } from 'pino';

/** Levels by the numbers of pino. */
const { info = 30, warn = 40, error = 50 } = pino.levels.values;

/** Whether a line tells of what goes wrong. What is below is for who looks for it, what is above is the last line. */
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
    log.error({ lines, error }, 'standard output could not be written; lines of the log were left out');
  };
  return log;
}

const longestText = 200;

/** Cuts text that a client chose. */
export function cut(text: string): string {
  return text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
}
