#!/usr/bin/env -S MALLOC_ARENA_MAX=2 node --max-semi-space-size=8
/**
 * The command `roomcast`: starts the compiled gateway/cli/main.ts. In a checkout it compiles it first.
 *
 * Plain JavaScript, because it runs before anything is built.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const program = new URL('../../dist/gateway/cli/main.js', import.meta.url);

if (!existsSync(program)) {
  // The build prints to standard error: standard output belongs to the command.
  const build = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (build.status !== 0) {
    process.stderr.write(`Roomcast is not built: run \`npm ci --include=dev && npm run build\` in ${root} first.\n`);
    process.exit(1);
  }
}
await import(program.href);
