/**
 * docs/http-api.md: every command and snippet of the page runs as it is written there, in the order of the page, and its answer
 * has the fields that the page shows.
 *
 * Only the ports are others: free ones, so that the test runs beside a node.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import type { Route } from '../../gateway/http/api/route.ts';
import { routes } from '../../gateway/http/api/routes.ts';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';
import { folder } from './files.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));

interface Block {
  language: string;
  text: string;
}

const page = readFileSync(join(repository, 'docs/http-api.md'), 'utf8');
const blocks: Block[] = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({
  language,
  text,
}));
const [start, variables, ...rest] = blocks;
/** What is run, and the answer that stands below it, if there is one; without a language, that of a node with clients. */
const snippets = rest.flatMap((block, index) => {
  const next = rest[index + 1];
  if (block.language === 'json' || block.language === '') return [];
  const textOf = (language: string) => (next?.language === language ? next.text : undefined);
  return [{ ...block, answer: textOf('json'), withClients: textOf('') }];
});

let directory: string;
let adminPort: string;

beforeAll(async () => {
  directory = folder();
  for (const name of ['package.json', 'dist', 'deploy', 'node_modules'])
    symlinkSync(join(repository, name), join(directory, name));
  // Without the build before the start, which has been done.
  const env = { PATH: process.env.PATH, npm_config_ignore_scripts: 'true', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' };
  const shell = spawn('bash', ['-euc', start?.text ?? ''], { cwd: directory, env, detached: true });
  endWithThisProcess(shell);
  onCleanup(async () => {
    const ended = once(shell, 'close');
    process.kill(-(shell.pid ?? Number.NaN), 'SIGKILL');
    await ended;
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const port = () => /"adminPort":(\d+)/.exec(output)?.[1];
  const listening = until(port, 15_000, 'the node of the page listens');
  adminPort = `${await listening.catch((error: Error) => Promise.reject(new Error(output, { cause: error })))}`;
});

/** Runs it in the second terminal of the page. */
async function run({ language, text }: Block): Promise<string> {
  const setup = (variables?.text ?? '').replace('8081', adminPort);
  const command =
    language === 'sh' ? text : `export API KEY; node --input-type=module --eval '${text.replaceAll("'", `'\\''`)}'`;
  const words = ['-euo', 'pipefail', '-c', `${setup}\n${command}`];
  return (await promisify(execFile)('bash', words, { cwd: directory, timeout: 15_000 })).stdout;
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
  const readme = readFileSync(join(repository, 'README.md'), 'utf8');
  const [call] = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)]
    .map(([, text = '']) => text)
    .filter((text) => text.includes('/api/'));
  const text = `GATEWAY_API_KEY=$KEY\n${call?.replace('8081', adminPort)}`;
  expect(JSON.parse(await run({ language: 'sh', text }))).toEqual({
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
