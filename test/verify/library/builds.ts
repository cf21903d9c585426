/**
 * The built client library, and copies of it that break a promise on purpose. In the same run as the real one, by the same
 * faults, the judge has to find each of them.
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Change, changedLibrary } from '../../support/changed-build.ts';
import type { ViolationKind } from '../publications.ts';

/** What `import` of `roomcast/client` brings. */
export type Library = typeof import('../../../shared/client/client.ts');

const builtLibrary = fileURLToPath(new URL('../../../dist/shared/client/client.js', import.meta.url));

export function loadLibrary(program = builtLibrary): Promise<Library> {
  return import(/* @vite-ignore */ pathToFileURL(program).href);
}

interface BrokenLibrary {
  breaks: string;
  /** One of these violations must be found. */
  expected: ViolationKind[];
  change: Change;
}

export const brokenLibraries: BrokenLibrary[] = [
  {
    breaks: 'tells twice what two connections bring',
    expected: ['DUP'],
    change: {
      file: 'session/subscription.js',
      place: '            if (this.#seen.has(id))\n                return true;\n',
      change: '',
    },
  },
  {
    breaks: 'resumes from nowhere',
    expected: ['BAD_RESUME'],
    change: { file: 'session/subscription.js', place: ', since: this.position }', change: ' }' },
  },
  {
    breaks: 'says nothing of what it missed',
    expected: ['LOST_GAP'],
    change: { file: 'session/subscription.js', place: "? 'reconnect' : undefined", change: '? undefined : undefined' },
  },
  {
    breaks: 'connects twice after a loss',
    expected: ['CLIENT'],
    change: {
      file: 'session/session.js',
      place: '    #connected(connection) {',
      change: '    #connected(connection) {\n        if (this.#live.size === 0) this.#dialer.move(0);',
    },
  },
];

export function loadBroken({ change }: BrokenLibrary): Promise<Library> {
  return loadLibrary(changedLibrary(change));
}
