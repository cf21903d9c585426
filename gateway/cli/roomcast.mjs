#!/usr/bin/env node
/**
 * The command `roomcast`: starts gateway/cli/main.ts as it was compiled, and in a checkout compiles it first.
 *
 * In plain JavaScript, so that it is there before anything was built.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const program = new URL('../../dist/gateway/cli/main.js', import.meta.url);

if (!existsSync(program)) {
  // What it prints goes to standard error: standard output belongs to the command.
  const build = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (build.status !== 0) {
    process.stderr.write(`Roomcast is not built: run \`npm ci --include=dev && npm run build\` in ${root} first.\n`);
    process.exit(1);
  }
}
await import(program.href);
