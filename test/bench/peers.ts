/**
 * Other servers instead of the reference. They are installed from npm on request, into a folder that is deleted after the
 * run; they are never dependencies of the project.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DialectName } from '../../gateway/cli/load/dialects.ts';
import type { Contestant } from './servers.ts';

interface Peer {
  dialect: DialectName;
  program: string;
  packages: string[];
}

const peers: Record<string, Peer> = {
  socketio: {
    dialect: 'socketio',
    program: 'socketio.mjs',
    packages: ['socket.io@4.8.4', '@socket.io/redis-adapter@8.3.0', 'ioredis@6.0.0'],
  },
  ws: { dialect: 'bare', program: 'ws.mjs', packages: ['ws@8.23.0', 'ioredis@6.0.0'] },
};

export const peerNames = Object.keys(peers);

/** They reach a fortieth of the reference in a large room. */
const pace = 1 / 40;
const installDeadlineMs = 300_000;
const programs = fileURLToPath(new URL('../../../test/bench/peers/', import.meta.url));

/** Throws a TypeError for a name that is not in `peerNames`. */
export function installPeer(name: string): Contestant {
  const peer = peers[name];
  if (peer === undefined) throw new TypeError(`no peer is named ${name}; there are ${peerNames.join(', ')}`);
  const folder = mkdtempSync(join(tmpdir(), `roomcast-peer-${name}-`));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  copyFileSync(join(programs, peer.program), join(folder, peer.program));
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  process.stderr.write(`installing ${peer.packages.join(', ')}\n`);
  execFileSync('npm', ['install', ...quiet, ...peer.packages], { cwd: folder, timeout: installDeadlineMs });
  return { name, dialect: peer.dialect, program: join(folder, peer.program), flags: [], environment: {}, pace };
}
