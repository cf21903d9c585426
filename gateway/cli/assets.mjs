/**
 * Last step of `npm run build`: copies Lua scripts and pages, which the compiler does not copy, beside the compiled program,
 * and makes one file of the client library for browsers.
 */
import { cpSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));
const isAsset = (path) => statSync(path).isDirectory() || /\.(lua|html|css|js|svg)$/.test(path);

cpSync(folder('../'), folder('../../dist/gateway/'), { recursive: true, filter: isAsset });
buildSync({
  entryPoints: [folder('../../dist/shared/client/client.js')],
  outfile: folder('../../dist/client.js'),
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
});
