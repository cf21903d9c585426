/**
 * The files of the page, gateway/pages/dashboard, with the headers that they are served with. They need no key: without one the
 * page only shows a form.
 *
 * Owns the Content-Security-Policy: nothing comes from elsewhere, nothing is inline, and no page may frame this one. Files are
 * read once; only names that are in the folder can be asked for.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Answer } from '../http/response.ts';

const types: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
};

export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const headers = {
  'content-security-policy': contentSecurityPolicy,
  'cross-origin-resource-policy': 'same-origin',
  // A node of another version has other files under the same names.
  'cache-control': 'no-cache',
};

const folder = new URL('../pages/dashboard/', import.meta.url);

/** By path. */
export function readAssets(): Map<string, Answer> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => extensionOf(name) in types);
  return new Map(
    names.map((name) => [
      name === 'index.html' ? '/' : `/dashboard/${name}`,
      {
        status: '200 OK',
        headers: { 'content-type': types[extensionOf(name)] ?? '', ...headers },
        body: readFileSync(new URL(name, folder), 'utf8'),
      },
    ]),
  );
}

function extensionOf(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
}
