/**
 * docs/configuration.md shows the table of gateway/settings.ts: one row for each setting, and no other row.
 * On a difference it prints the rows that the page must have.
 */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { settingPrefix, settings } from '../../../gateway/settings.ts';

const page = new URL('../../../docs/configuration.md', import.meta.url);

function expectedRows(): string[] {
  return Object.values(settings).map((setting) => {
    const name = `${settingPrefix}${setting.name}`;
    const names = setting.secret ? `\`${name}\` (or \`${name}_FILE\`)` : `\`${name}\``;
    const cells = [names, setting.default === '' ? '–' : setting.default, setting.unit, setting.meaning];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
}

test('docs/configuration.md has exactly one row for each setting, with its name, default, unit and meaning', () => {
  const text = existsSync(page) ? readFileSync(page, 'utf8') : '';
  const rows = text.split('\n').filter((line) => line.startsWith(`| \`${settingPrefix}`));
  const expected = expectedRows();
  const table = ['| Setting | Default | Unit | Meaning |', '|---|---|---|---|', ...expected].join('\n');
  expect([...rows].sort(), `the rows of docs/configuration.md have to be:\n\n${table}\n`).toEqual([...expected].sort());
});
