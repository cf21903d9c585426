/**
 * A web application for tests: a page with one script, made of the library's sources as a bundler makes it, on an origin of its
 * own.
 *
 * Owns the server of the page. What the script puts into `globalThis` is there for the test.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { onCleanup } from '../support/cleanup.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const source = (path: string) => `${repository}shared/client/${path}.ts`;

/** `script` is TypeScript, JSX too. Returns the address of the page, which is its origin with a slash. */
export async function serveApplication(script: string): Promise<string> {
  const { outputFiles } = buildSync({
    stdin: { contents: script, resolveDir: repository, loader: 'tsx' },
    alias: {
      'roomcast/client': source('client'),
      'roomcast/client/binary': source('binary'),
      'roomcast/client/fallback': source('fallback/fallback'),
      'roomcast/react': source('react'),
      'roomcast/socketio': source('socketio'),
    },
    ...{ bundle: true, format: 'esm', target: 'es2022', jsx: 'automatic', write: false },
    // In production StrictMode does nothing.
    define: { 'process.env.NODE_ENV': '"development"' },
  });
  const text = outputFiles[0]?.text ?? '';
  const html = '<!doctype html><meta charset="utf-8"><title>Test</title><div id="root"></div>';
  const server = createServer(({ url }, answer) => {
    const isScript = url === '/script.js';
    answer.setHeader('content-type', `text/${isScript ? 'javascript' : 'html'}; charset=utf-8`);
    answer.end(isScript ? text : `${html}<script type="module" src="/script.js"></script>`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
