/**
 * The built program as an operator starts it: an environment in, and out come what it printed and how it ended.
 *
 * For starts that fail, for development mode, for signals, for where the output goes, and for the other commands of `roomcast`. A node that just has to run is spawnNode's business.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until, within } from '../support/until.ts';

const program = fileURLToPath(new URL('../../dist/gateway/main.js', import.meta.url));
const command = fileURLToPath(new URL('../../gateway/cli/roomcast.mjs', import.meta.url));
const deadlineMs = 15_000;

export interface Program {
  pid: number;
  /** What it printed so far. */
  output(): string;
  errors(): string;
  /** The exit code, or the signal that ended it. */
  ended(): Promise<number | string>;
  kill(signal: NodeJS.Signals): void;
}

/**
 * Starts it with nothing in its environment but PATH and what is given. `standardOutput` is a descriptor of the caller, who
 * then sees to what is printed.
 */
export function run(environment: Record<string, string>, standardOutput: number | 'pipe' = 'pipe'): Program {
  const child = spawn(process.execPath, [program], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', standardOutput, 'pipe'],
  });
  return watched(child);
}

/** The command `roomcast`, which stands for this shell line without a shell: `VARIABLE=value roomcast …`. */
export function runCommand(args: string[], environment: Record<string, string> = {}): Program {
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return watched(child);
}

/** Its whole output, when it has ended. */
export async function outcomeOf(args: string[], environment: Record<string, string> = {}) {
  const running = runCommand(args, environment);
  const code = await running.ended();
  return { code, stdout: running.output(), stderr: running.errors() };
}

/** As `npm start` does, without the build before it. It leads a process group, as what is started from a shell does. */
export function runByNpm(environment: Record<string, string>): Program & { killGroup(signal: NodeJS.Signals): void } {
  const child = spawn('npm', ['start', '--ignore-scripts'], {
    env: { PATH: process.env.PATH, ...environment },
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const killGroup = (signal: NodeJS.Signals) => void process.kill(-(child.pid ?? Number.NaN), signal);
  const watchedProgram = watched(child);
  onCleanup(() => {
    try {
      killGroup('SIGKILL');
    } catch {
      // Nobody is left of it, as should be.
    }
  });
  return { ...watchedProgram, killGroup };
}

/**
 * In a terminal, whose output nobody reads before `read`. `ended` is of the terminal, which ends with the program;
 * `close` takes the terminal away, as closing its window does.
 */
export async function runInTerminal(environment: Record<string, string>) {
  const command = `exec ${process.execPath} ${program}`;
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithThisProcess(child);
  const childOfScript = () => execFileSync('pgrep', ['-P', `${child.pid}`], { encoding: 'utf8' }).trim();
  const pid = Number(await until(childOfScript, 5_000, 'the program runs in its terminal'));
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stdout.pause();
  const closed = once(child, 'close').then(([code, signal]: (number | string)[]) => code ?? signal ?? '');
  const runs = () => existsSync(`/proc/${pid}`);
  onCleanup(() => {
    // In production it outlives its terminal.
    if (runs()) process.kill(pid, 'SIGKILL');
    child.kill('SIGKILL');
  });
  return {
    output: () => output,
    kill: (signal: NodeJS.Signals) => void process.kill(pid, signal),
    read: () => void child.stdout.resume(),
    close: () => void child.kill('SIGKILL'),
    runs,
    ended: () => within(closed, deadlineMs, 'the program ends'),
  };
}

function watched(child: ChildProcess): Program {
  endWithThisProcess(child);
  let [output, errors] = ['', ''];
  child.stdout?.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    errors += chunk;
  });
  const closed = once(child, 'close').then(([code, signal]: (number | string)[]) => code ?? signal ?? '');
  onCleanup(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  return {
    pid: child.pid ?? 0,
    output: () => output,
    errors: () => errors,
    ended: () => within(closed, deadlineMs, 'the program ends'),
    kill: (signal) => void child.kill(signal),
  };
}
