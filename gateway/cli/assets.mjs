/**
 * Last step of `npm run build`: copies Lua scripts and pages, which the compiler does not copy, beside the compiled program,
 * makes one file of the client library for browsers, and puts uPlot, which draws the charts, beside the dashboard.
 */
import { cpSync, readFileSync, statSync } from 'node:fs';
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

const { version } = JSON.parse(readFileSync(folder('../../node_modules/uplot/package.json'), 'utf8'));
const notice = `/*! uPlot ${version}, Copyright (c) Leon Sorokin, MIT licence: https://github.com/leeoniya/uPlot */`;
for (const [source, name] of [
  ['uPlot.esm.js', 'uplot.js'],
  ['uPlot.min.css', 'uplot.css'],
]) {
  buildSync({
    entryPoints: [folder(`../../node_modules/uplot/dist/${source}`)],
    outfile: folder(`../../dist/gateway/pages/dashboard/${name}`),
    minify: true,
    legalComments: 'none',
    banner: { [name.endsWith('.js') ? 'js' : 'css']: notice },
  });
}
