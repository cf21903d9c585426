/**
 * Whether the checked-out commit is a release: nothing uncommitted, and one version in package.json, package-lock.json,
 * CHANGELOG.md and the tag.
 *
 * It only reads. All mistakes are told at once, each with what to do.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Returns `{ name, version, tag, commit, committedAt, mistakes }`. */
export function readinessOf(repository) {
  const git = (...args) => execFileSync('git', args, { cwd: repository, encoding: 'utf8' }).trim();
  const read = (file) => readFileSync(`${repository}/${file}`, 'utf8');
  const { name, version } = JSON.parse(read('package.json'));
  const tag = `v${version}`;
  const mistakes = [];

  const changed = git('status', '--porcelain');
  if (changed !== '') mistakes.push(`Commit these files, or remove them:\n${changed}`);

  const lock = JSON.parse(read('package-lock.json'));
  if (lock.version !== version || lock.packages[''].version !== version) {
    mistakes.push(`package-lock.json has another version than ${version}: run npm install --package-lock-only.`);
  }

  const headings = [...read('CHANGELOG.md').matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
  if (!new RegExp(`^${version.replaceAll('.', '\\.')} \\(\\d{4}-\\d{2}-\\d{2}\\)$`).test(headings[0] ?? '')) {
    mistakes.push(
      `CHANGELOG.md has to begin with "## ${version} (year-month-day)", not with "## ${headings[0] ?? ''}".`,
    );
  }

  const tags = git('tag', '--points-at', 'HEAD').split('\n');
  if (!tags.includes(tag)) mistakes.push(`The checked-out commit has no tag ${tag}: git tag --annotate ${tag}.`);

  const [commit, committedAt] = git('show', '--no-patch', '--format=%H %cI', 'HEAD').split(' ');
  return { name, version, tag, commit, committedAt, mistakes };
}
