/**
 * Files that a node is started with: rooms files, keys, certificates. They live in a folder that goes with the test.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onCleanup } from '../support/cleanup.ts';

/** Writes a file into a folder of its own; returns its path. */
export function writeFile(name: string, content: string): string {
  const path = join(folder(), name);
  writeFileSync(path, content);
  return path;
}

/** For GATEWAY_ROOMS_FILE. */
export function roomsFile(...rules: object[]): string {
  return writeFile('rooms.json', JSON.stringify({ rooms: rules }));
}

/** A certificate for 127.0.0.1 that signs itself, and its key. */
export function selfSigned(): { certificate: string; key: string } {
  const path = folder();
  const [certificate, key] = [join(path, 'certificate.pem'), join(path, 'key.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
    timeout: 10_000,
  });
  return { certificate, key };
}

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'roomcast-test-'));
  onCleanup(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
