/**
 * What every answer of both ports tells a browser, whatever was asked for and however it went: answers of routes, refusals,
 * pages, event streams, and what is written before a body has come.
 */
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { expect, test } from 'vitest';
import { readAssets } from '../../gateway/dashboard/assets.ts';
import { Demo } from '../../gateway/demo.ts';
import { routes } from '../../gateway/http/api/routes.ts';
import { onCleanup } from '../support/cleanup.ts';
import { startNode } from '../support/node.ts';
import { within } from '../support/until.ts';
import { apiKey } from './api.ts';

interface Asked {
  port: number;
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

interface Head {
  status: number;
  headers: IncomingHttpHeaders;
}

/** The head of the answer; the connection is cut then, so that streams end. */
function headOf({ port, method, path, headers = {}, body }: Asked): Promise<Head> {
  const answered = new Promise<Head>((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, agent: new Agent(), method, path, headers }, (response) => {
      response.on('error', () => undefined);
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
      asked.destroy();
    });
    onCleanup(() => void asked.destroy());
    asked.on('error', reject).end(body);
  });
  return within(answered, 5_000, `the answer to ${method} ${path}`);
}

/** Each path with several methods, with and without what opens it, with a good and a bad body. */
function variants(port: number, paths: readonly string[], key: Record<string, string>): Asked[] {
  return paths.flatMap((path) => [
    ...['GET', 'HEAD', 'OPTIONS', 'DELETE'].map((method) => ({ port, method, path })),
    { port, method: 'GET', path, headers: key },
    { port, method: 'GET', path: `${path}?since=oops&wait=0`, headers: key },
    { port, method: 'POST', path, headers: { ...key, 'content-type': 'application/json' }, body: '{"data":1}' },
    { port, method: 'POST', path, headers: { ...key, 'content-type': 'text/plain' }, body: 'no JSON' },
    // Answered before the body has come.
    { port, method: 'POST', path, headers: { ...key, 'content-length': '100' }, body: 'a' },
  ]);
}

/** Undefined: all is well. */
function whatIsMissing({ headers }: Head, keeping: RegExp): string | undefined {
  const policy = String(headers['content-security-policy']);
  if (headers['x-content-type-options'] !== 'nosniff') return 'x-content-type-options';
  if (headers['referrer-policy'] !== 'no-referrer') return 'referrer-policy';
  if (!/default-src 'none'/.test(policy) || !/frame-ancestors 'none'/.test(policy)) return 'content-security-policy';
  if (/unsafe|\*|https?:/.test(policy)) return `a laxer policy: ${policy}`;
  if (!keeping.test(String(headers['cache-control']))) return `cache-control: ${headers['cache-control']}`;
  return undefined;
}

async function lacking(all: Asked[], keeping = /^no-store/): Promise<string[]> {
  const found: string[] = [];
  const statuses = new Set<number>();
  for (const asked of all) {
    const head = await headOf(asked);
    statuses.add(head.status);
    const missing = whatIsMissing(head, keeping);
    if (missing !== undefined) found.push(`${asked.method} ${asked.path} ${head.status}: ${missing}`);
  }
  expect(statuses.size).toBeGreaterThan(1);
  return found;
}

test('every answer of the public port has them', async () => {
  const { port } = await startNode({ ANONYMOUS: true });
  const paths = ['/ws', '/healthz', '/rooms/a/events', '/rooms/a/messages', '/', '/nowhere', '/rooms/%zz/events'];
  expect(await lacking(variants(port, paths, {}))).toEqual([]);
});

test('every answer of the admin port has them, the dashboard and its streams too', async () => {
  const { adminPort } = await startNode({ API_KEY: apiKey });
  const calls = routes.map(({ path }) => path.replaceAll(/\{\w+\}/g, 'a'));
  const paths = ['/healthz', '/readyz', '/metrics', '/nowhere', '/dashboard/live', '/dashboard/rooms/a/tail', ...calls];
  const key = { authorization: `Bearer ${apiKey}` };
  expect(await lacking(variants(adminPort, [...new Set(paths)], key))).toEqual([]);
  const files = variants(adminPort, [...readAssets().keys()], key);
  expect(await lacking(files, /^no-(store|cache)/)).toEqual([]);
});

test('every answer of the demo has them', async () => {
  const { port } = await startNode({ JWT_SECRET: '' });
  const { paths } = new Demo({ jwtSecret: undefined }, async () => undefined);
  expect(await lacking(variants(port, paths, {}))).toEqual([]);
});
