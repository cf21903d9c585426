/**
 * First step of `npm run build`: checks that the compiler is installed. npm leaves it out of a production installation.
 *
 * Plain JavaScript, because it runs before anything is built.
 */
import { existsSync } from 'node:fs';

if (!existsSync(new URL('../../node_modules/.bin/tsc', import.meta.url))) {
  process.stderr.write(
    'TypeScript is not installed, and the build needs it: npm leaves out development dependencies if NODE_ENV is ' +
      'production. Install them with `npm ci --include=dev`; after the build, `npm prune --omit=dev` removes them again.\n',
  );
  process.exit(1);
}
