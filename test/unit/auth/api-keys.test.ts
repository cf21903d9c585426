/** gateway/auth/api-keys.ts: exactly the keys of the setting are keys, whatever their length. */
import { expect, test } from 'vitest';
import { readApiKeys } from '../../../gateway/auth/api-keys.ts';

const short = 'k'.repeat(16);
const long = 'k'.repeat(512);
const keys = readApiKeys(`${short},${long},another-key-of-the-api`);

test('each key of the setting is one, again and again and in any order', () => {
  for (const key of [long, short, 'another-key-of-the-api', short, long]) expect(keys.has(key)).toBe(true);
});

test.each([
  ['nothing', ''],
  ['a key without its last character', short.slice(1)],
  ['a key with a character more', `${short}k`],
  ['the longest key with a character more', `${long}k`],
  ['a key with a zero behind it', `${short}\0`],
  ['a key with zeros up to the longest key', short.padEnd(512, '\0')],
  ['a key with a space', `${short} `],
  ['two keys', `${short},${long}`],
  ['a character whose low byte is right', `\u016b${short.slice(1)}`],
])('%s is no key', (_, key) => {
  expect(keys.has(long)).toBe(true);
  expect(keys.has(key)).toBe(false);
});
