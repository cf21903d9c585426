/** A log like a node's; a test reads its lines. */
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';
import { Output } from '../../gateway/telemetry/output.ts';

export interface CapturedLog {
  log: Logger;
  /** JSON texts, in order. */
  lines: string[];
}

export function capturedLog(level = 'info'): CapturedLog {
  const lines: string[] = [];
  const output = new Output(() => {
    throw new TypeError('nothing is written to a descriptor');
  });
  output.write = (text) => void lines.push(text);
  return { log: createLog(level, output), lines };
}
