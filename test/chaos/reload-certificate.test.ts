/**
 * A certificate that is renewed while the node runs: new connections are served with the new one, whether they name the
 * host or not, and those that are open go on. What cannot be used changes nothing.
 */
import { X509Certificate } from 'node:crypto';
import { copyFileSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join as joinPath } from 'node:path';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { expect, test } from 'vitest';
import { get, metric, reload } from '../integration/admin.ts';
import { type CertificateFiles, endedCertificate, folder, selfSigned } from '../integration/files.ts';
import { carrying, dataOf, names, randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';

const reloads = (result: string) => `gateway_reloads_total{what="certificate",result="${result}"}`;
/** Twice the time between two looks, and some. */
const noticedMs = 10_000;

function startWith({ certificate, key }: CertificateFiles): Promise<SpawnedNode> {
  return spawnNode({ TLS_CERT_FILE: certificate, TLS_KEY_FILE: key });
}

/** The serial number of the certificate that a new connection is served with. */
function served({ port }: SpawnedNode, options: ConnectionOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
    });
    socket.on('error', reject);
    onCleanup(() => socket.destroy());
  });
}

/** With and without a server name (RFC 6066 section 3), which a client that connects to an address does not send. */
async function servedToAll(node: SpawnedNode): Promise<string[]> {
  return [await served(node), await served(node, { servername: 'localhost' })];
}

function read({ certificate }: CertificateFiles): X509Certificate {
  return new X509Certificate(readFileSync(certificate));
}

function notAfter(node: SpawnedNode): Promise<number> {
  return metric(node, 'gateway_certificate_not_after_seconds');
}

/** Puts one certificate in the place of another, as tools for certificates do. */
function replace(old: CertificateFiles, by: CertificateFiles): void {
  for (const part of ['certificate', 'key'] as const) {
    copyFileSync(by[part], `${old[part]}.new`);
    renameSync(`${old[part]}.new`, old[part]);
  }
}

test('after SIGHUP new connections get the renewed certificate, by name and by address; open ones go on, in the same rooms', async () => {
  const [files, renewed] = [selfSigned(), selfSigned()];
  const [old, next] = [read(files), read(renewed)];
  const node = await startWith(files);
  expect(await servedToAll(node)).toEqual([old.serialNumber, old.serialNumber]);
  expect(await notAfter(node)).toBe(Date.parse(old.validTo) / 1_000);
  const room = randomRoom();
  const join = async (user: string, trusted: X509Certificate) => {
    const client = await connectWelcomed(node.url, await tokenOf(user), { ca: trusted.toString() });
    await client.subscribe(room);
    return client;
  };
  const before = await join('before', old);

  expect(await reload(node)).toMatchObject({ msg: 'read again; nothing is new' });
  expect(await reload(node, () => replace(files, renewed))).toMatchObject({
    level: 'info',
    what: 'certificate',
    serial: next.serialNumber,
    notAfter: new Date(next.validTo).toISOString(),
  });
  expect(await servedToAll(node)).toEqual([next.serialNumber, next.serialNumber]);
  expect(await notAfter(node)).toBe(Date.parse(next.validTo) / 1_000);
  expect(await metric(node, reloads('taken'))).toBe(1);

  const after = await join('after', next);
  await before.publish(room, 'from before');
  await after.publish(room, 'from after');
  for (const client of [before, after]) {
    await client.next(carrying(room, 'from after'));
    expect(dataOf(client, room)).toEqual(['from before', 'from after']);
  }
  await before.close();
  await after.publish(room, 'alone');
  await after.next(carrying(room, 'alone'));
  expect(await metric(node, 'gateway_connections')).toBe(1);
});

test('what cannot be used changes nothing, and is told once: junk, a key of another certificate, one that has ended, no file', async () => {
  const files = selfSigned();
  const serial = read(files).serialNumber;
  const node = await startWith(files);
  const good = { certificate: readFileSync(files.certificate), key: readFileSync(files.key) };
  const expectRefused = async (change: () => void, why: RegExp) => {
    expect(await reload(node, change)).toMatchObject({ level: 'error', mistakes: [expect.stringMatching(why)] });
    expect(await servedToAll(node)).toEqual([serial, serial]);
    writeFileSync(files.certificate, good.certificate);
    writeFileSync(files.key, good.key);
  };
  const [other, ended] = [selfSigned(), endedCertificate()];
  await expectRefused(() => writeFileSync(files.certificate, 'junk'), /PEM|no start line/i);
  await expectRefused(() => copyFileSync(other.key, files.key), /key values mismatch/);
  await expectRefused(() => replace(files, ended), /^the certificate expired on 20/);
  await expectRefused(() => rmSync(files.certificate), /ENOENT/);
  expect(await metric(node, reloads('refused'))).toBeGreaterThanOrEqual(4);
  expect(await reload(node)).toMatchObject({ msg: 'read again; nothing is new' });
  expect((await get(node, '/readyz')).status).toBe(200);
});

test('a change is noticed without a signal: a file renamed over, and a folder behind a symbolic link', async () => {
  const [inPlace, renewed] = [selfSigned(), selfSigned()];
  // As Kubernetes mounts a secret: the names are links into a folder that is itself behind a link, which is swapped.
  const [mount, first, second] = [folder(), selfSigned(), selfSigned()];
  symlinkSync(dirname(first.certificate), joinPath(mount, '..data'));
  const mounted = { certificate: joinPath(mount, 'certificate.pem'), key: joinPath(mount, 'key.pem') };
  for (const [part, path] of Object.entries(mounted)) symlinkSync(joinPath('..data', `${part}.pem`), path);
  const [one, other] = await Promise.all([startWith(inPlace), startWith(mounted)]);
  expect(await servedToAll(other)).toEqual([read(first).serialNumber, read(first).serialNumber]);

  replace(inPlace, renewed);
  symlinkSync(dirname(second.certificate), joinPath(mount, '..new'));
  renameSync(joinPath(mount, '..new'), joinPath(mount, '..data'));
  const serves = (node: SpawnedNode, files: CertificateFiles) =>
    until(async () => (await served(node)) === read(files).serialNumber, noticedMs, 'the renewed one is served');
  await Promise.all([serves(one, renewed), serves(other, second)]);
}, 30_000);

test('a broken change that nobody asked to read is told once, and what mends it is taken', async () => {
  const files = selfSigned();
  const serial = read(files).serialNumber;
  const node = await startWith(files);
  const errors = () => node.logs.filter(({ level, what }) => level === 'error' && what === 'certificate');
  writeFileSync(files.key, 'junk');
  await until(() => errors().length > 0, noticedMs, 'it is told');
  expect(await servedToAll(node)).toEqual([serial, serial]);
  const renewed = selfSigned();
  replace(files, renewed);
  const isServed = async () => (await served(node)) === read(renewed).serialNumber;
  await until(isServed, noticedMs, 'the renewed one is served');
  expect(errors()).toHaveLength(1);
}, 40_000);

test('no connection is refused or lost while certificates change, and each change leaves the ones before it to their end', async () => {
  const files = selfSigned();
  const pair = [selfSigned(), selfSigned()];
  const node = await startWith(files);
  const room = randomRoom();
  const trusted = [files, ...pair].map((each) => readFileSync(each.certificate, 'utf8')).join('\n');
  let [changes, done] = [0, false];
  const changing = (async () => {
    while (!done) {
      const next = pair[changes++ % 2] as CertificateFiles;
      await reload(node, () => replace(files, next));
    }
  })();
  const connecting = names('user', 8).map(async (user) => {
    const clients = [];
    for (let index = 0; index < 10; index++) {
      const client = await connectWelcomed(node.url, await tokenOf(`${user}-${index}`), { ca: trusted });
      await client.subscribe(room);
      clients.push(client);
    }
    return clients;
  });
  const clients = (await Promise.all(connecting)).flat();
  done = true;
  await changing;
  expect(changes).toBeGreaterThan(3);
  await clients[0]?.publish(room, 'to all');
  await Promise.all(clients.map((client) => client.next(carrying(room, 'to all'))));
  expect(await metric(node, 'gateway_subscriptions')).toBe(clients.length);
}, 30_000);
