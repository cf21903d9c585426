/**
 * The command `roomcast plan` as a process: what it prints, what it says to bad input, and that the examples of
 * docs/performance.md are what it prints.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../../gateway/cli/roomcast.mjs', import.meta.url));
const page = readFileSync(new URL('../../docs/performance.md', import.meta.url), 'utf8');
const roomcast = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
const load = ['--connections', '1M', '--rooms', '100k', '--messages-per-second', '10k'];

test('it prints nodes, Redis, reconnects and what breaks first', () => {
  const { status, stdout, stderr } = roomcast('plan', ...load);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  for (const part of [/^Nodes +\d/m, /^Redis +\d/m, /^Deploy in 60 minutes/m, /^Breaks first: /m]) {
    expect(stdout).toMatch(part);
  }
});

test('with --json it prints the workload, the plan and the advice as JSON', () => {
  const { status, stdout } = roomcast('plan', ...load, '--history', '0.5', '--json');
  expect(status).toBe(0);
  const { workload, plan, advice } = JSON.parse(stdout);
  expect(workload).toMatchObject({ connections: 1_000_000, rooms: 100_000, roomsPerConnection: 1, historyShare: 0.5 });
  expect(plan).toMatchObject({ membersPerRoom: 10, deliveriesPerSecond: 100_000 });
  expect(advice.warnings).toBeInstanceOf(Array);
});

test('two of rooms, members of a room and rooms of a connection give the third', () => {
  const json = (...args: string[]) =>
    JSON.parse(roomcast('plan', '--connections', '1000', '--messages-per-second', '1', '--json', ...args).stdout);
  expect(json('--members-per-room', '20').workload.rooms).toBe(50);
  expect(json('--members-per-room', '20', '--rooms-per-connection', '3').workload.rooms).toBe(150);
  expect(json('--rooms', '100', '--members-per-room', '50').workload.roomsPerConnection).toBe(5);
});

test.each([
  [['plan'], /required option '--connections/],
  [['plan', ...load, '--connections', 'many'], /'many' is invalid.*must be a number from 1/],
  [['plan', ...load, '--connections', '-5'], /must be a number from 1/],
  [['plan', ...load, '--history', '2'], /must be a number from 0 to 1\./],
  [['plan', ...load, '--descriptors', '100'], /must be a number from 1024/],
  [['plan', ...load, '--cores', '2'], /unknown option '--cores'/],
  [['plan', ...load, 'more'], /too many arguments/],
  [['plan', '--connections', '10', '--messages-per-second', '1'], /give --rooms or --members-per-room/],
  [['plan', '--connections', '10', '--messages-per-second', '1', '--rooms', '20'], /20 rooms for 10 memberships/],
  [['plan', ...load, '--members-per-room', '9', '--rooms-per-connection', '2'], /two give the third/],
  [['scale'], /unknown command 'scale'/],
])('%j is answered by one sentence and exit code 2', (args, sentence) => {
  const { status, stdout, stderr } = roomcast(...args);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('the examples of docs/performance.md are what it prints', () => {
  const examples = [...page.matchAll(/^```console\n\$ npx roomcast (.*(?:\\\n.*)*)\n((?:.*\n)*?)```/gm)];
  expect(examples.length).toBeGreaterThanOrEqual(2);
  for (const [, args = '', output] of examples) {
    expect(roomcast(...args.replaceAll('\\\n', ' ').trim().split(/\s+/)).stdout.trimEnd()).toBe(output?.trimEnd());
  }
});
