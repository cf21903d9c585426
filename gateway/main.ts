/**
 * The process: environment in, a node out, signals obeyed.
 */
import { ConfigError, readConfig } from './config.ts';
import type { Demo } from './demo.ts';
import { createLog } from './log.ts';

const [major = 0] = process.versions.node.split('.').map(Number);
if (major !== 20 && major !== 22) {
  fail(`Roomcast needs Node 22 or 20, and this is ${process.version}: uWebSockets.js has no binary for newer ones.`);
}
// Loads uWebSockets.js, so only now.
const { startGateway } = await import('./gateway.ts');

const config = configuration();
const log = createLog(config.logLevel);
for (const warning of config.warnings) log.warn(warning);

process.on('unhandledRejection', (error) => log.error({ error: String(error) }, 'unhandled rejection'));
process.on('uncaughtException', (error) => {
  log.fatal({ error: error.stack }, 'uncaught exception; the process ends');
  process.exit(1);
});

let asked = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void shutDown(signal));

const starting = startGateway(config, log).catch((error: Error) => fail(error.message));
const { port, adminPort, demo } = await starting;
log.info({ node: config.nodeId, host: config.host, port, adminHost: config.adminHost, adminPort }, 'listening');
if (demo !== undefined) await greet(demo);

/** What a newcomer needs to try it. */
async function greet(demo: Demo): Promise<void> {
  process.stdout.write(
    [
      '',
      'Development mode: no key is configured, so a secret was made for this run.',
      `  Demo page: http://127.0.0.1:${port}/ (open it in two tabs)`,
      `  Token:     ${await demo.token('demo')}`,
      '  Try it, in another terminal in this folder:',
      '',
      await demo.example(port),
      '',
      '',
    ].join('\n'),
  );
}

/** Also while the node is still starting: it is stopped as soon as it has started. */
async function shutDown(signal: string): Promise<void> {
  if (asked) process.exit(1);
  asked = true;
  log.info({ signal }, 'stopping; a second signal ends the process at once');
  await (await starting).stop();
  log.info('stopped');
  process.exit(0);
}

function configuration() {
  try {
    return readConfig(process.env);
  } catch (error) {
    return fail(error instanceof ConfigError ? error.message : String(error));
  }
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
