/** What a page pays for the library. */
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { expect, test } from 'vitest';

test('`roomcast/client` is at most 6 KiB, minified and gzipped, and everything that it needs', () => {
  const entry = fileURLToPath(new URL('../../../shared/client/client.ts', import.meta.url));
  const { outputFiles } = buildSync({
    ...{ entryPoints: [entry], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false },
  });
  const [file] = outputFiles;
  expect(file?.text).not.toMatch(/\bimport\b/);
  expect(file?.text).toMatch(/export\s*\{.* as connect/);
  expect(gzipSync(file?.contents ?? '', { level: 9 }).length).toBeLessThanOrEqual(6 * 1024);
});
