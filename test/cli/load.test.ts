/**
 * `roomcast load` as a process, against real nodes: what it counts, and that it fails where anything is lost.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { folder, selfSigned } from '../integration/files.ts';
import { tokenOf } from '../integration/people.ts';
import { outcomeOf } from '../integration/program.ts';
import { changedBuild } from '../support/changed-build.ts';
import { freePort } from '../support/free-port.ts';
import { spawnNode } from '../support/node.ts';
import { testSecret } from '../support/token.ts';

const rulesFile = join(folder(), 'rooms.json');
const rule = { subscribe: 'user', publish: 'user', presence: true, joinLeave: true };
writeFileSync(
  rulesFile,
  JSON.stringify({
    rooms: [
      { match: 'kept:*', ...rule, history: {} },
      { match: 'plain:*', ...rule },
    ],
  }),
);
const node = await spawnNode({ ROOMS_FILE: rulesFile });

const short = ['--connections', '20', '--rooms', '4', '--rate', '80', '--seconds', '1'];

function load(url: string, options: string[] = [], environment: Record<string, string> = {}) {
  return outcomeOf(['load', ...short, ...options], {
    ROOMCAST_URL: url,
    GATEWAY_JWT_SECRET: testSecret,
    ...environment,
  });
}

test.each(['kept:', 'plain:'])(
  'every message of %s* comes once and in order, beside joins and leaves',
  async (prefix) => {
    const { code, stdout, stderr } = await load(node.url, ['--room-prefix', prefix, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'connecting 20 members\npublishing 80 messages/s\n' });
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ connections: 20, rooms: 4, roomsPerConnection: 1, sentPerSecond: 80 },
      ...{ lost: 0, duplicates: 0, reordered: 0, misrouted: 0, fault: null },
      latencyMs: { p50: expect.any(Number), p999: expect.any(Number) },
    });
  },
);

test('without --json it prints a table of counts and latencies', async () => {
  const { code, stdout } = await load(node.url, ['--connections', '2', '--rooms', '6']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^connections +2, in /m);
  expect(stdout).toMatch(/^rooms +6, 3 for each connection$/m);
  expect(stdout).toMatch(/^lost +0$/m);
  expect(stdout).toMatch(/^latency, ms +p50 +p90 +p99 +p99\.9 +max\n +\d+\.\d /m);
});

test('one token for all connections is enough, up to the connections of one user', async () => {
  const token = await tokenOf('alice');
  const one = { GATEWAY_JWT_SECRET: '', ROOMCAST_TOKEN: token };
  expect((await load(node.url, ['--connections', '10'], one)).code).toBe(0);
  const { code, stderr } = await load(node.url, ['--connections', '40'], one);
  expect(code).toBe(1);
  expect(stderr).toMatch(/4506/);
});

test('a node that drops deliveries is found out: exit code 1, and how many were lost', async () => {
  const broken = await spawnNode(
    {},
    changedBuild({
      file: 'rooms/hub.js',
      place: '        this.#fanout.message(room, frame, position);\n        room.messageCount++;',
      change: `        globalThis.count = (globalThis.count ?? 0) + 1;
        if (globalThis.count % 50 !== 0) this.#fanout.message(room, frame, position);
        room.messageCount++;`,
    }),
  );
  const { code, stdout, stderr } = await load(broken.url, ['--json']);
  const { lost, fault } = JSON.parse(stdout);
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(`error: ${lost} lost`) });
  expect(fault).toBe(`${lost} lost`);
  // Of 160 messages at least three, to the five members of each room.
  expect(lost).toBeGreaterThanOrEqual(15);
});

test('what the node refuses counts as lost, and the reason is told', async () => {
  const { code, stderr } = await load(node.url, ['--rooms', '1', '--rate', '400']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/error: \d+ lost; an unexpected answer: .*rate_limited/);
});

test('over TLS, at a node with a certificate', async () => {
  const { certificate, key } = selfSigned();
  const secure = await spawnNode({ TLS_CERT_FILE: certificate, TLS_KEY_FILE: key });
  for (const host of ['localhost', '127.0.0.1']) {
    const url = secure.url.replace('127.0.0.1', host);
    const { code, stderr } = await load(url, [], { NODE_EXTRA_CA_CERTS: certificate });
    expect({ code, stderr }).toMatchObject({ code: 0 });
  }
  expect((await load(secure.url)).stderr).toMatch(/error: .*self-signed certificate/);
});

test.each([
  ['a secret of other nodes', { GATEWAY_JWT_SECRET: 'another-secret-of-more-than-32-bytes-00' }, /closed with 4501/],
  ['a token without the right', { GATEWAY_JWT_SECRET: '', ROOMCAST_TOKEN: 'mine' }, /closed with 4501/],
])('it ends at once with 1 with %s', async (_what, environment, sentence) => {
  const { code, stdout, stderr } = await load(node.url, [], environment as unknown as Record<string, string>);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(sentence);
});

test('it ends at once with 1 where rooms are refused, and where nobody is', async () => {
  const refused = await load(node.url, ['--connections', '1', '--rooms', '200']);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/error: 0 of 1 connections joined; one: refused: .*limit_exceeded/);
  const away = await load(`ws://127.0.0.1:${await freePort()}/ws`);
  expect(away.code).toBe(1);
  expect(away.stderr).toMatch(/error: .*ECONNREFUSED/);
});

test.each([
  [['load', '--connections', '0'], /must be a number from 1/],
  [['load', '--rooms', '1.5'], /whole number/],
  [['load', '--bytes', '10'], /must be a number from 32/],
  [['load', '--room-prefix', 'a room'], /'a room' is invalid/],
  [['load'], /set GATEWAY_JWT_SECRET \(or GATEWAY_JWT_SECRET_FILE\).*--token/],
])('%j is answered by one sentence and exit code 2', async (args, sentence) => {
  const { code, stdout, stderr } = await outcomeOf(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});
