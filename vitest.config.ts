import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const project = (name: string, include: string, options: object = {}) => ({
  extends: true as const,
  test: { name, include: [include], ...options },
});

/**
 * One project per kind of test. `npm test` runs the first four; `fuzz` has a script of its own, `cli` starts a process per
 * command, `centrifugo` fetches the SDKs of other languages, `chaos`, `verify` and `soak`
 * take minutes, `proxies` needs nginx and Caddy, `work` needs strace, `browser` Chromium and `compose` Docker.
 */
export default defineConfig({
  test: {
    pool: 'forks',
    // These tests mostly wait, and the default would be one worker on two cores.
    maxWorkers: 2 * availableParallelism(),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    projects: [
      project('unit', 'test/unit/**/*.test.ts', { isolate: false }),
      project('contract', 'test/contract/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('integration', 'test/integration/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('protocol', 'test/protocol/**/*.test.ts'),
      project('cli', 'test/cli/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('chaos', 'test/chaos/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('proxies', 'test/proxies/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('fuzz', 'test/fuzz/**/*.test.ts', { globalSetup: ['test/support/redis-ladder.ts'] }),
      project('inputs', 'test/inputs/**/*.test.ts', { testTimeout: 180_000, hookTimeout: 180_000 }),
      project('centrifugo', 'test/centrifugo/**/*.test.ts', {
        globalSetup: ['test/support/redis-ladder.ts'],
        testTimeout: 60_000,
      }),
      project('work', 'test/work/**/*.test.ts', { testTimeout: 120_000 }),
      project('browser', 'test/browser/**/*.test.ts', { testTimeout: 60_000 }),
      project('verify', 'test/verify/**/*.test.ts', { hookTimeout: 120_000 }),
      project('soak', 'test/soak/**/*.test.ts', { hookTimeout: 120_000 }),
      project('compose', 'test/compose/**/*.test.ts', { testTimeout: 300_000, hookTimeout: 900_000 }),
    ],
  },
});
