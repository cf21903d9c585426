/**
 * Last step of `npm run build`: copies Lua scripts and pages, which the compiler does not copy, beside the compiled program.
 */
import { cpSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));
const isAsset = (path) => statSync(path).isDirectory() || /\.(lua|html)$/.test(path);

cpSync(folder('../'), folder('../../dist/gateway/'), { recursive: true, filter: isAsset });
