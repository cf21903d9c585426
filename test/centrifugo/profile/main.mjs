/**
 * A node for the tests of centrifuge-js, as they are: at port 8000, with settings that production refuses (README.md).
 *
 * `node main.mjs` runs it until Ctrl+C. `node main.mjs <checkout of centrifuge-js>` runs their tests as well, and holds each to
 * cases.json. Exit code 1: a case fails that is said to pass, or one is not listed.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [checkout] = process.argv.slice(2);

const apiKey = randomBytes(16).toString('hex');
const node = spawn(process.execPath, [here('../../../dist/gateway/main.js')], {
  env: {
    PATH: process.env.PATH,
    GATEWAY_REDIS_URL: process.env.GATEWAY_REDIS_URL ?? '',
    GATEWAY_REDIS_PREFIX: `profile-${process.pid}`,
    GATEWAY_ROOMS_FILE: here('rooms.json'),
    GATEWAY_PORT: '0',
    GATEWAY_ADMIN_PORT: '0',
    GATEWAY_API_KEY: apiKey,
    GATEWAY_CENTRIFUGO: 'true',
    GATEWAY_ANONYMOUS: 'true',
    GATEWAY_INSECURE: 'true',
    GATEWAY_JWT_SECRET: 'secret',
  },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const started = [node];
const end = () => {
  for (const program of started) program.kill();
};
process.on('SIGINT', end).on('SIGTERM', end);

const { port, adminPort } = await new Promise((begin, reject) => {
  createInterface({ input: node.stdout }).on('line', (line) => {
    process.stderr.write(`${line}\n`);
    if (line.includes('"msg":"listening"')) begin(JSON.parse(line));
  });
  node.on('exit', (code) => reject(new Error(`the node ended with ${code} before it listened`)));
});
const haproxy = spawn('haproxy', ['-db', '-f', here('haproxy.cfg')], {
  env: { PATH: process.env.PATH, PROFILE_PORT: port, PROFILE_ADMIN_PORT: adminPort, PROFILE_API_KEY: apiKey },
  stdio: 'inherit',
});
haproxy.on('error', (error) => {
  process.stderr.write(`haproxy does not start: ${error.message}; apt-get install haproxy\n`);
  process.exitCode = 1;
  end();
});
started.push(haproxy);
const ended = Promise.all(started.map((program) => once(program, 'close')));
if (checkout === undefined) process.stdout.write('http://localhost:8000\n');
else {
  const cases = JSON.parse(readFileSync(here('cases.json'), 'utf8'));
  const files = Object.keys(cases).filter((file) => Object.values(cases[file]).includes('passes'));
  const outcome = await runCases(resolve(checkout), files);
  const wrong = differences(cases, outcome);
  const results = Object.values(outcome).flatMap(Object.values);
  const passed = results.filter((result) => result === 'passed').length;
  process.stdout.write([...wrong, `${passed} cases pass, ${wrong.length} are not as listed`, ''].join('\n'));
  if (wrong.length > 0) process.exitCode = 1;
  end();
}
await ended;

/** The result of each case: by file, by name. */
async function runCases(folder, files) {
  const directory = mkdtempSync(join(tmpdir(), 'roomcast-profile-'));
  const output = join(directory, 'results.json');
  const outcome = {};
  // One file at a time: all use the same rooms, and what a case leaves behind must not fail another file.
  for (const file of files) {
    const options = ['--forceExit', '--json', `--outputFile=${output}`, '--runTestsByPath', `src/${file}`];
    const jest = spawn(process.execPath, ['node_modules/jest/bin/jest.js', ...options], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await once(jest, 'close');
    const [{ assertionResults }] = JSON.parse(readFileSync(output, 'utf8')).testResults;
    outcome[file] = Object.fromEntries(assertionResults.map(({ fullName, status }) => [fullName, status]));
    rmSync(output);
  }
  rmSync(directory, { recursive: true });
  return outcome;
}

/** A sentence for each case that is not as cases.json says. What they skip themselves (one case on Node 22) is as it says. */
function differences(cases, outcome) {
  return Object.entries(outcome).flatMap(([file, results]) => {
    const names = new Set([...Object.keys(cases[file]), ...Object.keys(results)]);
    return [...names].flatMap((name) => {
      const [listed, result = 'not there'] = [cases[file][name], results[name]];
      if (listed === undefined) return [`${file}: ${name}: ${result}, and not in cases.json`];
      return listed === 'passes' && !['passed', 'pending'].includes(result) ? [`${file}: ${name}: ${result}`] : [];
    });
  });
}
