/**
 * HAProxy as a process, with the rules of deploy/haproxy.cfg before one node.
 *
 * Owns the generated configuration (in a temporary directory) and the process. Only the addresses are changed: the ports
 * it listens on, and one server in the place of those that Docker's DNS would find. A line that is not found is an
 * error, so that the rules under test are those that are deployed.
 */
import { spawn } from 'node:child_process';
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

const deployed = new URL('../../deploy/haproxy.cfg', import.meta.url);
const startDeadlineMs = 10_000;

/** Starts HAProxy before the node and resolves when requests arrive there. */
export async function startHaproxy(node: TestNode): Promise<{ port: number }> {
  await requireHaproxy();
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'roomcast-haproxy-'));
  const file = join(directory, 'haproxy.cfg');
  await writeFile(file, withAddresses(await readFile(deployed, 'utf8'), { port, statePort: await freePort() }, node));
  const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
  endWithThisProcess(haproxy);
  let complaints = '';
  haproxy.stderr.on('data', (chunk) => {
    complaints += chunk;
  });
  const exited = once(haproxy, 'exit');
  onCleanup(async () => {
    haproxy.kill('SIGKILL');
    await exited;
    await rm(directory, { recursive: true });
  });
  const early = exited.then(([code]) => {
    throw new Error(`haproxy ended with ${code}:\n${complaints}`);
  });
  const answers = async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
  await Promise.race([until(answers, startDeadlineMs, 'the node answers through HAProxy'), early]);
  return { port };
}

async function requireHaproxy(): Promise<void> {
  const there = () => succeeds('haproxy', ['-v'], 10_000);
  if ((await there()) || ((await installPackage('haproxy')) && (await there()))) return;
  throw new Error('The protocol tests need haproxy on the PATH, or root on Debian or Ubuntu to install it by apt.');
}

function withAddresses(
  configuration: string,
  { port, statePort }: { port: number; statePort: number },
  node: TestNode,
): string {
  const listening = replaceOne(configuration, /^ *bind :8080$/m, `  bind 127.0.0.1:${port}`);
  const both = replaceOne(listening, /^ *bind :8404$/m, `  bind 127.0.0.1:${statePort}`);
  return replaceOne(
    both,
    /^ *server-template gateway 1-20 gateway:8080 check port 8081 (.*) resolvers docker init-addr none$/m,
    `  server gateway 127.0.0.1:${node.port} check port ${node.adminPort} $1`,
  );
}

function replaceOne(text: string, line: RegExp, replacement: string): string {
  const lines = text.split('\n').filter((each) => line.test(each)).length;
  if (lines !== 1) throw new Error(`deploy/haproxy.cfg has ${lines} lines like ${line}; this test expects one`);
  return text.replace(line, replacement);
}
