/**
 * What the pages in docs/ name is there, and what they are to list completely is complete: the files of gateway/, the
 * tests that show the guarantees, the metrics. The settings have a test of their own.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, 'utf8');
const found = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, name = '']) => name))];

test('docs/architecture.md lists exactly the files of gateway/, each in its folder', () => {
  const page = read('docs/architecture.md');
  const parts = page.slice(page.indexOf('### Folders and files'), page.indexOf('## Guarantees'));
  const listed = parts.split(/^\*\*gateway\//m).flatMap((part) => {
    const folder = part.slice(0, part.indexOf('**'));
    return found(part, /`([\w/-]+\.(?:ts|lua))`/g).map((name) => `${folder}${name}`);
  });
  const files = readdirSync(`${root}/gateway`, { recursive: true, encoding: 'utf8' });
  expect(listed.sort()).toEqual(files.filter((name) => /\.(ts|lua)$/.test(name)).sort());
});

test.each(['publish', 'resume'])('the way of a %s names files that exist, ten at most', (what) => {
  const page = read('docs/architecture.md');
  const way = page.slice(page.indexOf(`### Where a ${what} goes`)).split(/^###? /m)[1] ?? '';
  const named = found(way, /`([\w/-]+\.(?:ts|lua))`/g);
  const files = readdirSync(`${root}/gateway`, { recursive: true, encoding: 'utf8' });
  expect(named.filter((name) => !files.includes(name))).toEqual([]);
  expect(named.length).toBeGreaterThan(5);
  expect(named.length).toBeLessThanOrEqual(10);
});

test('every test that a page names exists', () => {
  const pages = [
    'README.md',
    'CONTRIBUTING.md',
    'docs/architecture.md',
    'docs/operations.md',
    'docs/performance.md',
    'docs/protocol.md',
  ];
  const named = found(pages.map(read).join('\n'), /`([\w/-]+\.test\.ts)`/g);
  const paths = readdirSync(`${root}/test`, { recursive: true, encoding: 'utf8' }).map((path) => `/test/${path}`);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !paths.some((path) => path.endsWith(`/${name}`)))).toEqual([]);
});

test('docs/operations.md has a row for each metric, and none besides', () => {
  const rows = found(read('docs/operations.md'), /^\| `(gateway_\w+)/gm);
  const metrics = found(read('gateway/telemetry/metrics.ts'), /'(gateway_\w+)'/g);
  expect(rows.sort()).toEqual(metrics.sort());
});
