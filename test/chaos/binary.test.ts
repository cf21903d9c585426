/** Bytes in quantity: 10,000 messages of random bytes, over two nodes and a Redis of this file. */
import { test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { expectBytesEverywhere } from '../integration/random-bytes.ts';
import { startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';

test('10,000 messages of 0 to 64 KiB of random bytes reach members of all dialects byte for byte: live, by history, by a resume', async () => {
  const redis = await ownRedis();
  const settings = {
    REDIS_URL: redis.url,
    PUBLISH_RATE: 0,
    REQUEST_RATE: 0,
    CENTRIFUGO: true,
    MAX_MESSAGE_BYTES: 131_072,
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000, maxBytes: 1_000_000_000 } }),
  };
  const [one, two] = await Promise.all([startNode(settings), startNode(settings)]);
  await expectBytesEverywhere(one, two, 10_000, 300_000);
}, 600_000);
