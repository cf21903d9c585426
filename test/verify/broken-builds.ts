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

/** A place in a file of dist/gateway, and what stands there instead. */
interface Change {
  file: string;
  place: string;
  change: string;
}

export const brokenBuilds: BrokenBuild[] = [
  {
    breaks: 'skips every 1,000th delivery',
    faults: [],
    expected: ['LOST_GAP', 'LOST_TAIL', 'GAP'],
    make: broken({
      file: 'hub.js',
      place: '        this.#send(room, frame);\n        room.sequence++;',
      change: `        globalThis.due = (globalThis.due ?? 0) + room.members - room.aside;
        if (globalThis.due >= 1000) globalThis.due -= 1000;
        else this.#send(room, frame);
        room.sequence++;`,
    }),
  },
  {
    breaks: 'forgets the key of a publish',
    faults: ['replies swallowed'],
    expected: ['DOUBLE'],
    make: broken(
      { file: 'publish.lua', place: "'NX', ", change: '' },
      { file: 'history-append.lua', place: 'if first then', change: 'if false then' },
    ),
  },
  {
    breaks: 'ignores the epoch',
    faults: ['Redis emptied'],
    expected: ['EPOCH', 'LOST_GAP', 'DIVERGE', 'BAD_RESUME'],
    make: broken(
      { file: 'continuation.js', place: 'if (from.epoch !== epoch) {', change: 'if (false) {' },
      {
        file: 'feed.js',
        place: 'cursor.epoch === here.epoch && cursor.offset <= page.top',
        change: 'cursor.offset <= page.top',
      },
    ),
  },
];

function broken(...changes: Change[]): () => string {
  return () => {
    const folder = mkdtempSync(join(tmpdir(), 'roomcast-broken-'));
    onCleanup(() => rmSync(folder, { recursive: true, force: true }));
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
    cpSync(join(root, 'package.json'), join(folder, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    const gateway = join(folder, 'dist/gateway');
    for (const change of changes) apply(gateway, change);
    return join(gateway, 'main.js');
  };
}

function apply(gateway: string, { file, place, change }: Change): void {
  const path = join(gateway, file);
  const [before, after, ...more] = readFileSync(path, 'utf8').split(place);
  if (after === undefined || more.length > 0) {
    throw new Error(`dist/gateway/${file} must hold this once, to be broken there: ${place}`);
  }
  writeFileSync(path, `${before}${change}${after}`);
}
