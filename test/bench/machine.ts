/**
 * Facts of the kernel about processes and the machine, and which processors a process may use. Linux only: it reads /proc and
 * pins with taskset.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** The same on every Linux platform that Node runs on. */
const ticksPerSecond = 100;
const pageBytes = 4096;

/** The server has a processor of its own; load client and Redis share the rest. */
export const serverProcessors = '0';
export const clientProcessors = cpus().length > 1 ? `1-${cpus().length - 1}` : '0';

/** User and system time of these processes so far. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = statOf(pid);
    return sum + (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }, 0);
}

export function residentBytes(pids: readonly number[]): number {
  return pids.reduce(
    (sum, pid) => sum + Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * pageBytes,
    0,
  );
}

/** Pins all threads of a process; processes that it starts later inherit this. False without taskset. */
export function pin(pid: number, processors: string): boolean {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', processors, `${pid}`], { stdio: 'ignore' });
    return true;
  } catch {
    // The report says that nothing was pinned.
    return false;
  }
}

export function describeMachine(isPinned: boolean) {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    redis: execFileSync('redis-server', ['--version'], { encoding: 'utf8' }).match(/v=(\S+)/)?.[1] ?? 'unknown',
    openFiles: Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]),
    pinned: isPinned,
  };
}

export type Machine = ReturnType<typeof describeMachine>;

/** The fields after the name, which may contain spaces. */
function statOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}
