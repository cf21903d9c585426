/**
 * What an idle event stream costs a node: resident memory, with so many that a single allocation of the heap does not show.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { randomRoom } from '../integration/people.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { httpRequest, RawSocket } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';

const streams = 9_000;
const warmUp = 500;
const mostBytes = 6_000;

function residentBytes({ pid }: SpawnedNode): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
}

test(`an idle stream takes at most ${mostBytes} bytes`, { timeout: 120_000 }, async () => {
  const node = await spawnNode();
  const room = randomRoom();
  const open = async (count: number) => {
    for (let opened = 0; opened < count; opened += 50) {
      const batch = Array.from({ length: 50 }, async (_, index) => {
        const token = await mintToken({ sub: `${count} ${opened + index}`, rooms: { [room]: ['subscribe'] } });
        const socket = await RawSocket.connect(node.port);
        const headers = { Host: 'localhost', Authorization: `Bearer ${token}` };
        await socket.write(httpRequest({ path: `/rooms/${room}/events`, headers }));
        expect((await socket.response()).status).toBe(200);
      });
      await Promise.all(batch);
    }
  };
  await open(warmUp);
  const before = residentBytes(node);
  await open(streams);
  const perStream = () => (residentBytes(node) - before) / streams;
  // Garbage of the opening goes with time.
  await until(() => perStream() <= mostBytes, 20_000, `at most ${mostBytes} bytes a stream`);
  expect(perStream()).toBeGreaterThan(500);
});
