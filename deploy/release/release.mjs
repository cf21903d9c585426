/**
 * Makes a release of the checked-out commit: the npm package, the image, the bill of materials, where all of it comes from, and
 * the checksums. docs/releasing.md describes it.
 *
 *   npm run release -- [--dry-run] [--as-installed] [--without-tests] [--without-image]
 *
 * It publishes nothing, and leaves nothing but the folder release/<version>, which must not exist yet. The options are for
 * trying it: a release that is given to others is made without them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readinessOf } from './readiness.mjs';
import { sbomOf } from './sbom.mjs';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const options = {
  'dry-run': { type: 'boolean', default: false },
  'as-installed': { type: 'boolean', default: false },
  'without-tests': { type: 'boolean', default: false },
  'without-image': { type: 'boolean', default: false },
};

const sha256 = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');
const say = (text) => process.stdout.write(`${text}\n`);

/** Its own output goes to the terminal. */
function run(command, ...args) {
  say(`== ${[command, ...args].join(' ')}`);
  execFileSync(command, args, { cwd: repository, stdio: ['ignore', 'inherit', 'inherit'] });
}

const textOf = (command, ...args) => execFileSync(command, args, { cwd: repository, encoding: 'utf8' }).trim();

/** What the image is: its own id, and the digests of what it began with. */
function buildImage({ name, version, commit, committedAt }, file) {
  const image = `${name}:${version}`;
  const labels = {
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.revision': commit,
    'org.opencontainers.image.created': committedAt,
  };
  const labelled = Object.entries(labels).flatMap(([label, value]) => ['--label', `${label}=${value}`]);
  run('docker', 'build', '--pull', '--file', 'deploy/Dockerfile', '--tag', image, ...labelled, '.');
  run('docker', 'save', '--output', file, image);
  const [base] = /^FROM (\S+)/m.exec(readFileSync(join(repository, 'deploy/Dockerfile'), 'utf8')).slice(1);
  const inspect = (of, format) => textOf('docker', 'image', 'inspect', '--format', format, of);
  return { name: image, id: inspect(image, '{{.Id}}'), base, baseDigests: inspect(base, '{{json .RepoDigests}}') };
}

function provenanceOf({ name, version, tag, commit, committedAt }, image) {
  const bin = join(repository, 'node_modules/uWebSockets.js/dist/bin');
  return {
    ...{ name, version, tag, commit, committedAt },
    builtWith: { node: process.version, npm: textOf('npm', '--version'), on: `${process.platform}-${process.arch}` },
    lockfileSha256: sha256(join(repository, 'package-lock.json')),
    uWebSocketsSha256: Object.fromEntries(readdirSync(bin).map((file) => [file, sha256(join(bin, file))])),
    image,
  };
}

function release(values) {
  const ready = readinessOf(repository);
  const { name, version, mistakes } = ready;
  const folder = join(repository, 'release', version);
  if (existsSync(folder))
    mistakes.push(`${folder} exists: this version was made before. Remove it, or raise the version.`);
  if (mistakes.length > 0) {
    process.stderr.write(`This is no release yet:\n${mistakes.map((mistake) => `- ${mistake}\n`).join('')}`);
    process.exitCode = 1;
    return;
  }
  const image = values['without-image'] ? undefined : `${name}-${version}-image.tar`;
  const files = [`${name}-${version}.tgz`, image, 'sbom.cdx.json', 'provenance.json', 'SHA256SUMS'].filter(Boolean);
  if (values['dry-run']) {
    say(`${name} ${version} (${ready.commit}) can be released. It would become, in ${folder}:\n${files.join('\n')}`);
    return;
  }
  // Complete or not at all.
  const draft = `${folder}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  // What an earlier build left there would be packed too.
  rmSync(join(repository, 'dist'), { recursive: true, force: true });
  if (!values['as-installed']) {
    run('npm', 'ci');
    run('npm', 'audit', '--omit=dev');
  }
  if (!values['without-tests']) for (const script of ['check', 'test']) run('npm', 'run', script);
  run('npm', 'pack', '--silent', '--pack-destination', draft);
  const built = image === undefined ? null : buildImage(ready, join(draft, image));
  const write = (file, value) => writeFileSync(join(draft, file), `${JSON.stringify(value, null, 2)}\n`);
  write('sbom.cdx.json', sbomOf(repository));
  write('provenance.json', provenanceOf(ready, built));
  const sums = readdirSync(draft).map((file) => `${sha256(join(draft, file))}  ${file}\n`);
  writeFileSync(join(draft, 'SHA256SUMS'), sums.join(''));
  renameSync(draft, folder);
  say(`${name} ${version} is in ${folder}:\n${files.join('\n')}`);
}

release(parseArgs({ options }).values);
