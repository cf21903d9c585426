/**
 * Gateways that break a promise on purpose: copies of the built program in which one place is changed. A harness that
 * finds nothing in them is blind.
 *
 * The change is made in the copy, so the program itself has no switch for it. A place that is not found, or found twice,
 * is an error: the program has changed, and its breaking has to follow.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onCleanup } from '../support/cleanup.ts';
import type { FaultKind } from './nemesis.ts';
import type { ViolationKind } from './publications.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface BrokenBuild {
  breaks: string;
  /** What has to happen for it to show. */
  faults: FaultKind[];
  /** At least one of these is found. */
  expected: ViolationKind[];
  /** Returns the program, as for spawnNode. */
  make(): string;
}

/** `file` in dist/gateway. */
function broken(file: string, place: string, change: string): () => string {
  return () => {
    const folder = mkdtempSync(join(tmpdir(), 'roomcast-broken-'));
    onCleanup(() => rmSync(folder, { recursive: true, force: true }));
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    cpSync(join(root, 'package.json'), join(folder, 'package.json'));
    const path = join(folder, 'dist/gateway', file);
    const [before, after, ...more] = readFileSync(path, 'utf8').split(place);
    if (after === undefined || more.length > 0) {
      throw new Error(`dist/gateway/${file} must hold this once, to be broken there: ${place}`);
    }
    writeFileSync(path, `${before}${change}${after}`);
    return join(folder, 'dist/gateway/main.js');
  };
}

export const brokenBuilds: BrokenBuild[] = [
  {
    breaks: 'skips every 1,000th delivery',
    faults: [],
    expected: ['LOST_GAP', 'LOST_TAIL', 'GAP'],
    make: broken(
      'hub.js',
      '        this.#send(room, frame);\n        room.sequence++;',
      '        if (++globalThis.deliveries % 1000 !== 0) this.#send(room, frame);\n        room.sequence++;',
    ),
  },
  {
    breaks: 'forgets the key of a publish',
    faults: ['replies swallowed'],
    expected: ['DOUBLE'],
    make: broken('publish.lua', "'NX', ", ''),
  },
];
