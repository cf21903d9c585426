/**
 * HAProxy as a process, with the rules of deploy/haproxy/haproxy.cfg before one node.
 *
 * Owns the generated configuration (in a temporary directory) and the process. Only the addresses are changed: the ports
 * it listens on, and one server in the place of those that DNS would find; and the time that a test cannot wait
 * for. A line that is not found is an error, so that the rules under test are those that are deployed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onCleanup } from '../support/cleanup.ts';
import { installPackage, succeeds } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import type { TestNode } from '../support/node.ts';
import { until } from '../support/until.ts';

const deployed = new URL('../../deploy/haproxy/haproxy.cfg', import.meta.url);
const startDeadlineMs = 10_000;

export interface Haproxy {
  port: number;
  /** The port of its own state, which is an HTTP port as well. */
  statePort: number;
  /** Reads the configuration anew, by the signal of docs/operations.md; resolves when another process answers. */
  reload(): Promise<void>;
  /** Ends it, which cuts everybody, and starts it again; resolves when requests arrive at the node. */
  restart(): Promise<void>;
}

interface HaproxyOptions {
  /** A port that the list of servers holds beside the node's, as if the node were ready there. */
  otherServer?: number;
  /** In the place of `hard-stop-after 24h`. */
  hardStop?: string;
}

/** What HAProxy has to know of a node. */
type Behind = Pick<TestNode, 'port' | 'adminPort'>;

/** Starts HAProxy before the node and resolves when requests arrive there. */
export async function startHaproxy(node: Behind, options: HaproxyOptions = {}): Promise<Haproxy> {
  await requireHaproxy();
  const [port, statePort] = [await freePort(), await freePort()];
  const directory = await mkdtemp(join(tmpdir(), 'roomcast-haproxy-'));
  const file = join(directory, 'haproxy.cfg');
  const rules = withHardStop(await readFile(deployed, 'utf8'), options.hardStop);
  await writeFile(file, withServers(withPorts(rules, port, statePort), node, options.otherServer));
  // Master and worker, as in the image.
  const launch = async () => {
    const started = spawn('haproxy', ['-W', '-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    endWithThisProcess(started);
    const answers = async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
    await Promise.race([until(answers, startDeadlineMs, 'the node answers through HAProxy'), earlyEnd(started)]);
    return started;
  };
  let haproxy = await launch();
  onCleanup(async () => {
    await end(haproxy);
    await rm(directory, { recursive: true });
  });
  const restart = async () => {
    await end(haproxy);
    haproxy = await launch();
  };
  return { port, statePort, reload: () => reload(haproxy, statePort), restart };
}

async function reload(haproxy: ChildProcess, statePort: number): Promise<void> {
  const before = await processBehind(statePort);
  const another = async () => (await processBehind(statePort)) !== before;
  // For an instant after its start HAProxy serves already and does not listen to signals yet.
  const again = async () => {
    haproxy.kill('SIGUSR2');
    await until(another, 2_000, 'another process answers');
    return true;
  };
  await until(again, startDeadlineMs, 'HAProxy has started anew');
}

/** The id of the process that answers, from HAProxy's own state. */
async function processBehind(statePort: number): Promise<string> {
  const page = await (await fetch(`http://127.0.0.1:${statePort}/`)).text();
  const [, id] = /pid = <\/b> *(\d+)/.exec(page) ?? [];
  if (id === undefined) throw new Error(`HAProxy's state does not tell its process:\n${page.slice(0, 1_000)}`);
  return id;
}

async function end(haproxy: ChildProcess): Promise<void> {
  if (haproxy.exitCode !== null || haproxy.signalCode !== null) return;
  const exited = once(haproxy, 'exit');
  haproxy.kill('SIGTERM');
  await exited;
}

/** Rejects when the process ends, with what it complained of. */
async function earlyEnd(haproxy: ChildProcess): Promise<never> {
  let complaints = '';
  haproxy.stderr?.on('data', (chunk) => {
    complaints += chunk;
  });
  const [code] = await once(haproxy, 'exit');
  throw new Error(`haproxy ended with ${code}:\n${complaints}`);
}

async function requireHaproxy(): Promise<void> {
  const there = () => succeeds('haproxy', ['-v'], 10_000);
  if ((await there()) || ((await installPackage('haproxy')) && (await there()))) return;
  throw new Error('The protocol tests need haproxy on the PATH, or root on Debian or Ubuntu to install it by apt.');
}

function withPorts(configuration: string, port: number, statePort: number): string {
  const listening = replaceOne(configuration, /^ *bind :8080 (.*)$/m, `  bind 127.0.0.1:${port} $1`);
  return replaceOne(listening, /^ *bind :8404$/m, `  bind 127.0.0.1:${statePort}`);
}

function withServers(configuration: string, { port, adminPort }: Behind, other: number | undefined): string {
  const line = (name: string, at: number) => `  server ${name} 127.0.0.1:${at} check port ${adminPort} $1`;
  return replaceOne(
    configuration,
    /^ *server-template gateway 1-100 "\$\{ROOMCAST_GATEWAYS-gateway\}:8080" check port 8081 (.*) resolvers dns init-addr none$/m,
    other === undefined ? line('gateway', port) : `${line('gateway', port)}\n${line('other', other)}`,
  );
}

function withHardStop(configuration: string, after = '24h'): string {
  return replaceOne(configuration, /^ *hard-stop-after 24h$/m, `  hard-stop-after ${after}`);
}

function replaceOne(text: string, line: RegExp, replacement: string): string {
  const lines = text.split('\n').filter((each) => line.test(each)).length;
  if (lines !== 1) throw new Error(`deploy/haproxy/haproxy.cfg has ${lines} lines like ${line}; this test expects one`);
  return text.replace(line, replacement);
}
