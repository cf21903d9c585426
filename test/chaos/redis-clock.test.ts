/**
 * The clock of Redis jumps an hour ahead, two hours back, and to where it was. Keys whose life is shorter end with the first
 * jump, as if somebody had deleted them; nothing else changes.
 *
 * A library that moves the clock of one process is compiled for it: libfaketime and the allocator of Redis call each other
 * without end.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { redisClient } from '../contract/redis-node.ts';
import { metric, readiness } from '../integration/admin.ts';
import { apiKey, call } from '../integration/api.ts';
import { range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { dataOf, enter, join, names, randomRoom, tokenOf } from '../integration/people.ts';
import { presenceOf, story } from '../integration/presence-members.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connect, okOf } from '../support/client.ts';
import { spawnNode } from '../support/node.ts';
import { launchRedisProcess } from '../support/redis-process.ts';
import { until } from '../support/until.ts';

const hasCompiler = process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0;
if (!hasCompiler) process.stdout.write('the clock of Redis was not moved: that needs Linux and a C compiler\n');
const source = fileURLToPath(new URL('../support/wrong-clock.c', import.meta.url));
const hour = 3_600;

/** A Redis, and what sets its clock, seconds. */
async function redisWithClock() {
  const folder = mkdtempSync(path(tmpdir(), 'roomcast-clock-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const [library, file] = [path(folder, 'clock.so'), path(folder, 'shift')];
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source]);
  const set = (seconds: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    writeFileSync(file, bytes, { flag: 'r+' });
  };
  writeFileSync(file, Buffer.alloc(8));
  const redis = await launchRedisProcess(undefined, [], { LD_PRELOAD: library, CLOCK_SHIFT_FILE: file });
  onCleanup(() => redis.stop());
  return { url: redis.url, set };
}

test.skipIf(!hasCompiler)(
  'members, messages, positions and blocks stay; what lives shorter than the jump is told as trimmed',
  async () => {
    const redis = await redisWithClock();
    const admin = redisClient(redis.url);
    const settings = {
      ...{ REDIS_URL: redis.url, API_KEY: apiKey, PUBLISH_RATE: 0, PING_INTERVAL_MS: 1_000 },
      ROOMS_FILE: roomsFile(
        { match: 'long:*', presence: true, joinLeave: true, history: { size: 1_000, ttlSeconds: 4 * hour } },
        { match: 'short:*', history: { size: 1_000, ttlSeconds: 60 } },
      ),
    };
    const [one, other] = await Promise.all([spawnNode(settings), spawnNode(settings)]);
    const [long, short, plain] = [randomRoom('long'), randomRoom('short'), randomRoom()];
    const watcher = await join(other, 'watcher', long, short, plain);
    const members = await Promise.all(names('m', 5).map((user, at) => join(at % 2 ? one : other, user, long)));
    const publisher = await enter(one, 'publisher');
    const first = await publisher.publish(long, 0);
    const firstShort = await publisher.publish(short, 0);
    await publisher.publish(plain, 0);
    const present = async () => (await presenceOf(watcher, long)).count === 6;
    await until(present, 10_000, 'all are there');
    const blocked = await call(one, 'POST', '/api/users/mallory/disconnect', { body: { blockSeconds: 600 } });
    expect(blocked.status).toBe(200);
    const beforeSteps = story(watcher, long);
    const [began] = (await admin.time()) as unknown as [number];

    let top = 0;
    for (const shift of [hour, -hour, 0]) {
      redis.set(shift);
      const [now] = (await admin.time()) as unknown as [number];
      expect(Math.abs(Number(now) - Number(began) - shift)).toBeLessThan(300);
      for (let count = 0; count < 50; count++) {
        top++;
        for (const room of [long, short, plain]) await publisher.publish(room, top);
      }
      for (const room of [long, short, plain])
        await until(() => dataOf(watcher, room).at(-1) === top, 10_000, `message ${top} of ${room}`);
      // Ten beats of both nodes.
      const beats = async () => Number((await admin.hvals('rc:nodes')).reduce((sum, beat) => sum + Number(beat), 0));
      const beat = await beats();
      await until(async () => (await beats()) >= beat + 20, 60_000, 'both nodes beat');
      expect(await present()).toBe(true);
      const late = await enter(other, `late${shift}`);
      const since = { epoch: first.epoch, offset: first.offset };
      expect(okOf(await late.request({ type: 'subscribe', room: long, since }))).toMatchObject({
        epoch: first.epoch,
        recovered: true,
      });
      await until(() => dataOf(late, long).length === top, 10_000, 'all that came since');
      await late.close();
      for (const node of [one, other]) {
        const mallory = await connect(node.url, { headers: { authorization: `Bearer ${await tokenOf('mallory')}` } });
        expect((await mallory.closed).code).toBe(4503);
        expect(await readiness(node)).toBe(200);
      }
    }

    for (const room of [long, short, plain]) expect(dataOf(watcher, room)).toEqual(range(0, top + 1));
    expect(watcher.frames.filter(({ type }) => type === 'gap')).toEqual([]);
    const left = story(watcher, long).filter((line) => line.startsWith('leave') && !line.includes('late'));
    expect([left, beforeSteps.filter((line) => line.startsWith('leave'))]).toEqual([[], []]);
    for (const member of members) expect(dataOf(member, long)).toEqual(range(0, top + 1));
    // The messages of the first minute are gone, and who asks for them is told.
    const asker = await enter(one, 'asker');
    const { epoch, offset } = firstShort;
    const answer = okOf(await asker.request({ type: 'subscribe', room: short, since: { epoch, offset } }));
    expect(answer).toMatchObject({ epoch, recovered: false });
    for (const node of [one, other]) expect(await metric(node, 'gateway_members_reaped_total')).toBe(0);
  },
  150_000,
);
