/**
 * What the pages in docs/ name is there, and what they are to list completely is complete: the files of gateway/, the
 * tests that show the guarantees, the metrics. The settings have a test of their own.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, 'utf8');
const found = (text: string, pattern: RegExp) => [
  ...new Set([...text.matchAll(pattern)].map(([, name, other = '']) => name ?? other)),
];

test('docs/architecture.md lists exactly the files of gateway/ and of shared/client/, each in its folder', () => {
  const page = read('docs/architecture.md');
  const parts = page.slice(page.indexOf('### Folders and files'), page.indexOf('## Guarantees'));
  const listed = parts.split(/^\*\*(?=gateway\/|shared\/)/m).flatMap((part) => {
    const folder = part.slice(0, part.indexOf('**'));
    return found(part, /`([\w/-]+\.(?:ts|lua))`/g).map((name) => `${folder}${name}`);
  });
  const files = ['gateway', 'shared/client'].flatMap((folder) =>
    readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
  );
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
    'docs/security.md',
  ];
  const named = found(pages.map(read).join('\n'), /`([\w/-]+\.test\.ts)`/g);
  const paths = readdirSync(`${root}/test`, { recursive: true, encoding: 'utf8' }).map((path) => `/test/${path}`);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !paths.some((path) => path.endsWith(`/${name}`)))).toEqual([]);
});

test('each test that docs/security.md names for an abuse is there, in the file that it links', () => {
  const page = read('docs/security.md');
  const tables = page.slice(page.indexOf('## Abuses'), page.indexOf('## Pages and headers'));
  const rows = tables.split('\n').filter((line) => /^\| (?!abuse|fault|---)/.test(line) && !line.startsWith('|--'));
  const wrong = rows.filter((row) => {
    const [, name, path = '', title = ''] = /\[([\w.-]+\.ts)\]\(\.\.\/(test\/[\w/.-]+)\): "(.+)" \|$/.exec(row) ?? [];
    return !path.endsWith(`/${name}`) || !existsSync(`${root}/${path}`) || !read(path).includes(title);
  });
  expect(wrong).toEqual([]);
  expect(rows.length).toBeGreaterThan(60);
});

test('docs/operations.md has a row for each metric, and none besides', () => {
  const rows = found(read('docs/operations.md'), /^\| `(gateway_\w+)/gm);
  const metrics = found(
    ['metrics', 'latency-metrics', 'backend-metrics', 'publish-metrics', 'redis-metrics', 'gauges']
      .map((name) => read(`gateway/telemetry/${name}.ts`))
      .join(),
    /'(gateway_\w+)'|^ {2}(gateway_\w+): \['/gm,
  );
  expect(rows.sort()).toEqual(metrics.sort());
});

test('each decision has a number of its own, in its name and in its title', () => {
  const pages = readdirSync(`${root}/docs/decisions`).sort();
  const named = pages.map((page) => Number(page.slice(0, 3)));
  expect(named.every((number) => number > 0)).toBe(true);
  expect(named).toEqual([...new Set(named)]);
  const titled = pages.map((page) => Number(/^# (\d+)\. /.exec(read(`docs/decisions/${page}`))?.[1]));
  expect(titled).toEqual(named);
});

test('docs/decisions/012-uws-pack.md names the package that is pinned, and the checksums of all binaries in it', () => {
  const page = read('docs/decisions/012-uws-pack.md');
  expect(page).toContain(JSON.parse(read('package.json')).dependencies['uWebSockets.js']);
  const folder = `${root}/node_modules/uWebSockets.js/dist/bin`;
  // The image keeps the one that it needs.
  const installed = readdirSync(folder).sort();
  const sums = installed.map((binary) => {
    const bytes = readFileSync(`${folder}/${binary}`);
    return `${createHash('sha256').update(bytes).digest('hex')}  ${binary}`;
  });
  expect(installed.length).toBeGreaterThan(0);
  expect(found(page, /^([0-9a-f]{64} {2}uws_\S+)$/gm)).toEqual(expect.arrayContaining(sums));
});

test('every file that a comment or a script names by its path exists', () => {
  const files = ['gateway', 'shared', 'test', 'deploy'].flatMap((folder) =>
    readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
  );
  const naming = files.filter((file) => /\.(ts|mjs|lua|cfg|sh|yml)$|Dockerfile$/.test(file));
  const stale = naming.flatMap((file) =>
    found(read(file), /(?<![\w/.-])((?:gateway|shared|test)\/[\w./-]+\.(?:ts|lua|mjs|yml|json))/g)
      .filter((name) => !files.includes(name))
      .map((name) => `${file}: ${name}`),
  );
  expect(stale).toEqual([]);
});
