/** package.json and package-lock.json: what `npm ci` installs is what was tested, byte for byte, and runs nothing on the way. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Locked {
  version?: string;
  integrity?: string;
  resolved?: string;
  link?: boolean;
  dev?: boolean;
  hasInstallScript?: boolean;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8'));
const manifest = read('package.json') as Record<
  'dependencies' | 'devDependencies' | 'overrides',
  Record<string, string>
>;
const packages = Object.entries(read('package-lock.json').packages as Record<string, Locked>).filter(([path]) => path);

test('each package of the lock file has a SHA-512 of its contents', () => {
  expect(packages.length).toBeGreaterThan(100);
  for (const [path, { integrity }] of packages) expect(integrity, path).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
});

test('no package comes from a folder, a git repository or an address of its own', () => {
  for (const [path, { resolved, link }] of packages) {
    expect(link, path).toBeUndefined();
    // Without an address it comes from the registry that the installing npm is set to.
    if (resolved !== undefined) expect(resolved, path).toMatch(/^https:\/\/registry\.npmjs\.org\//);
  }
});

test('each dependency of package.json is one version', () => {
  for (const list of [manifest.dependencies, manifest.devDependencies, manifest.overrides]) {
    for (const [name, version] of Object.entries(list)) {
      expect(version, name).toMatch(/^(npm:[\w.-]+@)?\d+\.\d+\.\d+$/);
    }
  }
});

test('no package of the image runs a script when it is installed', () => {
  const running = packages.filter(([, { hasInstallScript, dev }]) => hasInstallScript && dev !== true);
  expect(running.map(([path]) => path)).toEqual([]);
});
