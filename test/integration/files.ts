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

export interface CertificateFiles {
  certificate: string;
  key: string;
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=127.0.0.1'];

/** A certificate for 127.0.0.1 and localhost that signs itself, and its key; in a folder that may have others already. */
export function selfSigned(path = folder()): CertificateFiles {
  const files = certificateFiles(path);
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-days', '2'];
  openssl('req', '-x509', ...curve, ...names, '-keyout', files.key, '-out', files.certificate);
  return files;
}

/** One that has ended a day ago. */
export function endedCertificate(): CertificateFiles {
  const path = folder();
  const files = certificateFiles(path);
  const request = join(path, 'request.pem');
  openssl('req', '-new', ...curve, '-keyout', files.key, '-out', request);
  openssl('x509', '-req', '-in', request, '-signkey', files.key, '-days', '-1', '-out', files.certificate);
  return files;
}

function certificateFiles(path: string): CertificateFiles {
  return { certificate: join(path, 'certificate.pem'), key: join(path, 'key.pem') };
}

function openssl(...words: string[]): void {
  execFileSync('openssl', words, { stdio: 'ignore', timeout: 10_000 });
}

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'roomcast-test-'));
  onCleanup(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
