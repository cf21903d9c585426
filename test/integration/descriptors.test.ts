/**
 * A node whose file descriptors run out: it starts only with a limit that fits, and when the limit is reached all the same it
 * goes on serving those that are connected, answers on its admin port, reaches Redis anew, and says so.
 *
 * The limit of a node that runs is lowered by prlimit(1) of util-linux.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { connect } from '../support/client.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';
import { get, metric, readiness } from './admin.ts';
import { selfSigned } from './files.ts';
import { carrying, randomRoom, tokenOf } from './people.ts';

const program = fileURLToPath(new URL('../../dist/gateway/main.js', import.meta.url));
const deadlineMs = 10_000;

describe('the limit of open files at the start', () => {
  /** What the program prints on standard error when it does not start under this limit. */
  function startWith(openFiles: number, settings: Record<string, string> = {}): string {
    const words = ['-c', `ulimit -n ${openFiles}; exec "$0" "$1"`, process.execPath, program];
    const env = { PATH: process.env.PATH, GATEWAY_JWT_SECRET: testSecret, ...settings };
    const { status, stderr } = spawnSync('bash', words, { env, encoding: 'utf8', timeout: deadlineMs });
    expect(status).toBe(1);
    return stderr;
  }

  test('that does not fit GATEWAY_MAX_CONNECTIONS is a mistake that says both and how to raise it', () => {
    expect(startWith(1_024, { GATEWAY_MAX_CONNECTIONS: '513' })).toMatch(
      /GATEWAY_MAX_CONNECTIONS is 513, but the limit of 1024 open files leaves 512; raise it \(ulimit -n; LimitNOFILE=/,
    );
  });

  test('that does not even fit the process is one too', () => {
    expect(startWith(100)).toMatch(/The limit of open files is 100, but a node needs at least 288; raise it/);
  });
});

describe.skipIf(process.platform !== 'linux')('when no descriptor is left', () => {
  function limit(node: SpawnedNode, openFiles: number): void {
    execFileSync('prlimit', ['--pid', `${node.pid}`, `--nofile=${openFiles}:`]);
  }

  const linesOf = ({ logs }: SpawnedNode) => logs.filter(({ msg }) => /no file descriptor is left/.test(msg ?? ''));

  /** How many of so many clients that say nothing are let in. */
  async function flood(node: SpawnedNode, clients: number): Promise<number> {
    const all = await Promise.allSettled(Array.from({ length: clients }, () => connect(node.url, { ca })));
    return all.filter(({ status }) => status === 'fulfilled').length;
  }

  /**
   * Takes all descriptors. A few clients at a time: those that a busy node has no time for would give theirs back, and there would be
   * room again. Returns how many were let in.
   */
  async function floodUntilShort(node: SpawnedNode): Promise<number> {
    limit(node, 300);
    let letIn = 0;
    while (linesOf(node).length === 0) letIn += await flood(node, 10);
    return letIn + (await flood(node, 300));
  }

  const { certificate, key } = selfSigned();
  const tls = { TLS_CERT_FILE: certificate, TLS_KEY_FILE: key };
  const ca = readFileSync(certificate, 'utf8');

  test.each([
    ['plain', {}],
    ['with TLS', tls],
  ] as [string, NodeSettings][])(
    'members and the admin port are served, and new clients once there is room: %s',
    async (_, settings) => {
      const node = await spawnNode({ ...settings, AUTH_TIMEOUT_MS: 60_000 });
      const open = async () => connect(node.url, { ca, token: await tokenOf('user') });
      const members = [await open(), await open()];
      const room = randomRoom();
      for (const member of members) await member.subscribe(room);

      const letIn = await floodUntilShort(node);
      expect(letIn).toBeGreaterThan(20);

      for (let time = 0; time < 20; time++) {
        expect((await get(node, '/healthz')).status).toBe(200);
        await expect(open()).rejects.toThrow();
      }
      const cpuSeconds = () => metric(node, 'process_cpu_seconds_total');
      const [began, usedBefore] = [performance.now(), await cpuSeconds()];
      await until(() => performance.now() - began > 1_000, deadlineMs, 'a second has passed');
      expect((await cpuSeconds()) - usedBefore).toBeLessThan((performance.now() - began) / 2_000);

      await members[0]?.publish(room, 'hello');
      await members[1]?.next(carrying(room, 'hello'));
      expect(await metric(node, 'gateway_handshakes_rejected_total{reason="descriptors"}')).toBeGreaterThan(100);

      limit(node, 1_000);
      const late = await until(open, deadlineMs, 'a new client is let in');
      await late.subscribe(room);
      expect(linesOf(node)).toEqual([
        expect.objectContaining({ level: 'error', error: expect.stringContaining('EMFILE') }),
      ]);
    },
  );

  test('Redis is reached anew', async () => {
    const redis = await ownRedis();
    const node = await spawnNode({ REDIS_URL: redis.url, AUTH_TIMEOUT_MS: 60_000 });
    await until(async () => (await readiness(node)) === 200, deadlineMs, 'the node is ready');
    await floodUntilShort(node);
    await redis.kill();
    await until(async () => (await readiness(node)) === 503, deadlineMs, 'the node has lost Redis');
    await expect(connect(node.url)).rejects.toThrow();
    await redis.start();
    await until(async () => (await readiness(node)) === 200, deadlineMs, 'the node is ready again');
    await expect(connect(node.url)).rejects.toThrow();
  });
});
