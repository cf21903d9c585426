/**
 * The built program as an operator starts it: an environment in, and out come what it printed and how it ended.
 *
 * For starts that fail, for development mode, and for signals. A node that just has to run is spawnNode's business.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onCleanup } from '../support/cleanup.ts';
import { within } from '../support/until.ts';

const program = fileURLToPath(new URL('../../dist/gateway/main.js', import.meta.url));
const deadlineMs = 15_000;

export interface Program {
  /** What it printed so far. */
  output(): string;
  errors(): string;
  /** The exit code, or the signal that ended it. */
  ended(): Promise<number | string>;
  kill(signal: NodeJS.Signals): void;
}

/** Starts it with nothing in its environment but PATH and what is given. */
export function run(environment: Record<string, string>): Program {
  const child = spawn(process.execPath, [program], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const closed = once(child, 'close').then(([code, signal]: (number | string)[]) => code ?? signal ?? '');
  onCleanup(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  return {
    output: () => output,
    errors: () => errors,
    ended: () => within(closed, deadlineMs, 'the program ends'),
    kill: (signal) => void child.kill(signal),
  };
}
