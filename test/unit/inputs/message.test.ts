/** What a source hands out becomes a message, or is told why it never can. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Places, Poison, readMessage, type SourceMessage } from '../../../gateway/inputs/message.ts';
import { type Place, readPath, readPlace, textAt, wordOf } from '../../../gateway/inputs/place.ts';

const places: Places = { room: { path: ['room'] }, key: undefined, from: undefined, data: [] };

function source(body: string | Buffer | undefined, headers: Record<string, string> = {}, id?: string): SourceMessage {
  return { id: id ?? 'input:1', header: (name) => headers[name], body: body === undefined ? body : Buffer.from(body) };
}

function reasonOf(message: SourceMessage, more: Partial<Places> = {}, maxBytes = 1_000): string | undefined {
  const read = readMessage(message, { ...places, ...more }, maxBytes);
  return read instanceof Poison ? read.reason : undefined;
}

test.each([
  ['$', []],
  ['$.room', ['room']],
  ['$.room.id', ['room', 'id']],
  ['$["two words"].größe_1', ['two words', 'größe_1']],
  ["$['a.b']", ['a.b']],
  ['$.order-id', ['order-id']],
])('the path %s leads by %j', (text, names) => {
  expect(readPath(text)).toEqual(names);
});

test.each([
  undefined,
  '',
  'room',
  '.room',
  '$room',
  '$.',
  '$..room',
  '$.room.',
  '$[0]',
  '$.*',
  '$[*]',
  '$["a"',
  '$.room id',
  '$.1st',
  `$${'.a'.repeat(17)}`,
])('%j is no path', (text) => {
  expect(() => readPath(text)).toThrow(TypeError);
});

test.each([null, 'room', {}, { header: '' }, { header: 5 }, { header: 'a', path: '$' }, { name: 'a' }, []])(
  '%j is no place, and the error says what is',
  (value) => {
    expect(() => readPlace(value)).toThrow('must be {"header": "name"} or {"path": "$.name"}');
  },
);

test('what lies at a path is cut out as it was written, or is nothing', () => {
  const text = '{"a": {"b" : 12345678901234567890 , "c": [ 1,2 ]}, "\\u0061b": "x"}';
  expect(textAt(text, ['a', 'b'])).toBe('12345678901234567890');
  expect(textAt(text, ['a', 'c'])).toBe('[ 1,2 ]');
  expect(textAt(text, ['ab'])).toBe('"x"');
  expect(textAt(text, [])).toBe(text);
  for (const path of [['b'], ['a', 'c', '0'], ['a', 'b', 'c'], ['ab', 'length']])
    expect(textAt(text, path)).toBeUndefined();
});

test('for any object and any path of names, the text is what JSON.parse finds there', () => {
  const name = fc.string({ minLength: 1, maxLength: 3 }).filter((text) => text !== '__proto__');
  const { tree } = fc.letrec((tie) => ({
    tree: fc.dictionary(name, fc.oneof({ maxDepth: 4 }, fc.jsonValue({ maxDepth: 1 }), tie('tree')), { maxKeys: 4 }),
  }));
  fc.assert(
    fc.property(tree, fc.array(fc.nat(), { maxLength: 4 }), (value, steps) => {
      const path: string[] = [];
      let found: unknown = value;
      for (const step of steps) {
        if (typeof found !== 'object' || found === null || Array.isArray(found)) break;
        const keys = Object.keys(found);
        const key = keys[step % keys.length];
        if (key === undefined) break;
        path.push(key);
        found = (found as Record<string, unknown>)[key];
      }
      expect(JSON.parse(textAt(JSON.stringify(value), path) ?? 'null')).toEqual(JSON.parse(JSON.stringify(found)));
    }),
  );
});

test('a string and a number are words, with all digits; nothing else is', () => {
  expect(['"a\\u0062"', '42', '-0.5e3', '12345678901234567890'].map(wordOf)).toEqual([
    'ab',
    '42',
    '-0.5e3',
    '12345678901234567890',
  ]);
  expect(['true', 'null', '{}', '[1]', undefined].map(wordOf)).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test('a message has room, key, sender and data from their places; the id is the key where none is named', () => {
  const body = ' {"room": "a:1", "n": 1, "by": "shop"} ';
  expect(readMessage(source(body), places, 1_000)).toEqual({
    room: 'a:1',
    key: 'input:1',
    from: undefined,
    data: body.trim(),
  });
  const all: Places = { room: { header: 'to' }, key: { path: ['n'] }, from: { path: ['by'] }, data: ['n'] };
  expect(readMessage(source(body, { to: 'b:2' }), all, 1_000)).toEqual({
    room: 'b:2',
    key: '1',
    from: 'shop',
    data: '1',
  });
});

const key: Place = { header: 'key' };

test.each<[string, SourceMessage, Partial<Places>, RegExp]>([
  ['no body', source(undefined), {}, /^no body$/],
  ['what is not JSON', source('{"room":"a"'), {}, /^the body is not JSON$/],
  ['an empty body', source(''), {}, /^the body is not JSON$/],
  ['bytes that are not UTF-8', source(Buffer.from([0x22, 0xff, 0x22])), {}, /^the body is not UTF-8$/],
  [
    'what is too large',
    source(`"${'x'.repeat(1_000)}"`),
    {},
    /^the body has 1002 bytes, and GATEWAY_MAX_MESSAGE_BYTES is 1000$/,
  ],
  [
    'what is nested too deep',
    source(`${'['.repeat(64)}${']'.repeat(64)}`),
    {},
    /^the body is nested more than 63 levels deep$/,
  ],
  ['no room', source('{}'), {}, /^no room: \$\["room"\] is not there, or neither text nor number$/],
  ['a room that is no word', source('{"room":{}}'), {}, /^no room/],
  ['no room in a header', source('{}'), { room: { header: 'to' } }, /^no room: the header to is not there/],
  ['a bad name of a room', source('{"room":"a b"}'), {}, /^not the name of a room, which is 1 to 200 characters/],
  ['a dot segment', source('{"room":"a/../b"}'), {}, /^not the name of a room/],
  ['no key', source('{"room":"a"}'), { key }, /^no key: the header key is not there$/],
  ['no id', { ...source('{"room":"a"}'), id: undefined }, {}, /^no key: an id is not there$/],
  [
    'a key that is too long',
    source('{"room":"a"}', { key: 'ä'.repeat(65) }),
    { key },
    /^the key must have 1 to 128 bytes$/,
  ],
  ['an empty key', source('{"room":"a"}', { key: '' }), { key }, /^the key must have 1 to 128 bytes$/],
  ['a bad sender', source('{"room":"a"}', { key: '' }), { from: key }, /^from must have 1 to 200 bytes$/],
  ['no data', source('{"room":"a"}'), { data: ['order'] }, /^no data: \$\["order"\] is not there$/],
])('%s is poison, and the reason says why', (_, message, more, reason) => {
  expect(reasonOf(message, more)).toMatch(reason);
});

test('a replacement character that was really sent, and 63 levels, are fine', () => {
  expect(reasonOf(source('{"room":"a","text":"\ufffd"}'))).toBeUndefined();
  expect(
    reasonOf(source(`${'['.repeat(63)}${']'.repeat(63)}`, { to: 'a' }), { room: { header: 'to' } }),
  ).toBeUndefined();
});
