/** The load client of `roomcast load` and of the benchmarks, from the build, against a real node. */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { apiKey, call } from '../integration/api.ts';
import { onCleanup } from '../support/cleanup.ts';
import { startNode } from '../support/node.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';

type Client = typeof import('../../gateway/cli/load/client.ts');
// The threads of the client are scripts of the build.
const { LoadClient } = (await import(new URL('../../dist/gateway/cli/load/client.js', import.meta.url).href)) as Client;

test('a trial whose publisher the node closes has failed, and the next one holds', async () => {
  const node = await startNode({ API_KEY: apiKey, PUBLISH_RATE: 0 });
  const place = {
    dialect: 'gateway',
    path: '/ws',
    host: '127.0.0.1',
    secure: false,
    userPrefix: '',
    roomPrefix: 'load:',
  } as const;
  const client = new LoadClient({
    audience: {
      place: { ...place, credentials: { secret: testSecret, claims: {} } },
      ...{ ports: [node.port], connections: 2, rooms: 2, roomsPerConnection: 1 },
    },
    ...{ publisherPort: node.port, publishers: 1, payloadBytes: 64, threads: 1 },
  });
  onCleanup(() => client.close());
  await client.connect();
  const plan = { messagesPerSecond: 20, warmSeconds: 0, seconds: 1 };
  const failing = client.run({ ...plan, seconds: 5 });
  const published = () => metric(node, 'gateway_messages_published_total{source="client"}');
  await until(async () => (await published()) > 0, 10_000, 'it publishes');
  expect((await call(node, 'POST', '/api/users/publisher0/disconnect')).json).toEqual({ disconnected: 1 });
  expect(await failing).toMatchObject({ held: false, fault: expect.stringContaining('closed with 4503') });
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(await client.run({ ...plan })).toMatchObject({ lost: 0, duplicates: 0, reordered: 0, fault: undefined });
  }
});
