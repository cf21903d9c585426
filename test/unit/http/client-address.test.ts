/**
 * gateway/http/client-address.ts: whose word is believed about the address of a client. A limit per address can be beaten by
 * nobody who is not a trusted proxy, and no header makes it throw.
 */
import { BlockList } from 'node:net';
import { describe, expect, test } from 'vitest';
import { clientAddress, type Peer } from '../../../gateway/http/client-address.ts';
import { Random } from '../random.ts';

const trusted = new BlockList();
trusted.addSubnet('10.0.0.0', 8, 'ipv4');
trusted.addSubnet('fd00::', 8, 'ipv6');

const address = (peer: Partial<Peer>, proxies = trusted) =>
  clientAddress({ address: '10.0.0.1', proxied: '', forwardedFor: [], ...peer }, proxies);

describe('from anybody else', () => {
  test('X-Forwarded-For and PROXY are not believed', () => {
    const lie = { proxied: '6.6.6.6', forwardedFor: ['6.6.6.6', '10.0.0.1'] };
    expect(address({ address: '203.0.113.9', ...lie })).toBe('203.0.113.9');
    expect(address({ address: '2001:db8::9', ...lie })).toBe('2001:db8::9');
    expect(address({ address: '10.0.0.1', ...lie }, new BlockList())).toBe('10.0.0.1');
  });
});

describe('from a trusted proxy', () => {
  test.each<[string, string[], string]>([
    ['one client', ['203.0.113.9'], '203.0.113.9'],
    ['what the client wrote before', ['6.6.6.6, 203.0.113.9'], '203.0.113.9'],
    ['what the client wrote, on a line of its own', ['6.6.6.6', '203.0.113.9'], '203.0.113.9'],
    ['several proxies', ['203.0.113.9, 10.0.0.3, 10.0.0.2'], '203.0.113.9'],
    ['several proxies, on several lines', ['6.6.6.6, 203.0.113.9', '10.0.0.3', '10.0.0.2'], '203.0.113.9'],
    ['a lie behind several proxies', ['10.0.0.9, 203.0.113.9, 10.0.0.2'], '203.0.113.9'],
    ['only proxies', ['10.0.0.3, 10.0.0.2'], '10.0.0.3'],
    ['an IPv6 client', ['2001:db8::9'], '2001:db8::9'],
    ['an IPv6 proxy', ['203.0.113.9, fd00::2'], '203.0.113.9'],
    ['an IPv4 client in IPv6', ['::ffff:203.0.113.9'], '203.0.113.9'],
    ['an IPv4 proxy in IPv6', ['203.0.113.9, ::ffff:10.0.0.2'], '203.0.113.9'],
    ['white space', ['  203.0.113.9\t'], '203.0.113.9'],
    ['nothing', [], '10.0.0.1'],
    ['an empty line', [''], '10.0.0.1'],
    ['junk', ['unknown'], '10.0.0.1'],
    ['an address behind junk', ['203.0.113.9, unknown'], '10.0.0.1'],
    ['junk behind a proxy', ['unknown, 10.0.0.2'], '10.0.0.2'],
    ['an address with a port', ['203.0.113.9:1234'], '203.0.113.9'],
    ['proxies with ports', ['203.0.113.9:1234, 10.0.0.3:80, 10.0.0.2:8080'], '203.0.113.9'],
    ['an IPv6 address in brackets', ['[2001:DB8::9]'], '2001:db8::9'],
    ['an IPv6 address with a port', ['[2001:db8::9]:1234'], '2001:db8::9'],
    ['an IPv6 proxy with a port', ['203.0.113.9, [fd00::2]:80'], '203.0.113.9'],
    ['an IPv4 client in IPv6 with a port', ['[::ffff:203.0.113.9]:1234'], '203.0.113.9'],
    ['a comma behind it', ['203.0.113.9,'], '203.0.113.9'],
    ['a comma and a blank behind it', ['6.6.6.6, 203.0.113.9 , '], '203.0.113.9'],
    ['nothing between commas', [' , 203.0.113.9,,10.0.0.2', ''], '203.0.113.9'],
    ['only commas', [', ,', ','], '10.0.0.1'],
    ['a port that is none', ['203.0.113.9:http'], '10.0.0.1'],
    ['a port without an address', [':1234'], '10.0.0.1'],
    ['a bracket that is not closed', ['[2001:db8::9'], '10.0.0.1'],
    ['the form of another header (RFC 7239)', ['for=203.0.113.9'], '10.0.0.1'],
    ['numbers that are no address', ['203.0.113.999'], '10.0.0.1'],
    ['an address with zeros before', ['010.0.0.1'], '10.0.0.1'],
  ])('X-Forwarded-For is read from its end: %s', (_, forwardedFor, expected) => {
    expect(address({ forwardedFor })).toBe(expected);
  });

  test('the PROXY header goes before X-Forwarded-For, and junk in it counts as none', () => {
    expect(address({ proxied: '203.0.113.9', forwardedFor: ['6.6.6.6'] })).toBe('203.0.113.9');
    expect(address({ proxied: 'junk', forwardedFor: ['203.0.113.9'] })).toBe('203.0.113.9');
    expect(address({ proxied: '::ffff:cb00:7109' })).toBe('203.0.113.9');
  });

  test('the proxy is known by its IPv4 address also on an IPv6 socket, in each way to write it', () => {
    for (const peer of [
      '::ffff:10.0.0.1',
      '::FFFF:10.0.0.1',
      '::ffff:a00:1',
      '0000:0000:0000:0000:0000:ffff:0a00:0001',
    ]) {
      expect(address({ address: peer, forwardedFor: ['203.0.113.9'] }), peer).toBe('203.0.113.9');
    }
  });
});

test('an IPv6 address that only ends like a proxy of ours is not trusted', () => {
  // IPv4-compatible and IPv4-translated addresses (RFC 4291, RFC 2765) and NAT64 (RFC 6052): anybody may come from those.
  for (const peer of ['::10.0.0.1', '::ffff:0:10.0.0.1', '64:ff9b::10.0.0.1', '::fffe:10.0.0.1', '1::ffff:10.0.0.1']) {
    expect(address({ address: peer, forwardedFor: ['203.0.113.9'] }), peer).not.toBe('203.0.113.9');
    expect(address({ forwardedFor: ['203.0.113.9', peer] }), peer).not.toBe('203.0.113.9');
  }
});

test('one client has one address, however it is written', () => {
  const forms = ['2001:db8::1', '2001:DB8:0:0:0:0:0:1', '2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8:0::0:1'];
  expect(new Set(forms.map((form) => address({ address: form })))).toEqual(new Set(['2001:db8::1']));
  expect(new Set(forms.map((form) => address({ forwardedFor: [form] })))).toEqual(new Set(['2001:db8::1']));
  expect(address({ address: '::ffff:203.0.113.9' })).toBe('203.0.113.9');
});

test.each(['fe80::1%eth0', 'fe80::1%25eth0', '::1%lo', '::ffff:10.0.0.2%1'])(
  'an address with a zone does not make it throw: %s',
  (zoned) => {
    expect(() => address({ forwardedFor: [zoned] })).not.toThrow();
    expect(() => address({ proxied: zoned })).not.toThrow();
    expect(() => address({ address: zoned })).not.toThrow();
  },
);

test('no header makes it throw (random ones)', () => {
  const random = new Random(50);
  const parts = [
    '10.0.0.2',
    '203.0.113.9',
    'fd00::1',
    '::ffff:',
    '::',
    '%',
    ',',
    ' ',
    '/',
    '\u0000',
    'é',
    '1',
    ':',
    '.',
    '[',
    ']',
  ];
  for (let round = 0; round < 5_000; round++) {
    const forwardedFor = Array.from({ length: random.integer(0, 3) }, () => random.text(parts, random.integer(0, 4)));
    expect(typeof address({ forwardedFor, proxied: random.text(parts, random.integer(0, 2)) })).toBe('string');
  }
});
