/**
 * The system calls of a process's main thread, counted by strace: by their kind, never by their time.
 *
 * Threads beside it (V8's, libuv's) are left alone: what they do depends on the moment. So do waiting and the memory of
 * the heap, which are not counted either.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPackage, succeeds } from '../support/command.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { within } from '../support/until.ts';

export interface SystemCalls {
  /** To sockets of clients, but for those to Redis that a library other than Node's own makes. */
  sends: number;
  /** Of Node: to Redis. */
  writes: number;
  /** From clients and from Redis. */
  reads: number;
  all: number;
}

const sending = new Set(['sendto', 'sendmsg', 'sendmmsg']);
const writing = new Set(['write', 'writev']);
const reading = new Set(['read', 'readv', 'recvfrom', 'recvmsg']);
const waiting = new Set(['epoll_wait', 'epoll_pwait', 'epoll_pwait2', 'futex', 'restart_syscall']);
const memory = new Set(['mmap', 'munmap', 'mprotect', 'madvise', 'brk', 'mremap']);
const deadlineMs = 10_000;

/** Installs strace where that is possible; rejects where it is not there. To be called before a process is traced. */
export async function needStrace(): Promise<void> {
  const there = () => succeeds('strace', ['--version'], deadlineMs);
  if ((await there()) || ((await installPackage('strace')) && (await there()))) return;
  throw new Error('counting system calls needs strace on the PATH, or root on Debian or Ubuntu to install it by apt');
}

/** Begins to count. The function that it returns ends that, and returns the counts. */
export async function countSystemCalls(pid: number): Promise<() => Promise<SystemCalls>> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-strace-'));
  const summary = join(folder, 'summary');
  const strace = spawn('strace', ['-c', '-o', summary, '-p', `${pid}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  endWithThisProcess(strace);
  await within(attached(strace), deadlineMs, 'strace is attached');
  return async () => {
    const exited = once(strace, 'exit');
    strace.kill('SIGINT');
    await within(exited, deadlineMs, 'strace ends');
    const calls = readSummary(readFileSync(summary, 'utf8'));
    rmSync(folder, { recursive: true, force: true });
    return calls;
  };
}

async function attached({ stderr }: ChildProcess): Promise<void> {
  let said = '';
  for await (const chunk of stderr ?? []) {
    said += chunk;
    if (/attached/.test(said)) return;
  }
  throw new Error(`strace cannot trace the node (as root it can, or with kernel.yama.ptrace_scope=0): ${said}`);
}

/** Columns: % time, seconds, usecs/call, calls, errors (may be empty), syscall. */
function readSummary(text: string): SystemCalls {
  const counts: SystemCalls = { sends: 0, writes: 0, reads: 0, all: 0 };
  for (const [, calls, name = ''] of text.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*?(\w+)$/gm)) {
    if (name === 'total' || waiting.has(name) || memory.has(name)) continue;
    counts.all += Number(calls);
    if (sending.has(name)) counts.sends += Number(calls);
    if (writing.has(name)) counts.writes += Number(calls);
    if (reading.has(name)) counts.reads += Number(calls);
  }
  return counts;
}
