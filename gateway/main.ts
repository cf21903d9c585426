/**
 * The process: reads the environment, starts a node, obeys signals.
 */
import { ConfigError, readConfig } from './config.ts';
import type { Demo } from './demo.ts';
import { obeySignals } from './signals.ts';
import { createLog } from './telemetry/log.ts';
import { standardOutput } from './telemetry/output.ts';

/** At the end, longest wait for a slow reader of standard output. */
const lastLinesMs = 2_000;

const [major = 0] = process.versions.node.split('.').map(Number);
if (major !== 20 && major !== 22) {
  fail(`Roomcast needs Node 22 or 20, and this is ${process.version}: uWebSockets.js has no binary for newer ones.`);
}

const config = configuration();
const log = createLog(config.logLevel);
process.on('exit', () => standardOutput.flush());
process.on('unhandledRejection', (error) => log.error({ error: String(error) }, 'unhandled rejection'));
process.on('uncaughtException', (error) => {
  log.fatal({ error: error.stack }, 'uncaught exception; the process ends');
  process.exit(1);
});
obeySignals(
  {
    stop: (signal) => void stop(signal),
    endNow: () => process.exit(1),
    reload: () => void starting.then(({ reload }) => reload()),
    ignored: (signal) => log.info({ signal }, 'signal ignored'),
  },
  config.inProduction,
);
for (const warning of config.warnings) log.warn(warning);

// Imported only now: it loads uWebSockets.js, which a wrong version of Node cannot load.
const starting = import('./gateway.ts')
  .then(({ startGateway }) => startGateway(config, log))
  .catch((error: Error) => fail(error.message));
const { port, adminPort, demo } = await starting;
log.info({ node: config.nodeId, host: config.host, port, adminHost: config.adminHost, adminPort }, 'listening');
if (demo !== undefined) await greet(demo);

/** Prints what a newcomer needs to try it. */
async function greet(demo: Demo): Promise<void> {
  standardOutput.write(
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

/** Stops the node; if it is still starting, as soon as it has started. */
async function stop(signal: string): Promise<void> {
  log.info({ signal }, 'stopping; another signal, at least a second later, ends the process at once');
  try {
    await (await starting).stop();
    log.info('stopped');
  } catch (error) {
    log.fatal({ error: (error as Error).stack }, 'the node could not be stopped; the process ends');
    process.exitCode = 1;
  }
  await standardOutput.drained(lastLinesMs);
  process.exit();
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
