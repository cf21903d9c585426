/**
 * docs/http-api.md: every command and snippet of the page runs as it is written there, in the order of the page, and its answer
 * has the fields that the page shows.
 *
 * Only the ports are others: free ones, so that the test runs beside a node.
 */
import { readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import type { Route } from '../../gateway/http/api/route.ts';
import { routes } from '../../gateway/http/api/routes.ts';
import { type Block, blocksOf, type DocumentedNode, startAsDocumented } from '../integration/documented-node.ts';

const readPage = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const [start, variables, ...rest] = blocksOf(readPage('docs/http-api.md'));
/** What is run, and the answer that stands below it, if there is one; without a language, that of a node with clients. */
const snippets = rest.flatMap((block, index) => {
  const next = rest[index + 1];
  if (block.language === 'json' || block.language === '') return [];
  const textOf = (language: string) => (next?.language === language ? next.text : undefined);
  return [{ ...block, answer: textOf('json'), withClients: textOf('') }];
});

let node: DocumentedNode;

beforeAll(async () => {
  node = await startAsDocumented(start?.text ?? '');
});

/** Runs it in the second terminal of the page. */
function run({ language, text }: Block): Promise<string> {
  return node.run(language, text, `${variables?.text}\nexport API KEY`);
}

test('the page has a start, the variables, and what is run', () => {
  expect(start?.text).toContain('npm start');
  expect(variables?.text).toContain(':8081');
  expect(snippets.length).toBeGreaterThan(6);
});

test.each(snippets.map((snippet) => [snippet.text.split('\n')[0] ?? '', snippet] as const))(
  '%s',
  async (_, snippet) => {
    const output = await run(snippet);
    if (snippet.answer !== undefined) expect(shapeOf(JSON.parse(output))).toEqual(shapeOf(JSON.parse(snippet.answer)));
    else if (snippet.language === 'js') expect(output).toMatch(/epoch: '.+', offset: \d+/);
    else if (snippet.withClients !== undefined) {
      const path = /\$API(\/\w+)\?/.exec(snippet.text)?.[1];
      const { answer } = routes.find((route) => route.path === `/api${path}` && route.method === 'GET') as Route;
      for (const text of [output, snippet.withClients]) answer.parse(JSON.parse(text));
      expect(Object.keys(JSON.parse(output))).toEqual(Object.keys(JSON.parse(snippet.withClients)));
    } else expect(JSON.parse(output)).toMatchObject({ openapi: '3.1.0' });
  },
);

test('README.md: the call runs as it is written there', async () => {
  const call = blocksOf(readPage('README.md')).find(({ text }) => text.includes('/api/'));
  expect(JSON.parse(await run({ language: 'sh', text: `GATEWAY_API_KEY=$KEY\n${call?.text}` }))).toEqual({
    epoch: expect.any(String),
    offset: expect.any(Number),
  });
});

test('all calls of the OpenAPI document are on the page', async () => {
  const document = JSON.parse(await run({ language: 'sh', text: 'curl -s "$API/openapi.json"' })) as { paths: object };
  const written = snippets.map(({ text }) => text).join('\n');
  for (const [path, methods] of Object.entries(document.paths)) {
    const form = path.replace('/api', '\\$API').replaceAll(/\{\w+\}/g, '[^/" ]+');
    expect(written, path).toMatch(new RegExp(`${form}["?]`));
    if ('delete' in methods) expect(written, path).toMatch(new RegExp(`-X DELETE "${form}"`));
  }
});

/** Field names and types, and the values of those that stand for themselves. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== 'object' || value === null) return typeof value === 'number' ? 'number' : kindOf(value);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shapeOf(each)]));
}

/** A text without a space in it may be made up by the node. */
function kindOf(value: unknown): unknown {
  return typeof value === 'string' && !/[ :/]/.test(value) ? 'text' : value;
}
