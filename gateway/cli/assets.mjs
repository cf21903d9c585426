/**
 * What `npm run build` does last: it puts beside the compiled program what the compiler does not copy, Lua scripts and pages.
 */
import { cpSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));
const isAsset = (path) => statSync(path).isDirectory() || /\.(lua|html)$/.test(path);

cpSync(folder('../'), folder('../../dist/gateway/'), { recursive: true, filter: isAsset });
