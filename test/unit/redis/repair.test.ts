/** gateway/redis/repair.ts: which keys of another type are deleted, and which never. */
import { expect, test } from 'vitest';
import { ReplyError } from '../../../gateway/redis/connection/resp.ts';
import { namingKeys, Repair, readOf, wrongKeys } from '../../../gateway/redis/repair.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

const refusal = new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value script: 1, on user.');

test.each([
  ['rc:nodes', 'HLEN'],
  ['rc:{control}:leases', 'HLEN'],
  ['rc:{chat:nodes}:nodes', 'SRANDMEMBER'],
  ['rc:{control}:nodes', 'SRANDMEMBER'],
  ['rc:node:n1-5f2c.1:rooms', 'SRANDMEMBER'],
  ['rc:{a}:ended', 'SRANDMEMBER'],
  ['rc:{a}:members', 'ZCARD'],
  ['rc:{a}:users', 'HLEN'],
  ['rc:{a}:counted', 'GET'],
  ['rc:{a}:position', 'HLEN'],
  ['rc:{a}:messages', 'XLEN'],
  ['rc:{a}:key:["ann","x:members"]', 'GET'],
  ['rc:line', 'HLEN'],
  ['rc:outbox', 'XLEN'],
  ['rc:{control}:outbox:sender', 'GET'],
  ['rc:blocks', 'HLEN'],
  ['orders', undefined],
  ['rc:{a}', undefined],
])('%s is read by %s', (key, command) => {
  expect(readOf(key)).toBe(command);
});

test('the keys of a command are named, with one Redis and at a server of a cluster', () => {
  const one = namingKeys(refusal, ['EVALSHA', 'sha', 2, 'rc:{a}:nodes', 'rc:{a}:ended', 'lease'], false);
  const shard = namingKeys(refusal, ['EVALSHA', 'sha', 0, 2, 'rc:{a}:nodes', 'rc:{a}:ended', 'lease'], true);
  expect([one.message, wrongKeys(one.message)]).toEqual([shard.message, ['rc:{a}:nodes', 'rc:{a}:ended']]);
  expect(wrongKeys(namingKeys(refusal, ['HGETALL', 'rc:nodes'], false).message)).toEqual(['rc:nodes']);
});

test('a key of a publish may hold any text', () => {
  const key = 'rc:{a}:key:["ann","this or rc:nodes is of another type"]';
  expect(wrongKeys(`KEPT WRONGTYPE ${key} is of another type than Roomcast gives it`)).toEqual([key]);
});

test('nothing is done for other errors, nor for keys that nodes do not write; the same key is looked at once at a time', async () => {
  const { log, lines } = capturedLog();
  const asked: string[] = [];
  let answer: (deleted: number) => void = () => undefined;
  const repair = new Repair((key, command) => {
    asked.push(`${command} ${key}`);
    return new Promise((resolve) => {
      answer = resolve;
    });
  }, log);
  repair.heard('OOM command not allowed');
  repair.heard('WRONGTYPE orders is of another type than Roomcast gives it');
  for (let round = 0; round < 3; round++) repair.heard('WRONGTYPE rc:line is of another type than Roomcast gives it');
  expect(asked).toEqual(['HLEN rc:line']);
  answer(1);
  await until(() => lines.some((line) => line.includes('was deleted') && line.includes('rc:line')), 5_000, 'the log');
  repair.heard('WRONGTYPE rc:line is of another type than Roomcast gives it');
  expect(asked).toHaveLength(2);
});
