/**
 * The pages on migrating: everything that is said to be how it is done here runs as it is written, in the order of the page, and
 * prints what the page shows. The code of the other systems is parsed only. Names of calls, settings and rules exist.
 */
import { readFileSync } from 'node:fs';
import { transform } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';
import { routes } from '../../gateway/http/api/routes.ts';
import { readRules } from '../../gateway/rooms/access.ts';
import { type Block, blocksOf, type DocumentedNode, startAsDocumented } from '../integration/documented-node.ts';

describe.each(['socketio', 'pusher', 'centrifugo'])('docs/migrating-from-%s.md', (name) => {
  const page = readFileSync(new URL(`../../docs/migrating-from-${name}.md`, import.meta.url), 'utf8');
  const blocks = blocksOf(page);
  const [start, setup] = blocks.filter(({ text }) => text.startsWith('export') || text.startsWith('echo'));
  // `npx` looks for the package, which takes seconds; what it runs is the same program.
  const commands = (setup?.text ?? '').replace('npx roomcast', 'node gateway/cli/roomcast.mjs');
  /** Runs by itself: `app` is a framework that the reader has. */
  const runs = ({ text }: Block) => /^(\/\/|#) after\n/.test(text) && !text.includes('app.post');
  let node: DocumentedNode;

  beforeAll(async () => {
    node = await startAsDocumented(start?.text ?? '');
  });

  test('what is shown for Roomcast runs, and prints what is shown', async () => {
    const after = blocks.filter(runs);
    expect(after.length).toBeGreaterThan(1);
    for (const block of after) {
      const output = await node.run(block.language, block.text, commands);
      const shown = blocks[blocks.indexOf(block) + 1];
      if (shown?.language === '') expect(output).toBe(shown.text);
      else expect(JSON.parse(output)).toEqual({ epoch: expect.any(String), offset: expect.any(Number) });
    }
  }, 60_000);

  test('all code can be parsed, and says whose it is', async () => {
    for (const { language, text } of blocks.filter((block) => block.language === 'js')) {
      expect(text).toMatch(/^\/\/ (before|after)\n/);
      await transform(text, { loader: language as 'js', format: 'esm' });
    }
  });

  test('room rules are such that a node takes them', () => {
    const rules = [...page.matchAll(/\{\s*"rooms": \[.*?\]\s*\}(?=\n|')/gs)].map(([text]) =>
      readRules(JSON.parse(text)),
    );
    expect(rules.length).toBeGreaterThan(0);
    for (const each of rules) expect(each).toEqual({ rules: expect.any(Array) });
  });

  test('every call that is named is one of the API', () => {
    const known = routes.map(({ path }) => path.replaceAll(/\{\w+\}/g, '{}'));
    const named = [...page.matchAll(/(?:GET|POST|DELETE) (\/api\/[\w/{}]+)/g)].map(([, path = '']) =>
      path.replaceAll(/\{\w+\}/g, '{}'),
    );
    const ours = named.filter((path) => path !== '/api/publish');
    expect(ours.length).toBeGreaterThan(4);
    for (const path of ours) expect(known).toContain(path);
  });
});
