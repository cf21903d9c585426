/**
 * `npm run release` and `npm run sbom` as they are run, in a copy of the project with a git history of its own: what stands in
 * the way of a release is told, and a release is complete, checkable, and the same when it is made again.
 *
 * Image and tests are left out: test/compose builds the image, and the tests would run themselves.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test, vi } from 'vitest';
import { folder } from '../integration/files.ts';

// It builds the project three times.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

const repository = fileURLToPath(new URL('../../', import.meta.url));
const copy = join(folder(), 'roomcast');
const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
const made = join(copy, 'release', version);
const quick = ['--as-installed', '--without-tests', '--without-image'];

const git = (...args: string[]) => execFileSync('git', args, { cwd: copy, encoding: 'utf8', stdio: 'pipe' }).trim();
const text = (...path: string[]) => readFileSync(join(...path), 'utf8');
const sha256 = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

/** As an operator would start it. */
function release(...options: string[]) {
  const { status, stdout, stderr } = spawnSync('npm', ['run', '--silent', 'release', '--', ...options], {
    cwd: copy,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

beforeAll(() => {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  for (const file of execFileSync('git', list, { cwd: repository, encoding: 'utf8' }).split('\0')) {
    const there = file !== '' && !file.startsWith('node_modules') && existsSync(join(repository, file));
    if (there) cpSync(join(repository, file), join(copy, file), { recursive: true });
  }
  symlinkSync(join(dirname(join(repository, 'package.json')), 'node_modules'), join(copy, 'node_modules'));
  git('init', '--quiet');
  git('config', 'user.name', 'Somebody');
  git('config', 'user.email', 'somebody@example.com');
  writeFileSync(join(copy, '.git/info/exclude'), 'node_modules\n');
  git('add', '.');
  git('commit', '--quiet', '--message', 'Everything');
});

test('a commit that is no release is refused, with all that is missing, and nothing is made', () => {
  writeFileSync(join(copy, 'note'), 'not committed');
  const { status, stderr } = release(...quick);
  expect(status).toBe(1);
  expect(stderr).toContain('Commit these files, or remove them:\n?? note');
  expect(stderr).toContain(
    `CHANGELOG.md has to begin with "## ${version} (year-month-day)", not with "## Unreleased".`,
  );
  expect(stderr).toContain(`The checked-out commit has no tag v${version}: git tag --annotate v${version}.`);
  expect(existsSync(join(copy, 'release'))).toBe(false);
});

test('a wrong option is refused', () => {
  const { status, stderr } = release('--fast');
  expect(status).toBe(1);
  expect(stderr).toContain("Unknown option '--fast'");
});

test('a dry run says what would be made, and makes nothing', () => {
  const changes = text(copy, 'CHANGELOG.md').replace('## Unreleased', `## ${version} (2026-12-01)`);
  writeFileSync(join(copy, 'CHANGELOG.md'), changes);
  git('add', '.');
  git('commit', '--quiet', '--message', `Version ${version}`);
  git('tag', '--annotate', '--message', version, `v${version}`);
  const { status, stdout, stderr } = release('--dry-run');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const files = [`roomcast-${version}.tgz`, `roomcast-${version}-image.tar`, 'sbom.cdx.json', 'provenance.json'];
  expect(stdout.trim().split('\n').slice(1)).toEqual([...files, 'SHA256SUMS']);
  expect(stdout).toContain(git('rev-parse', 'HEAD'));
  expect(existsSync(join(copy, 'release'))).toBe(false);
});

test('a release holds the package, the bill of materials, its origin, and checksums that fit; made again it is the same', () => {
  const first = release(...quick);
  expect(first.status, first.stderr).toBe(0);
  const files = readdirSync(made).sort();
  expect(files).toEqual(['SHA256SUMS', 'provenance.json', `roomcast-${version}.tgz`, 'sbom.cdx.json']);
  execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: made, stdio: 'pipe' });
  expect(text(made, 'SHA256SUMS').trim().split('\n')).toHaveLength(files.length - 1);

  expect(JSON.parse(text(made, 'provenance.json'))).toMatchObject({
    ...{ name: 'roomcast', version, tag: `v${version}`, commit: git('rev-parse', 'HEAD'), image: null },
    builtWith: { node: process.version },
    lockfileSha256: sha256(join(copy, 'package-lock.json')),
  });
  const page = text(repository, 'docs/decisions/012-uws-pack.md');
  const { uWebSocketsSha256 } = JSON.parse(text(made, 'provenance.json'));
  for (const [file, sum] of Object.entries(uWebSocketsSha256)) expect(page).toContain(`${sum}  ${file}\n`);
  const packed = execFileSync('tar', ['-tzf', `roomcast-${version}.tgz`], { cwd: made, encoding: 'utf8' });
  expect(packed).toContain('package/dist/gateway/main.js\n');
  expect(packed).toContain('package/dist/gateway/redis/publish.lua\n');

  const refused = release(...quick);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain('this version was made before');
  renameSync(made, `${made}.first`);
  // What an earlier build left behind is not packed.
  writeFileSync(join(copy, 'dist/gateway/stale.js'), '');
  expect(release(...quick).status).toBe(0);
  expect(sha256(join(made, `roomcast-${version}.tgz`))).toBe(sha256(join(`${made}.first`, `roomcast-${version}.tgz`)));
});

test('the bill of materials names each package of the image, and uPlot, with version, licence and SHA-512', () => {
  const sbom = JSON.parse(execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: copy, encoding: 'utf8' }));
  expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: 'roomcast', version } } });
  // What `npm ci --omit=dev` of deploy/Dockerfile installs, by another command than the one that wrote the document.
  const args = ['ls', '--omit', 'dev', '--all', '--json', '--package-lock-only'];
  const installed = new Set<string>();
  collect(JSON.parse(execFileSync('npm', args, { cwd: copy, encoding: 'utf8' })), installed);
  installed.add(`uplot ${JSON.parse(text(repository, 'node_modules/uplot/package.json')).version}`);
  const components = sbom.components as Component[];
  expect(components.map(({ name, version: which }) => `${name} ${which}`).sort()).toEqual([...installed].sort());
  const refs = new Set<string>([sbom.metadata.component, ...components].map((component) => component['bom-ref']));
  expect(new Set(sbom.dependencies.map(({ ref }: { ref: string }) => ref))).toEqual(refs);
  for (const { name, hashes, licenses } of components) {
    expect(hashes, name).toEqual([{ alg: 'SHA-512', content: expect.stringMatching(/^[0-9a-f]{128}$/) }]);
    expect(licenses.length, name).toBeGreaterThan(0);
  }
});

interface Listed {
  dependencies?: Record<string, Listed & { version?: string }>;
}

function collect({ dependencies = {} }: Listed, into: Set<string>): void {
  for (const [name, listed] of Object.entries(dependencies)) {
    // An optional peer that is not installed has no version.
    if (listed.version !== undefined) into.add(`${name} ${listed.version}`);
    collect(listed, into);
  }
}

interface Component {
  'bom-ref': string;
  name: string;
  version: string;
  hashes: unknown;
  licenses: unknown[];
}
