/**
 * What `npm run build` does first: it sees that the compiler is there, which npm leaves out of an installation for
 * production.
 *
 * In plain JavaScript, so that it is there before anything was built.
 */
import { existsSync } from 'node:fs';

if (!existsSync(new URL('../../node_modules/.bin/tsc', import.meta.url))) {
  process.stderr.write(
    'TypeScript is not installed, and the build needs it: npm leaves out development dependencies where NODE_ENV is ' +
      'production. Install them with `npm ci --include=dev`; after the build `npm prune --omit=dev` takes them out again.\n',
  );
  process.exit(1);
}
