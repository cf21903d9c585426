/**
 * A node that is started by the shell commands of a page in docs/, as they are written there, in a folder of its own that
 * looks like the project. Only the ports are others: free ones.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';
import { folder } from './files.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));

export interface DocumentedNode {
  port: number;
  adminPort: number;
  /** What it and the programs beside it printed so far. */
  output(): string;
  /** Runs commands of bash, or a script of Node, with these ports, in a second terminal. Resolves with its output. */
  run(language: string, text: string, setup?: string): Promise<string>;
}

/** `commands` end with the start of a node. `files`: the texts of those that the page lets the reader write, by name. */
export async function startAsDocumented(commands: string, files: Record<string, string> = {}): Promise<DocumentedNode> {
  const cwd = folder();
  for (const name of ['package.json', 'dist', 'deploy', 'gateway', 'node_modules']) {
    symlinkSync(join(repository, name), join(cwd, name));
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text);
  // Without the build before the start, which has been done.
  const env = { PATH: process.env.PATH, npm_config_ignore_scripts: 'true', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' };
  const shell = spawn('bash', ['-euc', commands], { cwd, env, detached: true });
  endWithThisProcess(shell);
  onCleanup(async () => {
    const ended = once(shell, 'close');
    process.kill(-(shell.pid ?? Number.NaN), 'SIGKILL');
    await ended;
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const listening = until(() => /"port":(\d+).*"adminPort":(\d+)/.exec(output), 15_000, 'the node of the page listens');
  const found = await listening.catch((error: Error) => Promise.reject(new Error(output, { cause: error })));
  const [port, adminPort] = [Number(found?.[1]), Number(found?.[2])];
  return {
    ...{ port, adminPort },
    output: () => output,
    async run(language, text, setup = '') {
      const command = language === 'js' ? `node --input-type=module --eval '${text.replaceAll("'", `'\\''`)}'` : text;
      const script = `${setup}\n${command}`.replaceAll(':8081', `:${adminPort}`).replaceAll(':8080', `:${port}`);
      return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd, timeout: 15_000 })).stdout;
    },
  };
}

export interface Block {
  language: string;
  text: string;
}

/** The blocks of code of a page. One without a language has ''. */
export function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({ language, text }));
}
