/** A backend library of Centrifugo, unmodified, at the server API: `cent` for Python. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { apiKey } from '../integration/api.ts';
import { connectAs, have, startCentrifugo, subscribe } from '../integration/centrifugo-member.ts';
import { randomRoom } from '../integration/people.ts';
import { python } from './sdks.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('sdk/backend.py', import.meta.url));

test('cent calls every method that is offered, and understands each answer', async ({ skip }) => {
  const installed = await python('cent==5.2.0');
  if ('missing' in installed) return skip(installed.missing);
  const node = await startCentrifugo({ API_KEY: apiKey });
  const room = randomRoom('kept');
  const member = await subscribe(await connectAs(node, 'guest'), room);
  const { stdout } = await run(installed.python, [program, `http://127.0.0.1:${node.adminPort}/api`, apiKey, room]);
  const told = Object.assign(
    {},
    ...stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
  expect(told).toMatchObject({
    publish: { offset: 1, epoch: expect.any(String) },
    broadcast: { responses: [{ result: { offset: 2 } }, { result: { offset: 1 } }] },
    presence_stats: { num_clients: 1, num_users: 1 },
    history: { offset: 2, publications: [{ offset: 2, data: 2 }] },
    channels: { channels: { [room]: { num_clients: 1 } } },
    info: { nodes: [{ num_clients: 1 }] },
    subscribe: {},
    unsubscribe: {},
    disconnect: {},
    refused: 107,
  });
  expect(Object.values(told.presence.presence)).toMatchObject([{ user: 'guest' }]);
  expect(await have(member, 2)).toEqual([{ from: 'cent' }, 2]);
}, 300_000);
