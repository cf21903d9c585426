/**
 * A node that is started by the shell commands of a page in docs/, as they are written there, in a folder of its own that
 * looks like the project. Only the ports are others: free ones.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
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
  /** Adds files to its folder, with these ports in their texts. */
  add(files: Record<string, string>): void;
  /** Starts a program in another terminal; resolves when it has printed this. */
  start(commands: string, printed: RegExp): Promise<void>;
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
  write(cwd, files);
  // Without the build before the start, which has been done.
  const env = { PATH: process.env.PATH, npm_config_ignore_scripts: 'true', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' };
  const output = terminal(cwd, commands, env);
  const listening = until(
    () => /"port":(\d+).*"adminPort":(\d+)/.exec(output()),
    15_000,
    'the node of the page listens',
  );
  const found = await listening.catch((error: Error) => Promise.reject(new Error(output(), { cause: error })));
  const [port, adminPort] = [Number(found?.[1]), Number(found?.[2])];
  const here = (text: string) => text.replaceAll(':8081', `:${adminPort}`).replaceAll(':8080', `:${port}`);
  return {
    ...{ port, adminPort, output },
    add: (more) => write(cwd, Object.fromEntries(Object.entries(more).map(([name, text]) => [name, here(text)]))),
    async start(text, printed) {
      const told = terminal(cwd, here(text), { PATH: process.env.PATH });
      const started = until(() => printed.test(told()), 15_000, `the program prints ${printed}`);
      await started.catch((error: Error) => Promise.reject(new Error(told(), { cause: error })));
    },
    async run(language, text, setup = '') {
      const command = language === 'js' ? `node --input-type=module --eval '${text.replaceAll("'", `'\\''`)}'` : text;
      const script = here(`${setup}\n${command}`);
      return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd, timeout: 15_000 })).stdout;
    },
  };
}

function write(cwd: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    writeFileSync(join(cwd, name), text);
  }
}

/** A shell that runs until the test ends. Returns what it and its programs have printed so far. */
function terminal(cwd: string, commands: string, env: NodeJS.ProcessEnv): () => string {
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
  return () => output;
}

export interface Block {
  language: string;
  text: string;
}

/** The blocks of code of a page. One without a language has ''. */
export function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({ language, text }));
}
