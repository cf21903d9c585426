/** docs/client.md: every script of the page runs as it is written, in its order, and prints what the page shows. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';

const blocks = blocksOf(readFileSync(new URL('../../docs/client.md', import.meta.url), 'utf8'));
const [start, setup] = blocks.filter(({ language }) => language === 'sh');
/** The first one is for a page: it names no node that runs here. */
const [, ...scripts] = blocks.filter(({ language }) => language === 'js');
const node = await startAsDocumented(start?.text ?? '');

test.each(scripts.map(({ text }) => [/room(?:\(|: )'(.*?)'/.exec(text)?.[1], text]))(
  'the script of %s',
  async (_, text = '') => {
    const shown = blocks[blocks.findIndex((block) => block.text === text) + 1];
    expect(shown?.language).toBe('');
    expect(await node.run('js', text, setup?.text)).toBe(shown?.text);
  },
);
