/** What a page pays for the library. */
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { expect, test } from 'vitest';

test.each([
  ['roomcast/client', 'client', 'connect', 6 * 1024],
  ['roomcast/client/fallback', 'fallback/fallback', 'fallback', 4.5 * 1024],
  ['roomcast/client/binary', 'binary', 'binary', 7 * 1024],
])('`%s` is small, minified and gzipped, and everything that it needs', (_, path, name, bytes) => {
  const entry = fileURLToPath(new URL(`../../../shared/client/${path}.ts`, import.meta.url));
  const { outputFiles } = buildSync({
    ...{ entryPoints: [entry], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false },
  });
  const [file] = outputFiles;
  expect(file?.text).not.toMatch(/\bimport\b/);
  expect(file?.text).toMatch(new RegExp(`export\\s*\\{.* as ${name}\\b`));
  expect(gzipSync(file?.contents ?? '', { level: 9 }).length).toBeLessThanOrEqual(bytes);
});
