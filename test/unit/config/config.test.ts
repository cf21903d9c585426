/**
 * gateway/config.ts: the defaults of the contract, every mistake told at once, and what shows only between settings. Keys
 * and secrets: config-keys.test.ts. The address of Redis: config-redis.test.ts. Names: setting-names.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { Environment } from '../../../gateway/config.ts';
import { absentFile, file, mistakesOf, read, secret } from './configuration.ts';

describe('defaults', () => {
  test('are those of the contract', () => {
    expect(read()).toMatchObject({
      port: 8080,
      host: '127.0.0.1',
      adminPort: 8081,
      adminHost: '127.0.0.1',
      redis: undefined,
      redisPrefix: 'rc',
      jwtSecret: secret,
      jwtPublicKey: undefined,
      jwtJwksUrl: undefined,
      jwtAlgorithms: undefined,
      jwtIssuer: undefined,
      jwtAudience: undefined,
      authCookie: undefined,
      authQuery: false,
      authTimeoutMs: 10_000,
      anonymous: false,
      allowedOrigins: undefined,
      rules: [],
      pingIntervalMs: 25_000,
      pongTimeoutMs: 10_000,
      clientTimeoutMs: 150_000,
      maxMessageBytes: 65_536,
      maxBufferedBytes: 1_048_576,
      maxBufferedTotalBytes: 268_435_456,
      maxConnectionsPerUser: 20,
      maxConnectionsPerIp: 0,
      maxRoomsPerConnection: 128,
      publishRate: 50,
      publishBurst: 100,
      requestRate: 100,
      dedupeMs: 120_000,
      ack: 'stored',
      drainNoticeMs: 0,
      drainMs: 0,
      logLevel: 'info',
      tlsCertFile: undefined,
      tlsKeyFile: undefined,
      inProduction: false,
      demo: false,
      warnings: [],
    });
  });

  test('hold for a name that is set to nothing', () => {
    expect(read({ PORT: '', REDIS_URL: '', MAX_CONNECTIONS_PER_USER: '' })).toEqual(
      expect.objectContaining({ port: 8080, redis: undefined, maxConnectionsPerUser: 20 }),
    );
  });

  test('of the host: all addresses in production, loopback else', () => {
    expect(read({}, 'production').host).toBe('0.0.0.0');
    expect(read({}, 'production\r').host).toBe('0.0.0.0');
    expect(read({}, 'test').host).toBe('127.0.0.1');
    expect(read({ HOST: '10.0.0.1' }, 'production').host).toBe('10.0.0.1');
  });

  test.each([
    ['[::1]', '::1'],
    [' 10.0.0.1 ', '10.0.0.1'],
    ['gateway-1.internal', 'gateway-1.internal'],
  ])('give way to a host as it is meant: %j', (host, meant) => {
    expect(read({ HOST: host, ADMIN_HOST: host })).toMatchObject({ host: meant, adminHost: meant });
  });

  test('of the drain: time to move in production, none else', () => {
    expect(read({}, 'production')).toMatchObject({ drainNoticeMs: 3_000, drainMs: 15_000 });
    expect(read()).toMatchObject({ drainNoticeMs: 0, drainMs: 0 });
    expect(read({ DRAIN_NOTICE_MS: '10', DRAIN_MS: '20' })).toMatchObject({ drainNoticeMs: 10, drainMs: 20 });
    expect(read({ DRAIN_NOTICE_MS: '0', DRAIN_MS: '0' }, 'production')).toMatchObject({ drainNoticeMs: 0, drainMs: 0 });
  });

  test('of the node id: random and new each time', () => {
    expect(read().nodeId).toMatch(/^[0-9a-f]{12}$/);
    expect(read().nodeId).not.toBe(read().nodeId);
    expect(read({ NODE_ID: 'node-1' }).nodeId).toBe('node-1');
  });

  test('of the connections: below the file descriptor limit, and 0 is off', () => {
    const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } };
    const { maxConnections } = read();
    expect(maxConnections).toBeGreaterThanOrEqual(64);
    const soft = Number(report.userLimits?.open_files?.soft);
    if (soft > 1_000) expect(maxConnections).toBeLessThan(soft);
    expect(read({ MAX_CONNECTIONS: '0' }).maxConnections).toBe(0);
    expect(read({ MAX_CONNECTIONS: '5' }).maxConnections).toBe(5);
  });
});

describe('mistakes', () => {
  test('are told all at once', () => {
    const mistakes = mistakesOf({
      PORT: '70000',
      ADMIN_PORT: '-1',
      ANONYMOUS: 'yes',
      PING_INTERVAL_MS: '1.5',
      MAX_MESSAGE_BYTES: '10',
      LOG_LEVEL: 'loud',
      REDIS_PREFIX: 'a{b}',
      JWT_SECRET: '',
      JWT_JWKS_URL: 'file:///etc/passwd',
      TRUSTED_PROXIES: '10.0.0.0/33, proxy.example, 10.0.0.1',
      ROOMS_FILE: absentFile,
      PROT: '8080',
      TLS_CERT_FILE: absentFile,
    });
    for (const text of [
      'GATEWAY_PORT must be from 0 to 65535, not "70000"',
      'GATEWAY_ADMIN_PORT must be a whole number',
      'GATEWAY_ANONYMOUS must be true or false, not "yes"',
      'GATEWAY_PING_INTERVAL_MS must be a whole number',
      'GATEWAY_MAX_MESSAGE_BYTES must be from 256',
      'GATEWAY_LOG_LEVEL',
      'GATEWAY_REDIS_PREFIX',
      'GATEWAY_JWT_JWKS_URL must be a URL that begins with http:// or https://',
      'GATEWAY_TRUSTED_PROXIES holds "10.0.0.0/33"',
      'GATEWAY_TRUSTED_PROXIES holds "proxy.example"',
      'GATEWAY_ROOMS_FILE names a file that cannot be read',
      'GATEWAY_PROT is not a setting',
      'GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together',
      'GATEWAY_TLS_CERT_FILE names a file that cannot be read',
    ]) {
      expect(
        mistakes.filter((mistake) => mistake.startsWith(text)),
        text,
      ).toHaveLength(1);
    }
    expect(mistakes).toHaveLength(14);
  });

  test.each(['0x10', '1e3', '8 080', '+1', '1_000', '٣', '9'.repeat(16), 'Infinity'])('a port %j is none', (port) => {
    expect(mistakesOf({ PORT: port })).toHaveLength(1);
  });

  test('an outgoing buffer below one message is one, unless it is off', () => {
    const message = expect.stringContaining('GATEWAY_MAX_BUFFERED_BYTES must be at least GATEWAY_MAX_MESSAGE_BYTES');
    expect(mistakesOf({ MAX_BUFFERED_BYTES: '65535' })).toEqual([message]);
    expect(mistakesOf({ MAX_BUFFERED_BYTES: '65536' })).toEqual([]);
    expect(mistakesOf({ MAX_BUFFERED_BYTES: '0' })).toEqual([]);
    expect(mistakesOf({ MAX_MESSAGE_BYTES: '1048577' })).toEqual([message]);
  });

  test.each(['0.0.0.0:80', 'http://h', '*', '[h]', '[::1', 'a b'])(
    'a host %j is none, nor one of the admin port',
    (host) => {
      expect(mistakesOf({ HOST: host, ADMIN_HOST: host })).toEqual([
        expect.stringMatching(/^GATEWAY_HOST must be an address or a host name of this machine, without a port/),
        expect.stringMatching(/^GATEWAY_ADMIN_HOST must be an address/),
      ]);
    },
  );

  test('one port for both is one, where the hosts overlap', () => {
    const both = (host: string, adminHost: string) =>
      mistakesOf({ PORT: '9000', ADMIN_PORT: '9000', HOST: host, ADMIN_HOST: adminHost });
    const mistake = ['GATEWAY_PORT and GATEWAY_ADMIN_PORT are both 9000; choose two.'];
    expect(both('127.0.0.1', '127.0.0.1')).toEqual(mistake);
    expect(both('0.0.0.0', '127.0.0.1')).toEqual(mistake);
    expect(both('10.0.0.1', '::')).toEqual(mistake);
    expect(both('10.0.0.1', '127.0.0.1')).toEqual([]);
    expect(mistakesOf({ PORT: '8081' }, 'production')).toEqual([expect.stringContaining('are both 8081')]);
    expect(mistakesOf({ PORT: '0', ADMIN_PORT: '0' })).toEqual([]);
  });

  test('a certificate without its key, with files that are not there, or with no PEM in them is one', () => {
    const [absent, junk] = [absentFile, file('no certificate')];
    const names = (settings: Environment) => mistakesOf(settings).map((mistake) => mistake.replace(/:.*/s, ''));
    expect(names({ TLS_KEY_FILE: junk })).toEqual([
      'GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together; set both or none.',
    ]);
    expect(names({ TLS_KEY_FILE: absent })).toEqual([
      'GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together; set both or none.',
      'GATEWAY_TLS_KEY_FILE names a file that cannot be read',
    ]);
    expect(names({ TLS_CERT_FILE: absent, TLS_KEY_FILE: absent })).toEqual([
      'GATEWAY_TLS_CERT_FILE names a file that cannot be read',
      'GATEWAY_TLS_KEY_FILE names a file that cannot be read',
    ]);
    expect(names({ TLS_CERT_FILE: junk, TLS_KEY_FILE: junk })).toEqual([
      'GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE cannot be used',
    ]);
  });

  test('any origin together with a cookie is one: a web page could act for its visitor', () => {
    const message = expect.stringContaining('GATEWAY_ALLOWED_ORIGINS cannot be *');
    expect(mistakesOf({ ALLOWED_ORIGINS: 'https://a.example, *', AUTH_COOKIE: 'session' })).toEqual([message]);
    expect(mistakesOf({ ALLOWED_ORIGINS: '*' })).toEqual([]);
    expect(read({ ALLOWED_ORIGINS: 'https://a.example, https://b.example:8443', AUTH_COOKIE: 's' })).toMatchObject({
      allowedOrigins: ['https://a.example', 'https://b.example:8443'],
    });
  });

  test('what needs a backend to ask is one without GATEWAY_AUTH_URL: a rule, the secret, asking for connections', () => {
    const rooms = (...rules: object[]) => ({ ROOMS_FILE: file(JSON.stringify({ rooms: rules })) });
    const asks = rooms({ match: 'a:*', publish: 'callback' }, { match: 'b' }, { match: 'c', subscribe: 'callback' });
    const url = { AUTH_URL: 'http://127.0.0.1:8090/may' };
    expect(mistakesOf(asks)).toEqual([
      `GATEWAY_ROOMS_FILE ${asks.ROOMS_FILE} says "callback" for "a:*", "c", and GATEWAY_AUTH_URL is not set: name the place to ask.`,
    ]);
    expect(read({ ...asks, ...url }).rules.map(({ subscribe }) => subscribe)).toEqual(['token', 'token', 'callback']);
    const signing = { AUTH_SECRET: `whsec_${Buffer.alloc(32).toString('base64')}` };
    expect(mistakesOf(signing)).toEqual([expect.stringMatching(/AUTH_SECRET has no effect without GATEWAY_AUTH_URL/)]);
    expect(mistakesOf({ AUTH_CONNECT: 'true' })).toEqual([
      expect.stringMatching(/AUTH_CONNECT=true needs GATEWAY_AUTH/),
    ]);
    expect(mistakesOf({ ...signing, ...url, AUTH_CONNECT: 'true' })).toEqual([]);
    // The URL standard takes these for http://h/may.
    for (const AUTH_URL of ['http:/h/may', 'http:h/may', 'http:///h/may', 'http:\\\\h\\may', 'http://h/m ay']) {
      expect(mistakesOf({ AUTH_URL }), AUTH_URL).toEqual([
        'GATEWAY_AUTH_URL must be a URL that begins with http:// or https://, and a host.',
      ]);
    }
    // A URL that is a mistake is one mistake, not several.
    expect(mistakesOf({ ...asks, ...signing, AUTH_CONNECT: 'true', AUTH_URL: 'ftp://h' })).toEqual([
      'GATEWAY_AUTH_URL must be a URL that begins with http:// or https://, and a host.',
    ]);
    expect(mistakesOf({ ...url, AUTH_SECRET: secret })).toEqual([expect.not.stringContaining(secret)]);
  });

  test('calls need a place to go to, and clients that can make them', () => {
    const signing = { RPC_SECRET: `whsec_${Buffer.alloc(32).toString('base64')}` };
    const url = { RPC_URL: 'http://127.0.0.1:8090/rpc' };
    expect(mistakesOf(signing)).toEqual([expect.stringMatching(/RPC_SECRET has no effect without GATEWAY_RPC_URL/)]);
    expect(mistakesOf(url)).toEqual([expect.stringMatching(/RPC_URL has no effect without GATEWAY_CENTRIFUGO=true/)]);
    expect(mistakesOf({ ...signing, ...url, CENTRIFUGO: 'true' })).toEqual([]);
  });

  test('of a rooms file stand with the name of the file and the place', () => {
    const rooms = (value: unknown) => ({ ROOMS_FILE: file(typeof value === 'string' ? value : JSON.stringify(value)) });
    expect(read(rooms({ rooms: [{ match: 'a:*', subscribe: 'user' }] })).rules).toHaveLength(1);
    const settings = rooms({
      rooms: [
        { match: 'a:*', history: { size: 0 } },
        { match: 'b', slow: 'last' },
      ],
    });
    expect(mistakesOf(settings)).toEqual([
      expect.stringContaining(`${settings.ROOMS_FILE}: rooms.0.history.size: must be a whole number`),
      expect.stringContaining('rooms.1.slow'),
    ]);
    expect(mistakesOf(rooms('{"rooms": ['))).toEqual([expect.stringContaining('is not JSON')]);
  });
});

describe('values', () => {
  const issuer = 'https://issuer.example/';

  test.each(['\n', '\r\n', '\r', ' ', '\t', '\ufeff'])('are taken without %j before and behind them', (blank) => {
    const around = (value: string) => `${blank}${value}${blank}`;
    const settings = {
      JWT_ISSUER: issuer,
      JWT_AUDIENCE: 'chat',
      PORT: '80',
      REDIS_URL: 'redis://h',
      HOST: '::',
      NODE_ID: 'n',
    };
    const blanks = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, around(value)]));
    const config = read({ ...blanks, JWT_SECRET: around(secret) });
    expect({ ...config, warnings: [] }).toEqual(read(settings));
  });

  test('that are a secret taken so are warned about: whoever signs may have read the same variable', () => {
    expect(read({ JWT_SECRET: `${secret}\n` }).warnings).toEqual([
      expect.stringMatching(/^GATEWAY_JWT_SECRET is taken without the white space around it/),
    ]);
    expect(read({ JWT_SECRET: secret, JWT_ISSUER: `${issuer}\n` }).warnings).toEqual([]);
    expect(read({ JWT_SECRET: '', JWT_SECRET_FILE: file(`${secret}\n`) }).warnings).toEqual([]);
  });

  test.each(['"', "'"])('in quotes (%s) are a mistake, in a file too', (quote) => {
    const quoted = (value: string) => `${quote}${value}${quote}`;
    const mistakes = mistakesOf({
      JWT_SECRET: quoted(secret),
      JWT_ISSUER: `${quoted(issuer)}\n`,
      JWT_AUDIENCE: quoted('chat'),
      REDIS_URL_FILE: file(quoted('redis://h')),
      ALLOWED_ORIGINS: quoted('https://app.example'),
    });
    for (const name of ['JWT_SECRET', 'JWT_ISSUER', 'JWT_AUDIENCE', 'REDIS_URL', 'ALLOWED_ORIGINS']) {
      expect(mistakes).toContainEqual(expect.stringMatching(`^GATEWAY_${name} is in quotes`));
    }
    expect(mistakes).toHaveLength(5);
    expect(mistakes.join()).not.toContain('never-print-this');
  });

  test('of nothing but white space count as not set, but a file without a secret is a mistake', () => {
    expect(read({ JWT_ISSUER: ' \n', PORT: ' ' })).toMatchObject({ jwtIssuer: undefined, port: 8080 });
    expect(mistakesOf({ JWT_SECRET: ' ' }, 'production')).toEqual([expect.stringContaining('tokens need a key')]);
    const empty = file('\n');
    expect(mistakesOf({ JWT_SECRET: '', JWT_SECRET_FILE: empty, REDIS_URL_FILE: empty }, 'production')).toEqual([
      `GATEWAY_REDIS_URL_FILE names an empty file: ${empty}.`,
      `GATEWAY_JWT_SECRET_FILE names an empty file: ${empty}.`,
    ]);
  });
});

test('GATEWAY_ACK is stored or, with a Redis that could have a replica, replicated', () => {
  expect(read({ ACK: 'stored' })).toMatchObject({ ack: 'stored', warnings: [] });
  expect(read({ ACK: 'replicated', REDIS_URL: 'redis://h' })).toMatchObject({ ack: 'replicated', warnings: [] });
  expect(mistakesOf({ ACK: 'replicated' })).toEqual([expect.stringContaining('needs GATEWAY_REDIS_URL')]);
  expect(mistakesOf({ ACK: 'maybe' })).toEqual([expect.stringContaining('GATEWAY_ACK must be stored or replicated')]);
});

test.each(['10.0.0.0/8/9', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.1:80', '[::1]', '10.0.0', 'fd00::/129'])(
  'a trusted proxy that is neither an address nor a range is a mistake: %s',
  (entry) => {
    expect(mistakesOf({ TRUSTED_PROXIES: `10.0.0.1, ${entry}` })).toEqual([
      expect.stringContaining(`holds "${entry}"`),
    ]);
  },
);

test('trusted proxies are addresses and ranges of both families', () => {
  const { trustedProxies } = read({ TRUSTED_PROXIES: '10.0.0.0/8, 192.168.1.7,fd00::/8 , ::1' });
  const trusted = (address: string, family: 'ipv4' | 'ipv6') => trustedProxies.check(address, family);
  expect([trusted('10.255.0.1', 'ipv4'), trusted('192.168.1.7', 'ipv4'), trusted('192.168.1.8', 'ipv4')]).toEqual([
    true,
    true,
    false,
  ]);
  expect([trusted('fd12::1', 'ipv6'), trusted('::1', 'ipv6'), trusted('::2', 'ipv6')]).toEqual([true, true, false]);
});
