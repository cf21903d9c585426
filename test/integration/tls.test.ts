/**
 * TLS at the node: `wss://` with a certificate that the test makes.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { subprotocol } from '../../shared/protocol.ts';
import { connect } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { selfSigned } from './files.ts';
import { carrying, randomRoom, tokenOf } from './people.ts';

const { certificate, key } = selfSigned();
const node = await startNode({ TLS_CERT_FILE: certificate, TLS_KEY_FILE: key });
const url = node.url.replace('ws://', 'wss://');

test('a client that trusts the certificate is served, with messages as large as they may be', async () => {
  const client = await connect(url, { token: await tokenOf('user'), ca: readFileSync(certificate, 'utf8') });
  expect(client.socket.protocol).toBe(subprotocol);
  const room = randomRoom();
  await client.subscribe(room);
  const data = 'ü'.repeat(32_000);
  for (let index = 0; index < 20; index++) await client.publish(room, data);
  await client.publish(room, 'end');
  await client.next(carrying(room, 'end'));
  expect(client.frames.filter((frame) => frame.type === 'message' && frame.data === data)).toHaveLength(20);
  expect(await client.close()).toMatchObject({ code: 1000 });
});

test('a client that does not trust it never gets as far as the handshake', async () => {
  await expect(connect(url, { token: await tokenOf('user') })).rejects.toThrow(/self.signed/i);
});

test('there is no way around TLS on that port', async () => {
  await expect(connect(node.url, { token: await tokenOf('user') })).rejects.toThrow();
  const trusting = await connect(url, { token: await tokenOf('user'), ca: readFileSync(certificate, 'utf8') });
  expect(await trusting.next('welcome')).toMatchObject({ user: 'user' });
});
