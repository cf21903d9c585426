/**
 * The load balancer as an operator handles it: TLS is switched on, a certificate is renewed, the configuration changes,
 * HAProxy ends and is started again. Who is connected stays where that is possible, and who comes is not refused.
 *
 * Owns the story and the certificates; containers are in stack.ts, clients in members.ts.
 */
import { once } from 'node:events';
import { appendFile, copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../support/until.ts';
import { documented } from './documented.ts';
import { type Door, enter, join as joinRoom, type Member, publishRound } from './members.ts';
import { docker, repository, run, Stack } from './stack.ts';

const room = 'chat:everybody';

let stack: Stack;
let door: Door;
let secure: Door;
let reload: string;

/** The folder that stands for deploy/haproxy. */
const folder = () => join(stack.scratch, 'haproxy');

/** A certificate and its key in one file, as HAProxy takes it; resolves with the certificate. */
async function makeCertificate(file: string): Promise<string> {
  const [key, certificate] = [join(stack.scratch, 'key.pem'), join(stack.scratch, 'certificate.pem')];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await run('openssl', ['req', ...kind, '-keyout', key, '-out', certificate, ...names]);
  const ca = await readFile(certificate, 'utf8');
  await writeFile(file, ca + (await readFile(key, 'utf8')));
  return ca;
}

/** The certificate that is served, PEM. */
async function servedCertificate(): Promise<string> {
  const { hostname, port } = new URL(secure.url);
  const socket = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const base64 = socket.getPeerCertificate().raw.toString('base64');
  socket.destroy();
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n').trimEnd()}\n-----END CERTIFICATE-----\n`;
}

/** The public door; a start of the container moves its port. */
async function findDoor(): Promise<Door> {
  return { ...door, url: `ws://${await stack.address('haproxy', 8080)}/ws` };
}

const leave = (members: Member[]) => Promise.all(members.map(({ client }) => client.close()));
const comeAndGo = async (by: Door) => leave([await enter(by)]);

beforeAll(async () => {
  stack = await Stack.create();
  reload = await documented('docs/operations.md', 'kill -USR2');
  await stack.up('--build', 'gateway', 'haproxy');
  const secret = (await stack.exec('cat', '/run/roomcast/jwt-secret')).trim();
  door = { url: `ws://${await stack.address('haproxy', 8080)}/ws`, secret };
  await until(() => comeAndGo(door), 120_000, 'a client is welcomed').catch(async (cause) => {
    throw new Error(`the deployment does not serve:\n${await stack.logs()}`, { cause });
  });
});

afterAll(async () => {
  await stack?.down();
  await stack?.removeScratch();
});

test('with the lines for TLS uncommented, wss:// carries messages', async () => {
  await mkdir(folder());
  const ca = await makeCertificate(join(folder(), 'roomcast.pem'));
  const configuration = await readFile(join(repository, 'deploy/haproxy/haproxy.cfg'), 'utf8');
  await writeFile(join(folder(), 'haproxy.cfg'), configuration.replace('# bind :8443', 'bind :8443'));
  const compose = await readFile(join(repository, 'docker-compose.yml'), 'utf8');
  const [port = '', ...others] = [...compose.matchAll(/# - (\S+) # TLS/g)].map(([, line = '']) => line);
  expect(others).toEqual([]);
  const ports = [port.replace('127.0.0.1:8443:', '127.0.0.1::')];
  await stack.override('tls', { services: { haproxy: { ports, volumes: [`${folder()}:/usr/local/etc/haproxy:ro`] } } });
  await stack.up('--no-deps', 'haproxy');
  secure = { ...door, url: `wss://${await stack.address('haproxy', 8443)}/ws`, ca };
  door = await findDoor();
  await until(() => comeAndGo(secure), 30_000, 'a client is welcomed over TLS');
  const pair = await joinRoom(secure, room, 2);
  await publishRound(pair, room, (sent) => sent < 10);
  await leave(pair);
});

test('HTTP/2 is not to be had over TLS, offered or not', async () => {
  const { hostname, port } = new URL(secure.url);
  const options = { host: hostname, port: Number(port), rejectUnauthorized: false };
  const offering = connectTls({ ...options, ALPNProtocols: ['h2', 'http/1.1'] });
  await once(offering, 'secureConnect');
  expect(offering.alpnProtocol).toBe('http/1.1');
  offering.destroy();
  const silent = connectTls(options);
  await once(silent, 'secureConnect');
  silent.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1'));
  const [answer] = (await once(silent, 'data')) as [Buffer];
  expect(answer.toString('latin1')).toMatch(/^HTTP\/1\.1 400 /);
  silent.destroy();
});

test('a certificate that was renewed by renaming is served after the reload, which cuts and refuses nobody', async () => {
  const members = await joinRoom(secure, room, 10);
  const renewed = await makeCertificate(join(folder(), 'roomcast.pem.new'));
  await rename(join(folder(), 'roomcast.pem.new'), join(folder(), 'roomcast.pem'));
  let served = false;
  const come = async () => {
    while (!served) await comeAndGo(door);
  };
  const visitors = Promise.all(Array.from({ length: 5 }, come));
  await stack.shell(reload);
  await until(async () => (await servedCertificate()) === renewed, 30_000, 'the new certificate is served');
  served = true;
  await visitors;
  secure = { ...secure, ca: renewed };
  const [newcomer] = await joinRoom(secure, room, 1);
  await publishRound([...members, ...(newcomer ? [newcomer] : [])], room, (sent) => sent < 50);
  expect(members.every(({ client }) => client.socket.readyState === client.socket.OPEN)).toBe(true);
  await leave(members);
});

test('a configuration with a mistake is told by the reload and changes nothing', async () => {
  const file = join(folder(), 'haproxy.cfg');
  await copyFile(file, `${file}.good`);
  await appendFile(file, '  no-such-keyword\n');
  const [member] = await joinRoom(secure, room, 1);
  await expect(stack.shell(reload)).rejects.toThrow(/no-such-keyword/);
  await comeAndGo(secure);
  expect(member?.client.socket.readyState).toBe(member?.client.socket.OPEN);
  await rename(`${file}.good`, file);
  await stack.shell(reload);
  await comeAndGo(secure);
  if (member !== undefined) await leave([member]);
});

test('after a reload Docker still starts HAProxy again when it ends', async () => {
  const [container = ''] = await stack.containers('haproxy');
  const started = () => docker('inspect', '--format', '{{.State.StartedAt}} {{.State.Running}}', container);
  const before = await started();
  await docker('exec', container, 'sh', '-c', 'kill -TERM 1');
  const again = async () => (await started()) !== before && (await started()).includes('true');
  await until(again, 30_000, 'HAProxy is started again');
  door = await findDoor();
  await until(() => comeAndGo(door), 30_000, 'it serves');
});

test('`restart haproxy` is over within 10 s', async () => {
  const [member] = await joinRoom(door, room, 1);
  const began = performance.now();
  await stack.compose(['restart', 'haproxy']);
  door = await findDoor();
  await until(() => comeAndGo(door), 30_000, 'a client is welcomed');
  expect(performance.now() - began).toBeLessThan(10_000);
  expect((await member?.client.closed)?.code).toBe(1006);
});
