/** The operator's backend by HTTPS, with a certificate that only a private CA vouches for: callback and webhooks. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Backend } from '../support/backend.ts';
import { connectWelcomed } from '../support/client.ts';
import { builtProgram, spawnNode, usualFlags } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';
import { roomsFile, selfSigned } from './files.ts';
import { randomRoom } from './people.ts';

const { certificate, key } = selfSigned();
const tls = { cert: readFileSync(certificate), key: readFileSync(key) };

async function start(more: Record<string, string>) {
  const [backend, receiver] = [await Backend.start(undefined, tls), await new WebhookReceiver(undefined, tls).start()];
  const rules = roomsFile({ match: '*', subscribe: 'user', publish: 'callback' });
  const settings = { ROOMS_FILE: rules, AUTH_URL: backend.url, ...receiver.settings };
  return { backend, receiver, node: await spawnNode(settings, builtProgram, usualFlags, more) };
}

test('NODE_EXTRA_CA_CERTS makes it trusted by the callback and by webhooks', async () => {
  const { backend, receiver, node } = await start({ NODE_EXTRA_CA_CERTS: certificate });
  const [room, client] = [randomRoom(), await connectWelcomed(node.url, await mintToken({ sub: 'ann' }))];
  expect(await client.request({ type: 'publish', room, data: 1 })).toMatchObject({ type: 'ok' });
  expect(backend.asked).toMatchObject([{ action: 'publish', user: 'ann', room }]);
  await client.subscribe(room);
  await until(() => receiver.story(room).length > 0, 10_000, 'the webhook is taken');
  expect([receiver.story(room), receiver.complaints]).toEqual([['room.occupied'], []]);
});

test('without it nothing is allowed and nothing is sent, and the log names the reason', async () => {
  const { backend, receiver, node } = await start({});
  const [room, client] = [randomRoom(), await connectWelcomed(node.url, await mintToken({ sub: 'ann' }))];
  const answer = await client.request({ type: 'publish', room, data: 1 });
  expect(answer).toMatchObject({ type: 'error', code: 'unavailable' });
  await client.subscribe(room);
  const reasons = () => node.logs.filter((line) => /self.signed/i.test(JSON.stringify(line))).map(({ msg }) => msg);
  await until(() => new Set(reasons()).size >= 2, 10_000, 'the log names the reason twice');
  expect([backend.asked, receiver.requests]).toEqual([[], []]);
});
