/**
 * Child processes end with the process that started them, even if that one is killed or crashes and runs no clean-up:
 * vitest ends a worker whose test hangs by a signal.
 *
 * A shell per child reads from a pipe that only this process holds open. When the pipe ends, so does the child.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** Ties `child`, which must just have been started, to this process. `isGroup`: with all processes that it has started. */
export function endWithThisProcess(child: ChildProcess, isGroup = false): void {
  if (child.pid === undefined) return;
  const script = 'read -r never; kill -KILL -- "$1"';
  const target = `${isGroup ? '-' : ''}${child.pid}`;
  const lifeline = spawn('sh', ['-c', script, 'lifeline', target], { stdio: ['pipe', 'ignore', 'ignore'] });
  child.once('exit', () => lifeline.kill('SIGKILL'));
}
