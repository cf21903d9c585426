/**
 * The software bill of materials of a release (CycloneDX 1.5): every package whose code is in it, with version, licence and
 * SHA-512, as package-lock.json has them.
 *
 * `npm sbom` writes it for all packages; those that only development needs are taken out here. Its own `--omit dev` is of no use:
 * in npm 11 it takes out what both need too, such as `debug`. Run by hand this prints the document: npm run --silent sbom
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A development dependency that gateway/cli/assets.mjs copies into dist. */
const builtIn = 'node_modules/uplot';

/** `repository`: the folder with package.json and package-lock.json. Nothing else is read there. */
export function sbomOf(repository) {
  const read = (file) => JSON.parse(readFileSync(`${repository}/${file}`, 'utf8'));
  const { name, version } = read('package.json');
  const shipped = shippedOf(read('package-lock.json').packages);
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'];
  const sbom = JSON.parse(execFileSync('npm', args, { cwd: repository, encoding: 'utf8', maxBuffer: 2 ** 26 }));
  const own = sbom.metadata.component;
  // npm says the name of the folder.
  Object.assign(own, { name, version });
  sbom.components = sbom.components.filter((component) => shipped.has(`${component.name}@${component.version}`));
  const refs = new Set([own, ...sbom.components].map((component) => component['bom-ref']));
  sbom.dependencies = sbom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => refs.has(each)) }));
  return sbom;
}

/** `name@version` of each package that `npm ci --omit=dev` installs, and of those built into dist. */
function shippedOf(packages) {
  const isShipped = ([path, { dev, devOptional, peer }]) => path !== '' && !dev && !devOptional && !peer;
  const entries = Object.entries(packages).filter((entry) => entry[0] === builtIn || isShipped(entry));
  if (!entries.some(([path]) => path === builtIn)) throw new Error(`package-lock.json has no ${builtIn}`);
  return new Set(entries.map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const repository = fileURLToPath(new URL('../..', import.meta.url));
  process.stdout.write(`${JSON.stringify(sbomOf(repository), null, 2)}\n`);
}
