/**
 * gateway/redis/connection/address.ts and gateway/config.ts: the URL of Redis means what it seems to, or is a mistake that says what to
 * write instead and does not print it. User and password may be given beside it.
 */
import { expect, test } from 'vitest';
import { addressOf } from '../../../gateway/redis/connection/address.ts';
import { absentFile, file, mistakesOf, read } from './configuration.ts';

const redisOf = (url: string, beside = {}) => read({ REDIS_URL: url, ...beside }).redis;

const at = (host: string, port = 6379) => ({ kind: 'single', server: { host, port } });

test.each([
  ['redis://h', at('h'), undefined, undefined, 0],
  ['redis://h:7000/5', at('h', 7000), undefined, undefined, 5],
  ['REDIS://h/', at('h'), undefined, undefined, 0],
  [' redis://h/1\n', at('h'), undefined, undefined, 1],
  ['redis://[fd00::1]:7000', at('fd00::1', 7000), undefined, undefined, 0],
  ['redis://redis_1.internal-a:6380', at('redis_1.internal-a', 6380), undefined, undefined, 0],
  ['redis://ann:pass@h', at('h'), 'ann', 'pass', 0],
  ['redis://:pass@h/2', at('h'), undefined, 'pass', 2],
  ['redis://:p@ss@h', at('h'), undefined, 'p@ss', 0],
  ['redis://:p,a:1@h', at('h'), undefined, 'p,a:1', 0],
  ['redis://a%2Fb:%2F%3F%23%25%20%C3%A9@h', at('h'), 'a/b', '/?#% é', 0],
])('%j is the address that it seems to be', (url, servers, username, password, database) => {
  expect(redisOf(url)).toEqual({ ...servers, tls: undefined, username, password, database });
  expect(redisOf(url.replace(/redis:/i, 'rediss:'))).toEqual({ ...servers, tls: {}, username, password, database });
});

test.each([
  ['redis+sentinel://h/main', [{ host: 'h', port: 26379 }], 'main', undefined, undefined, 0],
  ['Redis+Sentinel://h:1/main/', [{ host: 'h', port: 1 }], 'main', undefined, undefined, 0],
  ['redis+sentinel://h/my-Master_1.eu/7', [{ host: 'h', port: 26379 }], 'my-Master_1.eu', undefined, undefined, 7],
  [
    'redis+sentinel://ann:p%2Ca%2Fb@h1:7000,h2,[fd00::1]:7002,[fd00::2]/main',
    [
      { host: 'h1', port: 7000 },
      { host: 'h2', port: 26379 },
      { host: 'fd00::1', port: 7002 },
      { host: 'fd00::2', port: 26379 },
    ],
    'main',
    'ann',
    'p,a/b',
    0,
  ],
])('%j names sentinels and their master', (url, sentinels, master, username, password, database) => {
  expect(addressOf(url)).toEqual({
    kind: 'sentinel',
    sentinels,
    master,
    tls: undefined,
    username,
    password,
    database,
  });
  expect(addressOf(url.replace(/redis\+/i, 'rediss+'))).toMatchObject({ kind: 'sentinel', sentinels, tls: {} });
});

test.each([
  ['redis+cluster://h', [{ host: 'h', port: 6379 }], undefined],
  [
    'redis+cluster://:pass@h1:7000,[fd00::1]:7001,h3/',
    [
      { host: 'h1', port: 7000 },
      { host: 'fd00::1', port: 7001 },
      { host: 'h3', port: 6379 },
    ],
    'pass',
  ],
  [
    'redis+cluster://h1,h2/0',
    [
      { host: 'h1', port: 6379 },
      { host: 'h2', port: 6379 },
    ],
    undefined,
  ],
])('%j names nodes of a Cluster', (url, nodes, password) => {
  const known = { kind: 'cluster', nodes, username: undefined, password, database: 0 };
  expect(addressOf(url)).toEqual({ ...known, tls: undefined });
  expect(addressOf(url.replace('redis+', 'rediss+'))).toEqual({ ...known, tls: {} });
});

test('a password takes every character as it is but those that end it', () => {
  const characters = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join('');
  const password = characters.replace(/[/?#%]/g, '');
  expect(redisOf(`redis://:${password}@h`)).toMatchObject({ password, server: { host: 'h' } });
  expect(redisOf(`redis://:${encodeURIComponent(characters)}@h`)).toMatchObject({ password: characters });
});

test.each([
  ['/', '%2F'],
  ['?', '%3F'],
  ['#', '%23'],
  ['%', '%25'],
])(
  'a password with %s is a mistake that says how to write it, wherever the URL would end by it',
  (character, written) => {
    const passwords = [
      `secret${character}word`,
      `12${character}3`,
      `${character}`,
      `a${character}b@c`,
      `1${character}${character}z`,
      `12${character}db=3`,
    ];
    for (const password of passwords) {
      const mistakes = mistakesOf({ REDIS_URL: `redis://svc:${password}@h:6379/0`, PORT: 'none' });
      expect(mistakes, password).toHaveLength(2);
      expect(mistakes[1]).toBe(
        `GATEWAY_REDIS_URL holds a user or password with "${character}" in it, which is written ${written} there; ` +
          'or give the password by GATEWAY_REDIS_PASSWORD, as it is.',
      );
      expect(mistakesOf({ REDIS_URL: `rediss://svc:${password}@h?ca=/etc/ca.pem` })).toEqual([mistakes[1]]);
    }
  },
);

test.each([
  ['h:6379', /must be a URL that begins with redis:\/\/ or rediss:\/\//],
  ['redis.example', /must be a URL that begins with redis:/],
  ['ann:hidden@h:6379', /must be a URL that begins with redis:/],
  ['redis:h:6379', /must be a URL that begins with redis:/],
  ['//h:6379', /must be a URL that begins with redis:/],
  ['http://h:6379', /must be a URL that begins with redis:/],
  ['"redis://h:6379"', /is in quotes/],
  ["'redis://:hidden@h'", /is in quotes/],
  ['sentinel://:hidden@h', /a scheme that is not known; it looks like redis\+sentinel:\/\//],
  ['redis-sentinel://h1,h2', /a scheme that is not known; it looks like redis\+sentinel:\/\//],
  ['redis-cluster://h1,h2', /a scheme that is not known; it looks like redis\+cluster:\/\//],
  ['redisss://h', /must be a URL that begins with redis:/],
  ['redis+sentinel://h', /names no master, as it is called in/],
  ['redis+sentinel://h/', /names no master/],
  ['redis+sentinel://h//0', /names no master/],
  ['redis+sentinel://h/my%20master', /names no master/],
  ['redis+sentinel://h/main/first', /a database number, as in redis\+sentinel:/],
  ['redis+sentinel://h/main/0/1', /a database number/],
  ['redis+sentinel://h1,,h2/main', /names no host/],
  ['redis+sentinel://h1:26379,h2:0/main', /port from 1 to 65535/],
  ['redis+sentinel://h1,h2:99999/main', /no port from 1 to 65535/],
  ['redis+sentinel://h1, h2/main', /names no host/],
  ['redis+sentinel://h1,:hidden@h2/main', /user and password once, before all hosts/],
  ['redis+sentinel://ann:hidden@h1,ann:hidden@h2/main', /user and password once, before all hosts/],
  ['redis+cluster://:hidden@hidden@h1', /user and password once, .* "@" %40/],
  ['redis+sentinel://h/main?db=5', /other than ca/],
  ['redis+sentinel://h/main#5', /holds a "#"/],
  [`redis+sentinel://h/main?ca=${absentFile}`, /needs TLS: rediss:\/\//],
  ['redis+cluster://h/1', /a Cluster has neither a name nor databases/],
  ['redis+cluster://h/main', /a Cluster has neither a name nor databases/],
  [`redis+cluster://${'h,'.repeat(64)}h`, /more than 64 hosts/],
  ['redis://', /names no host/],
  ['redis:///0', /names no host/],
  ['redis://:hidden@', /names no host/],
  ['redis://h1:7000,h2:7001', /several hosts, .* redis\+sentinel:.* redis\+cluster:/],
  ['redis://h1,h2', /several hosts/],
  ['redis://h i', /names no host/],
  ['redis://h%20i', /names no host that is a name/],
  ['redis://h:65536', /no port from 1 to 65535/],
  ['redis://h:0', /port from 1 to 65535/],
  ['redis://h/first', /must end in a database number/],
  ['redis://h/-1', /must end in a database number/],
  ['redis://h/0/1', /must end in a database number/],
  ['redis://h#0', /holds a "#"/],
  ['redis://h?db=5', /other than ca; the database is its path, as in redis:\/\/host:6379\/5/],
  ['redis://h/5?DB=5', /other than ca/],
  ['redis://h?hidden', /other than ca/],
  [`rediss://h?ca=${absentFile}&ca=${absentFile}`, /other than ca/],
  [`rediss://h?ca=${absentFile}`, /in \?ca= names a file that cannot be read: ENOENT/],
  [`redis://h?ca=${absentFile}`, /needs TLS: rediss:\/\//],
  ['redis://hidden@h', /a user .* no password; a password alone is written redis:\/\/:password@host/],
  ['redis://hidden:@h', /a user .* no password/],
])('%s is a mistake that does not print it', (url, mistake) => {
  const mistakes = mistakesOf({ REDIS_URL: url });
  expect(mistakes).toEqual([expect.stringMatching(mistake)]);
  expect(mistakes[0]).toContain('GATEWAY_REDIS_URL');
  expect(mistakes[0]).not.toContain('hidden');
});

test('a CA file that holds no certificate is a mistake: TLS would take it, and trust nobody', () => {
  for (const content of ['', 'junk', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
    const mistakes = mistakesOf({ REDIS_URL: `rediss://h?ca=${file(content)}` });
    expect(mistakes).toEqual([expect.stringContaining('holds no certificate in PEM')]);
  }
});

test('user and password may stand beside the URL, as they are, also in a file', () => {
  const password = '/?#%41@:"';
  expect(redisOf('redis://h', { REDIS_PASSWORD: password })).toMatchObject({ username: undefined, password });
  expect(redisOf('redis://h', { REDIS_USERNAME: 'ann', REDIS_PASSWORD: `${password}\n` })).toMatchObject({
    username: 'ann',
    password,
  });
  expect(redisOf('redis://ann@h', { REDIS_PASSWORD_FILE: file(`${password}\n`) })).toMatchObject({
    username: 'ann',
    password,
  });
});

test('a user or password that is given twice, alone or without a URL is a mistake', () => {
  const password = 'never-print-this';
  const beside = (settings: Record<string, string>) => {
    const mistakes = mistakesOf(settings);
    expect(mistakes.join()).not.toContain(password);
    return mistakes;
  };
  expect(beside({ REDIS_URL: `redis://ann:${password}@h`, REDIS_USERNAME: 'ann', REDIS_PASSWORD: password })).toEqual([
    'GATEWAY_REDIS_URL holds a username, and GATEWAY_REDIS_USERNAME is set too; keep one.',
    'GATEWAY_REDIS_URL holds a password, and GATEWAY_REDIS_PASSWORD is set too; keep one.',
  ]);
  expect(beside({ REDIS_USERNAME: 'ann', REDIS_PASSWORD_FILE: file(password) })).toEqual([
    'GATEWAY_REDIS_USERNAME has no effect without GATEWAY_REDIS_URL; set both or none.',
    'GATEWAY_REDIS_PASSWORD has no effect without GATEWAY_REDIS_URL; set both or none.',
  ]);
  expect(beside({ REDIS_URL: 'redis://h', REDIS_USERNAME: 'ann' })).toEqual([expect.stringContaining('no password')]);
  expect(beside({ REDIS_URL: 'redis://ann@h', REDIS_PASSWORD: ' ' })).toEqual([expect.stringContaining('no password')]);
  expect(beside({ REDIS_URL: 'redis://ann@h', REDIS_PASSWORD_FILE: absentFile })).toHaveLength(1);
  expect(beside({ REDIS_URL_FILE: absentFile, REDIS_PASSWORD: password, ACK: 'replicated' })).toHaveLength(1);
});

test('sentinels have a user and a password of their own, or none', () => {
  const url = 'redis+sentinel://ann:of-redis@h/main';
  expect(redisOf(url)).toMatchObject({ username: 'ann', password: 'of-redis' });
  expect(redisOf(url)).not.toHaveProperty('sentinelPassword', expect.anything());
  const beside = { REDIS_SENTINEL_USERNAME: 'sid', REDIS_SENTINEL_PASSWORD: 'of-sentinels' };
  expect(redisOf(url, beside)).toMatchObject({
    username: 'ann',
    password: 'of-redis',
    sentinelUsername: 'sid',
    sentinelPassword: 'of-sentinels',
  });
  expect(mistakesOf({ REDIS_URL: url, REDIS_SENTINEL_USERNAME: 'sid' })).toEqual([
    'GATEWAY_REDIS_SENTINEL_USERNAME is set, but GATEWAY_REDIS_SENTINEL_PASSWORD is not; set both or none.',
  ]);
  expect(mistakesOf({ REDIS_URL: 'redis://h', REDIS_SENTINEL_PASSWORD: 'of-sentinels' })).toEqual([
    'GATEWAY_REDIS_SENTINEL_PASSWORD has no effect unless GATEWAY_REDIS_URL is redis+sentinel://; remove it.',
  ]);
  expect(mistakesOf({ REDIS_SENTINEL_PASSWORD: 'of-sentinels' })).toEqual([
    'GATEWAY_REDIS_SENTINEL_PASSWORD has no effect without GATEWAY_REDIS_URL; set both or none.',
  ]);
});
