/**
 * Random JSON text of every kind of value, in a form that no serializer writes: white space, unnecessary escapes,
 * unusual numbers, strings full of braces, quotes and backslashes. Parsing and serializing it changes the text.
 */
import type { Random } from './random.ts';

const numbers = ['0', '-0', '1.50', '1e5', '-12.25E-3', '9007199254740993', '1e999', '123456789012345678901234567890'];
const characters = [
  ...['a', 'data', '{', '}', '[', ']', ',', ':', ' ', 'é', '😀', '\u2028', '\u007f'],
  ...['\\"', '\\\\', '\\/', '\\n', '\\u0022', '\\u005c', '\\ud83d\\ude00', '\\ud800', '\\u0000'],
];

export function randomJsonText(random: Random, levels = 4): string {
  const kind = random.integer(0, levels > 0 ? 6 : 4);
  if (kind === 0) return random.pick(['null', 'true', 'false']);
  if (kind === 1) return random.pick(numbers);
  if (kind <= 4) return randomString(random);
  const items = Array.from({ length: random.integer(0, 4) }, () => {
    const value = `${gap(random)}${randomJsonText(random, levels - 1)}${gap(random)}`;
    return kind === 5 ? value : `${gap(random)}${randomString(random)}${gap(random)}:${value}`;
  });
  const inner = items.length === 0 ? gap(random) : items.join(',');
  return kind === 5 ? `[${inner}]` : `{${inner}}`;
}

function randomString(random: Random): string {
  return `"${random.text(characters, random.integer(0, 6))}"`;
}

function gap(random: Random): string {
  return random.chance(0.2) ? random.pick([' ', '\n', '\t', '\r\n  ']) : '';
}
