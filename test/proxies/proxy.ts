/**
 * A load balancer as a process, with the configuration that docs/load-balancers.md shows, before two nodes.
 *
 * Owns the file with the configuration and the process. Only addresses are changed: the two nodes, and the port of the proxy.
 * Each has to be found in the text, so that what is tested is what the page says. It installs nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFile } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { succeeds } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';
import type { Nodes } from './nodes.ts';

const startDeadlineMs = 15_000;
const readFromRoot = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

export interface Program {
  /** Of the executable, and of the package of Debian. */
  name: string;
  package: string;
  /** Says its version and exits with 0. */
  versionArgument: string;
  /** Where in the configuration it listens. */
  listens: string | RegExp;
  /** The line that listens on a port of the loopback address. */
  listensOn(port: number): string;
  arguments(file: string): string[];
  /** From the page to a configuration that runs as a process without rights: paths and own ports. */
  adapt(configuration: string, folder: string): Promise<string>;
}

export interface StartedProxy {
  port: number;
  kill(signal: NodeJS.Signals): void;
}

/** The block of the page in the language of this name. */
export function snippet(language: string): string {
  const page = readFromRoot('docs/load-balancers.md');
  const blocks = [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, text = '']) => text,
  );
  const [found, another] = blocks;
  if (found === undefined || another !== undefined)
    throw new Error(`the page has ${blocks.length} blocks of ${language}`);
  return found;
}

/** Starts it before the nodes, and resolves when they answer through it. */
export async function startProxy(program: Program, configuration: string, nodes: Nodes): Promise<StartedProxy> {
  if (!(await succeeds(program.name, [program.versionArgument], 10_000))) {
    throw new Error(
      `This test needs ${program.name}: apt-get install -y --no-install-recommends ${program.package} (Debian or Ubuntu).`,
    );
  }
  const port = await freePort();
  const file = writeFile('configuration', '');
  const adapted = await program.adapt(configuration, dirname(file));
  const listening = replaceOne(adapted, program.listens, program.listensOn(port));
  const text = withNodes(listening, nodes);
  const path = writeFile(program.name === 'caddy' ? 'Caddyfile' : `${program.name}.conf`, text);
  const child = spawn(program.name, program.arguments(path), { stdio: ['ignore', 'pipe', 'pipe'] });
  endWithThisProcess(child);
  let complaints = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      complaints += chunk;
    });
  }
  onCleanup(() => end(child));
  const answers = async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
  const early = once(child, 'exit').then(([code]) => {
    throw new Error(`${program.name} ended with ${code}:\n${complaints}`);
  });
  // It also ends after the test.
  early.catch(() => undefined);
  await Promise.race([until(answers, startDeadlineMs, `a node answers through ${program.name}`), early]);
  return { port, kill: (signal) => void child.kill(signal) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  // At once: a quick end, without waiting for connections, is SIGTERM for all three.
  child.kill('SIGTERM');
  await exited;
}

/** The addresses of the page become those of the nodes; both are on the same ports, as on the page. */
function withNodes(configuration: string, { nodes, port, adminPort }: Nodes): string {
  let text = configuration;
  for (const [index, { host }] of nodes.entries()) {
    const address = `10.0.0.1${index + 1}:8080`;
    if (!text.includes(address)) throw new Error(`the configuration does not name ${address}`);
    text = text.replaceAll(address, `${host}:${port}`);
  }
  return text.replaceAll('8081', `${adminPort}`);
}

export function replaceOne(text: string, part: string | RegExp, replacement: string): string {
  const parts = text.split(part);
  if (parts.length !== 2)
    throw new Error(`the configuration has ${parts.length - 1} times ${part}; this test expects one`);
  return parts.join(replacement);
}
