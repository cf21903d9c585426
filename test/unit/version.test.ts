/** gateway/version.ts, which /metrics shows, says the version of package.json. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { version } from '../../gateway/version.ts';

test('the version of the program is that of package.json', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(version).toBe(manifest.version);
});
