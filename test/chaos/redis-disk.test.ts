/**
 * The disk of Redis is full: what cannot be kept is refused whole, and seen by nobody; plain messages go on; and everything does
 * when there is space again. What was acknowledged is in the file after all.
 *
 * The disk is a tmpfs, which only root can mount: 128 MiB, since the messages of the test would fill a small one again, at up to
 * a megabyte a second. Memory that is full: test/chaos/redis-strain.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { metric, readiness } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { carrying, enter, join, randomRoom } from '../integration/people.ts';
import { expectWhole, PlacedMember } from '../integration/placed-member.ts';
import { SteadyPublisher } from '../integration/steady-publisher.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write('a Redis whose disk is full was not tried: only root can mount a small one\n');
const deadlineMs = 20_000;

function smallDisk(): string {
  const folder = mkdtempSync(path(tmpdir(), 'roomcast-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'roomcast-test', folder]);
  onCleanup(() => {
    execFileSync('umount', [folder]);
    rmdirSync(folder);
  });
  return folder;
}

function fill(file: string): void {
  for (const bytes of [1_048_576, 1024, 1]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
}

test.skipIf(!isRoot)(
  'messages that cannot be kept are unavailable, plain ones go on, and nothing acknowledged is lost, also by a kill afterwards',
  async () => {
    const disk = smallDisk();
    // With `always` Redis would end itself.
    const redis = await ownRedisOnDisk(
      '--dir',
      disk,
      '--appendfsync',
      'everysec',
      '--auto-aof-rewrite-percentage',
      '0',
    );
    const [kept, plain] = [randomRoom('long'), randomRoom()];
    const rules = roomsFile({ match: 'long:*', history: { size: 100_000, maxBytes: 1_073_741_824 } });
    const settings = { REDIS_URL: redis.url, ROOMS_FILE: rules, PUBLISH_RATE: 0, REQUEST_RATE: 0 };
    const [one, other] = await Promise.all([spawnNode(settings), spawnNode(settings)]);
    const admin = new Redis(redis.url);
    // It is killed below; without a listener ioredis prints that.
    admin.on('error', () => undefined);
    onCleanup(() => admin.disconnect());
    const [member, listener] = [await PlacedMember.join(other, 'member', kept), await join(other, 'listener', plain)];
    const publisher = new SteadyPublisher(await enter(one, 'publisher'), kept);
    await until(() => publisher.acknowledged.length > 50, deadlineMs, 'messages are kept');

    fill(path(disk, 'filler'));
    await until(
      () => publisher.answers.filter((answer) => answer === 'unavailable').length > 20,
      deadlineMs,
      'they are refused',
    );
    expect(await admin.info('persistence')).toContain('aof_last_write_status:err');
    const talker = await enter(one, 'talker');
    await talker.publish(plain, 'goes on');
    await listener.next(carrying(plain, 'goes on'));
    for (const node of [one, other])
      await until(async () => (await readiness(node)) === 503, deadlineMs, 'nodes are not ready');

    rmSync(path(disk, 'filler'));
    const before = publisher.acknowledged.length;
    await until(() => publisher.acknowledged.length > before + 50, deadlineMs, 'they are kept again');
    for (const node of [one, other])
      await until(async () => (await readiness(node)) === 200, deadlineMs, 'nodes are ready');
    const last = await publisher.stop();
    expect(new Set(publisher.answers)).toEqual(new Set(['ok', 'unavailable']));
    const end = publisher.outcomes.find(({ number }) => number === last)?.position ?? { epoch: '', offset: 0 };
    await member.untilAt(kept, end, deadlineMs);
    expect([member.faults, member.story(kept).gaps]).toEqual([[], []]);
    expectWhole(member.story(kept), publisher);
    expect(member.numbers(kept)).toEqual(
      publisher.acknowledged.filter((number) => number >= (member.numbers(kept)[0] ?? 0)),
    );
    expect(await metric(other, 'gateway_backplane_reconnects_total')).toBe(0);

    const isWritten = async () =>
      /aof_pending_bio_fsync:0/.test(await admin.info('persistence')) &&
      /aof_buffer_length:0/.test(await admin.info('persistence'));
    await until(isWritten, deadlineMs, 'the file has all');
    await redis.kill();
    await redis.start();
    const entries = await until(
      async () => await admin.xlen(`rc:{${kept}}:messages`),
      deadlineMs,
      'the room is there again',
    );
    expect(entries).toBe(publisher.acknowledged.length);
  },
  90_000,
);
