/** docs/centrifugo.md: what it shows runs as it is written, and prints what the page shows. The codes are those of the dialect. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { closes, errors, finerErrors } from '../../gateway/protocol/centrifugo/codes.ts';
import { closeCode } from '../../shared/codes.ts';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';

const page = readFileSync(new URL('../../docs/centrifugo.md', import.meta.url), 'utf8');

test('the node of the page takes the client of the page, which prints what the page shows', async () => {
  const [start, setup, program, shown] = blocksOf(page);
  const node = await startAsDocumented(start?.text ?? '');
  // `npx` looks for the package, which takes seconds; what it runs is the same program.
  const commands = (setup?.text ?? '').replace('npx roomcast', 'node gateway/cli/roomcast.mjs');
  expect(await node.run('js', program?.text ?? '', commands)).toBe(shown?.text);
}, 60_000);

test('every error and every close code is in the tables, with the native code that it stands for', () => {
  const codes = [...Object.values(errors), ...Object.values(finerErrors)].map(({ code }) => code);
  for (const code of codes) expect(page).toMatch(new RegExp(`^\\| ${code}[ ,]`, 'm'));
  for (const code of Object.values(closeCode)) {
    // Only of streams.
    if (code === closeCode.normal) continue;
    const [told, reason] = closes[code];
    const row = page.split('\n').find((line) => line.startsWith(`| ${told} ${reason}`));
    expect(row, `${code}`).toContain(`${code}`);
  }
});
