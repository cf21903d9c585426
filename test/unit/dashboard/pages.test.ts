/** The files of the dashboard's page: nothing in them can turn what users write into HTML, keep the key, or load from elsewhere. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const folder = new URL('../../../gateway/pages/dashboard/', import.meta.url);
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(js|html|css|svg)$/.test(name))
  .map((name) => ({ name, text: readFileSync(new URL(name, folder), 'utf8') }));

test.each([
  ['makes HTML of a text', /innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser/],
  ['runs a text', /\beval\(|new Function\(|javascript:/],
  ['keeps anything beyond the page', /localStorage|sessionStorage|indexedDB|document\.cookie|caches\./],
  ['has a script or a style of its own, or a handler', /<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=/],
  ['loads from elsewhere', /(?:src|href|url|import|fetch)[\s=('"]+https?:/],
])('none %s', (_, pattern) => {
  expect(files.length).toBeGreaterThan(12);
  expect(files.filter(({ text }) => pattern.test(text)).map(({ name }) => name)).toEqual([]);
});
