/**
 * The commands of `roomcast` that read a node's settings, as processes: serve, token, check-config, healthcheck. What they
 * print, what they say to mistakes, and their exit codes.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { folder } from '../integration/files.ts';
import { outcomeOf, runCommand } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connect, connectWelcomed } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';

/** The path of a new file with this content. */
function written(content: string): string {
  const path = join(folder(), 'secret');
  writeFileSync(path, content);
  return path;
}

const secret = { GATEWAY_JWT_SECRET: testSecret };
const alice = ['token', '--user', 'alice'];

test('serve starts a node with the memory setting of `npm start`, and SIGTERM ends it with 0', async () => {
  const node = runCommand(['serve'], { ...secret, GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' });
  const line = await until(() => /.*"msg":"listening".*/.exec(node.output())?.[0] ?? '', 10_000, 'it listens');
  await connectWelcomed(`ws://127.0.0.1:${JSON.parse(line).port}/ws`, (await outcomeOf(alice, secret)).stdout.trim());
  expect(readFileSync(`/proc/${node.pid}/cmdline`, 'utf8').split('\0')).toContain('--max-semi-space-size=8');
  expect(readFileSync(`/proc/${node.pid}/environ`, 'utf8').split('\0')).toContain('MALLOC_ARENA_MAX=2');
  node.kill('SIGTERM');
  expect(await node.ended()).toBe(0);
});

test('serve ends with 1 and the mistakes when the settings have some', async () => {
  const { code, stderr } = await outcomeOf(['serve'], { ...secret, GATEWAY_PORT: 'http' });
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('GATEWAY_PORT must be') });
});

test('a token is welcomed by a node with the same settings, issuer and audience included, and grants what it says', async () => {
  const file = written(testSecret);
  const settings = { JWT_ISSUER: 'us', JWT_AUDIENCE: 'one,two' };
  const node = await startNode(settings);
  const rooms = ['--rooms', '{"orders:*":["subscribe","publish"]}', '--info', '{"name":"Al"}', '--ttl', '60'];
  const { code, stdout, stderr } = await outcomeOf([...alice, ...rooms], {
    GATEWAY_JWT_SECRET_FILE: file,
    GATEWAY_JWT_ISSUER: settings.JWT_ISSUER,
    GATEWAY_JWT_AUDIENCE: settings.JWT_AUDIENCE,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const client = await connect(node.url, { token: stdout.trim() });
  const { user, expiresAt, now } = await client.next('welcome');
  expect(user).toBe('alice');
  expect(((expiresAt ?? 0) - now) / 1000).toBeGreaterThan(50);
  expect(((expiresAt ?? 0) - now) / 1000).toBeLessThanOrEqual(61);
  await client.subscribe('orders:1');
  await expect(client.subscribe('elsewhere')).rejects.toThrow('forbidden');
  expect(JSON.parse(Buffer.from(stdout.split('.')[1] ?? '', 'base64url').toString()).info).toEqual({ name: 'Al' });
});

test.each([
  [['token'], /required option '--user <user>'/],
  [['token', '--user', ''], /refuse this token: sub must be 1 to 200 bytes/],
  [['token', '--user', 'x'.repeat(201)], /refuse this token: sub must be 1 to 200 bytes/],
  [[...alice, '--rooms', 'orders'], /--rooms is not JSON: .*single quotes/],
  [[...alice, '--rooms', '{"a":["shout"]}'], /refuse this token: the rooms claim is not valid: a/],
  [[...alice, '--info', JSON.stringify('x'.repeat(600))], /info is larger than 512 bytes/],
  [[...alice, '--info', '{'], /--info is not JSON/],
  [[...alice, '--ttl', '0'], /--ttl <seconds>' argument '0' is invalid.*from 1/],
  [[...alice, '--ttl', '1.5'], /whole number/],
  [[...alice, '--ttl', '300000000000'], /refuse this token: exp is beyond/],
  [[...alice, 'bob'], /too many arguments/],
  [['check-config', '--yaml'], /unknown option '--yaml'/],
  [['healthcheck', 'now'], /too many arguments/],
  [['serve', '--port', '1'], /unknown option '--port'/],
])('%j is answered by one sentence and exit code 2', async (args, sentence) => {
  const { code, stdout, stderr } = await outcomeOf(args, secret);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('without the secret of the nodes, token says which setting it needs', async () => {
  for (const environment of [{}, { GATEWAY_JWT_JWKS_URL: 'https://issuer.example/keys' }]) {
    const { code, stdout, stderr } = await outcomeOf(alice, environment as Record<string, string>);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE) must be set');
  }
});

test('check-config prints every setting with its value and source, and no secret', async () => {
  const file = written('of-redis-and-secret');
  const environment = {
    ...secret,
    NODE_ENV: 'production',
    GATEWAY_REDIS_URL: 'redis://:hidden@127.0.0.1',
    GATEWAY_REDIS_PASSWORD_FILE: file,
    GATEWAY_PORT: ' 9000 ',
    // A service link of Kubernetes, which counts as not set.
    GATEWAY_ADMIN_PORT: 'tcp://10.0.0.7:8081',
  };
  const both = await outcomeOf(['check-config'], environment);
  expect(both).toMatchObject({ code: 1, stderr: expect.stringContaining('GATEWAY_REDIS_URL holds a password') });
  const { code, stdout, stderr } = await outcomeOf(['check-config'], {
    ...environment,
    GATEWAY_REDIS_URL: 'redis://127.0.0.1',
  });
  expect(code).toBe(0);
  expect(stderr).toMatch(/^warning: GATEWAY_ADMIN_PORT: ignored/);
  const rows = stdout.trim().split('\n');
  const row = (name: string) => rows.find((each) => each.startsWith(`GATEWAY_${name} `))?.split(/\s{2,}/);
  expect(row('PORT')).toEqual(['GATEWAY_PORT', '9000', 'environment']);
  expect(row('ADMIN_PORT')).toEqual(['GATEWAY_ADMIN_PORT', '8081', 'default']);
  expect(row('HOST')).toEqual(['GATEWAY_HOST', '0.0.0.0', 'default']);
  expect(row('DRAIN_MS')).toEqual(['GATEWAY_DRAIN_MS', '15000', 'default']);
  expect(row('MAX_CONNECTIONS')?.[1]).toMatch(/^\d+$/);
  expect(row('ROOMS_FILE')).toEqual(['GATEWAY_ROOMS_FILE', '-', 'default']);
  expect(row('JWT_SECRET')).toEqual(['GATEWAY_JWT_SECRET', '***', 'environment']);
  expect(row('REDIS_URL')).toEqual(['GATEWAY_REDIS_URL', '***', 'environment']);
  expect(row('REDIS_PASSWORD')).toEqual(['GATEWAY_REDIS_PASSWORD', '***', `file ${file}`]);
  for (const printed of [both.stdout + both.stderr, stdout + stderr]) {
    for (const hidden of [testSecret, 'hidden', 'of-redis-and-secret']) expect(printed).not.toContain(hidden);
  }
});

test('check-config lists every mistake, with --json as JSON, and exits with 1', async () => {
  const environment = { GATEWAY_PORT: 'http', GATEWAY_MAX_MESAGE_BYTES: '1', GATEWAY_JWT_SECRET: 'short' };
  const text = await outcomeOf(['check-config'], environment);
  const asJson = await outcomeOf(['check-config', '--json'], environment);
  expect([text.code, asJson.code]).toEqual([1, 1]);
  const { mistakes, settings } = JSON.parse(asJson.stdout);
  expect(mistakes).toHaveLength(3);
  for (const mistake of mistakes) expect(text.stderr).toContain(mistake);
  expect(settings).toContainEqual({ name: 'GATEWAY_PORT', value: 'http', source: 'environment' });
  expect(settings).toContainEqual({ name: 'GATEWAY_JWT_SECRET', value: '***', source: 'environment' });
  expect(settings).toContainEqual({ name: 'GATEWAY_NODE_ID', value: null, source: 'default' });
});

test('healthcheck asks the admin port of these settings, whatever else is wrong with them', async () => {
  const port = await freePort();
  await spawnNode({ ADMIN_PORT: port, ADMIN_HOST: '0.0.0.0' });
  const settings = { GATEWAY_ADMIN_PORT: `${port}`, GATEWAY_ADMIN_HOST: '0.0.0.0', GATEWAY_ROOMS_FILE: '/absent' };
  expect(await outcomeOf(['healthcheck'], settings)).toEqual({
    code: 0,
    stdout: `http://127.0.0.1:${port}/healthz answers\n`,
    stderr: '',
  });
});

test('healthcheck exits with 1 and says why: nobody there, another program, a mistake, a free port', async () => {
  const other = createServer((_, response) => response.writeHead(500).end()).listen(0, '127.0.0.1');
  onCleanup(() => other.close());
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  for (const [adminPort, sentence] of [
    [await freePort(), /does not answer: connect ECONNREFUSED.*not running/],
    [port, /answered HTTP 500/],
    ['http', /GATEWAY_ADMIN_PORT must be a whole number/],
    [0, /GATEWAY_ADMIN_PORT is 0/],
  ] as const) {
    const { code, stdout, stderr } = await outcomeOf(['healthcheck'], { GATEWAY_ADMIN_PORT: `${adminPort}` });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(sentence);
  }
});
