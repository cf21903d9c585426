/**
 * The pages of the project as a site: every link leads to a file and a heading that are there, every page is in the index, and every
 * block of JSON or YAML can be read.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

const root = fileURLToPath(new URL('../../', import.meta.url));
const inDocs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.md') && !name.includes('node_modules'),
);
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...inDocs.map((name) => `docs/${name}`)];
const read = (page: string) => readFileSync(join(root, page), 'utf8');
const withoutCode = (text: string) => text.replaceAll(/^```.*?^```$/gms, '');

/** As GitHub makes them: lower case, without punctuation, blanks as hyphens, and a number behind one that was there before. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of withoutCode(read(page)).matchAll(/^#{1,6} (.*)$/gm)) {
    const words = heading.replaceAll(/\[(.*?)\]\(.*?\)/g, '$1').toLowerCase();
    const anchor = words.replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ', '-');
    let unique = anchor;
    for (let count = 1; anchors.has(unique); count++) unique = `${anchor}-${count}`;
    anchors.add(unique);
  }
  return anchors;
}

/** The links of a page to files of the project, as [path from the root, anchor]. */
function linksOf(page: string): [path: string, anchor: string][] {
  const text = withoutCode(read(page)).replaceAll(/`[^`\n]*`/g, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [path = '', anchor = ''] = target.split('#');
    return [[path === '' ? page : relative(root, join(root, dirname(page), path)), anchor] as [string, string]];
  });
}

test('anchors are made as GitHub makes them', () => {
  expect([...anchorsOf('docs/protocol.md')]).toEqual(
    expect.arrayContaining(['the-wire-protocol-roomcastv1json', 'rooms-with-history', 'deviations-from-rfc-6455']),
  );
  expect([...anchorsOf('docs/http-fallback.md')]).toContain('get-roomsroommessages');
});

test('every link leads to a file of the project, and to a heading that is there', () => {
  const dead = pages.flatMap((page) =>
    linksOf(page)
      .filter(([path, anchor]) => {
        if (!existsSync(join(root, path))) return true;
        return anchor !== '' && !anchorsOf(path).has(anchor);
      })
      .map(([path, anchor]) => `${page}: ${path}${anchor && `#${anchor}`}`),
  );
  expect(dead).toEqual([]);
  expect(pages.flatMap(linksOf).length).toBeGreaterThan(100);
});

test('docs/README.md leads to every page, and README.md to it', () => {
  const linked = new Set(linksOf('docs/README.md').map(([path]) => path));
  const listed = (page: string) => {
    const folder = dirname(page);
    // A folder counts as a whole: the decisions, and each example.
    return linked.has(page) || (folder !== 'docs' && (linked.has(folder) || linked.has(dirname(folder))));
  };
  expect(pages.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md' && !listed(page))).toEqual([]);
  expect(linksOf('README.md').map(([path]) => path)).toContain('docs/README.md');
  for (const path of linked) if (!path.endsWith('.md')) expect(statSync(join(root, path)).isDirectory()).toBe(true);
});

test('every block of JSON or YAML can be read', () => {
  const wrong = pages.flatMap((page) =>
    [...read(page).matchAll(/^```(json|yaml)\n(.*?)^```$/gms)].flatMap(([, language, text = '']) => {
      try {
        if (language === 'json') JSON.parse(text);
        else for (const { errors } of parseAllDocuments(text) as { errors: Error[] }[]) if (errors[0]) throw errors[0];
        return [];
      } catch (error) {
        return [`${page}: ${(error as Error).message}\n${text}`];
      }
    }),
  );
  expect(wrong).toEqual([]);
});

test('every picture says in words what it shows, and is readable in the dark', () => {
  const pictures = readdirSync(join(root, 'docs/images')).filter((name) => name.endsWith('.svg'));
  const shown = pages.map(read).join('\n');
  for (const name of pictures) {
    const text = read(`docs/images/${name}`);
    expect(text, name).toMatch(/role="img" aria-label=".{20,}"/);
    expect(text, name).toContain('@media (prefers-color-scheme: dark)');
    expect(text.length, name).toBeLessThan(8_000);
    expect(shown, name).toMatch(new RegExp(`!\\[[^\\]]{20,}\\]\\((docs/)?images/${name}\\)`));
  }
});
