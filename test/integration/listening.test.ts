/**
 * gateway/http/listening.ts: a node that cannot open one of its ports ends with a sentence that says which setting it is and what
 * is wrong with it.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, expect, test } from 'vitest';
import { cannotListen } from '../../gateway/http/listening.ts';
import { onCleanup } from '../support/cleanup.ts';
import { startNode } from '../support/node.ts';
import { testSecret } from '../support/token.ts';
import { enter } from './people.ts';
import { run } from './program.ts';

const good = { GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0', GATEWAY_JWT_SECRET: testSecret };
/** Of a range that is given to nobody (RFC 5737). */
const foreign = '203.0.113.7';
const hasIPv6 = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === '::1'));

/** What the program prints on standard error when it does not start. */
async function failureOf(settings: Record<string, string>): Promise<string> {
  const program = run({ ...good, ...settings });
  expect(await program.ended()).toBe(1);
  expect(program.output()).not.toContain('listening');
  expect(program.errors()).not.toMatch(/\n\s+at /);
  return program.errors();
}

describe.each(['', 'ADMIN_'])('GATEWAY_%sHOST and the port of it', (kind) => {
  const [host, port] = [`GATEWAY_${kind}HOST`, `GATEWAY_${kind}PORT`];

  test('that is no address of this machine is told with those that are', async () => {
    expect(await failureOf({ [host]: foreign })).toMatch(
      `cannot listen on ${foreign}:0: ${host} is not an address of this machine, which has 127.0.0.1`,
    );
  });

  test('that is a name without an address is told', async () => {
    expect(await failureOf({ [host]: 'no-such-host.invalid' })).toMatch(`${host} is a name without an address`);
  });

  test('that is taken is told with the setting that chooses another', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    onCleanup(() => taken.close());
    const { port: number } = taken.address() as { port: number };
    expect(await failureOf({ [port]: `${number}` })).toMatch(
      `cannot listen on 127.0.0.1:${number}: the port is in use; choose another with ${port}`,
    );
  });

  test('that the process may not take is told with the right that it lacks', () => {
    const place = { host: '127.0.0.1', port: 80, hostSetting: host, portSetting: port };
    expect(cannotListen(place, Object.assign(new Error('EACCES'), { code: 'EACCES' })).message).toBe(
      `cannot listen on 127.0.0.1:80: this process may not open port 80; choose one from 1024 on with ${port}, or ` +
        'grant CAP_NET_BIND_SERVICE',
    );
  });
});

test.skipIf(!hasIPv6)('an IPv6 address may stand in brackets', async () => {
  const node = await startNode({ HOST: '[::1]', ADMIN_HOST: '[::1]' });
  await enter({ url: `ws://[::1]:${node.port}/ws` }, 'user');
  expect((await fetch(`http://[::1]:${node.adminPort}/healthz`)).status).toBe(200);
});

test('a host name of this machine may be given', async () => {
  const node = await startNode({ HOST: 'localhost', ADMIN_HOST: 'localhost' });
  await enter({ url: `ws://localhost:${node.port}/ws` }, 'user');
  expect((await fetch(`http://localhost:${node.adminPort}/healthz`)).status).toBe(200);
});
