/**
 * gateway/http/origin.ts: an entry of GATEWAY_ALLOWED_ORIGINS matches what browsers send, however it is written, or is a mistake
 * at start; a wildcard stands for the hosts below one, and for no other.
 */
import { describe, expect, test } from 'vitest';
import { isAllowedOrigin, readOrigin } from '../../../gateway/http/origin.ts';
import { mistakesOf, read } from '../config/configuration.ts';

describe('an entry', () => {
  test.each([
    ['https://app.example', 'https://app.example'],
    ['https://app.example/', 'https://app.example'],
    ['HTTPS://App.Example', 'https://app.example'],
    ['https://app.example:443', 'https://app.example'],
    ['http://app.example:80/', 'http://app.example'],
    ['https://app.example:80', 'https://app.example:80'],
    ['http://localhost:3000', 'http://localhost:3000'],
    ['http://[::1]:3000', 'http://[::1]:3000'],
    ['https://bücher.example', 'https://xn--bcher-kva.example'],
    ['https://*.Example.org:443/', 'https://*.example.org'],
    ['https://*.example.org:8443', 'https://*.example.org:8443'],
    ['http://*.localhost:3000', 'http://*.localhost:3000'],
    ['capacitor://localhost', 'capacitor://localhost'],
    ['chrome-extension://abcdefgh/', 'chrome-extension://abcdefgh'],
    ['file://', 'file://'],
    ['*', '*'],
  ])('%s is taken as browsers write it: %s', (entry, origin) => {
    expect(read({ ALLOWED_ORIGINS: entry }).allowedOrigins).toEqual([origin]);
  });

  test.each<[string, RegExp]>([
    ['app.example', /has no scheme; write https:\/\/app\.example/],
    ['localhost:3000', /has no scheme/],
    ['*.example.org', /has no scheme/],
    ['//app.example', /has no scheme/],
    ['https:///app.example', /is not an origin/],
    ['null', /sandbox/],
    ['https://app.example/chat', /more than an origin; write https:\/\/app\.example/],
    ['https://app.example/?a=b', /more than an origin/],
    ['https://app.example#top', /more than an origin/],
    ['https://user@app.example', /more than an origin/],
    ['wss://app.example', /not the origin of a page; write https:\/\//],
    ['https://', /not an origin/],
    ['https://a.example https://b.example', /not an origin/],
    ['http://localhost:*', /not an origin/],
    ['https://*', /a \* in a wrong place/],
    ['https://*.', /a \* in a wrong place/],
    ['https://app.*', /a \* in a wrong place/],
    ['https://app*.example.org', /a \* in a wrong place/],
    ['https://*.*.example.org', /a \* in a wrong place/],
    ['https://app.*.example.org', /a \* in a wrong place/],
  ])('%s is a mistake that says what to write', (entry, mistake) => {
    expect(mistakesOf({ ALLOWED_ORIGINS: `https://good.example, ${entry}` })).toEqual([
      expect.stringMatching(/^GATEWAY_ALLOWED_ORIGINS holds "/),
    ]);
    expect(() => readOrigin(entry)).toThrow(mistake);
  });

  test('is told beside every other that is a mistake, and a list of none is one too', () => {
    expect(mistakesOf({ ALLOWED_ORIGINS: 'app.example, https://app.example, https://app.example/chat' })).toEqual([
      expect.stringContaining('"app.example"'),
      expect.stringContaining('"https://app.example/chat"'),
    ]);
    expect(mistakesOf({ ALLOWED_ORIGINS: ' , ' })).toEqual([expect.stringContaining('must name an origin')]);
    expect(mistakesOf({ TRUSTED_PROXIES: ',' })).toEqual([expect.stringContaining('must name a proxy')]);
  });
});

describe('a wildcard', () => {
  test.each<[entry: string, origin: string, allowed: boolean]>([
    ['https://*.example.org', 'https://app.example.org', true],
    ['https://*.example.org', 'https://a.b.example.org', true],
    ['https://*.example.org', 'https://xn--bcher-kva.example.org', true],
    ['https://*.example.org:8443', 'https://app.example.org:8443', true],
    ['http://*.localhost:3000', 'http://app.localhost:3000', true],
    ['https://*.example.org', 'https://example.org', false],
    ['https://*.example.org', 'https://.example.org', false],
    ['https://*.example.org', 'https://evilexample.org', false],
    ['https://*.example.org', 'https://app.example.org.evil.example', false],
    ['https://*.example.org', 'https://app.example.org.', false],
    ['https://*.example.org', 'http://app.example.org', false],
    ['https://*.example.org', 'https://app.example.org:8443', false],
    ['https://*.example.org', 'https://evil.example:443.example.org', false],
    ['https://*.example.org', 'https://evil.example/.example.org', false],
    ['https://*.example.org', 'https://evil.example?.example.org', false],
    ['https://*.example.org', 'https://user@app.example.org', false],
    ['https://*.example.org', 'null', false],
    ['https://*.example.org', '', false],
    ['https://*.example.org:8443', 'https://app.example.org', false],
    ['http://*.localhost:3000', 'http://localhost:3000', false],
  ])('%s, asked about %j: %s', (entry, origin, allowed) => {
    expect(isAllowedOrigin(origin, [readOrigin(entry)])).toBe(allowed);
    expect(isAllowedOrigin(origin, ['https://other.example', readOrigin(entry)])).toBe(allowed);
  });
});
