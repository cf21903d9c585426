/**
 * Starts Centrifugo for a measurement, with a configuration of its own, and says so like the other servers. It ends with it.
 *
 * Everything that it is not told is as by default. CENTRIFUGO is its program, ENGINE `redis` or `memory`, SECRET that of the
 * tokens. Channels of the namespace `kept` keep HISTORY_SIZE messages.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import { endWithThisProcess } from '../../support/lifeline.ts';
import { until } from '../../support/until.ts';

const {
  CENTRIFUGO: program = '',
  ENGINE: engine,
  SECRET: secret,
  HISTORY_SIZE: historySize,
  REDIS_URL: redis,
} = process.env;
const startDeadlineMs = 10_000;

const port = await freePort();
const rights = { allow_subscribe_for_client: true, allow_publish_for_client: true };
const history = { history_size: Number(historySize), history_ttl: '300s', force_recovery: true };
const configuration = {
  http_server: { address: '127.0.0.1', port: String(port) },
  health: { enabled: true },
  usage_stats: { disabled: true },
  log: { level: 'error' },
  client: { token: { hmac_secret_key: secret } },
  channel: { without_namespace: rights, namespaces: [{ name: 'kept', ...rights, ...history }] },
  engine: engine === 'redis' ? { type: 'redis', redis: { address: redis } } : { type: 'memory' },
};
const folder = mkdtempSync(join(tmpdir(), 'roomcast-centrifugo-'));
const file = join(folder, 'config.json');
writeFileSync(file, JSON.stringify(configuration));

const child = spawn(program, ['--config', file], { stdio: ['ignore', 'inherit', 'inherit'] });
endWithThisProcess(child);
const exited = once(child, 'exit').finally(() => rmSync(folder, { recursive: true, force: true }));
process.once('SIGTERM', () => child.kill('SIGTERM'));
const listens = async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok;
const early = exited.then(([code]) => {
  throw new Error(`Centrifugo ended before it listened, with ${code}`);
});
await Promise.race([until(listens, startDeadlineMs, 'Centrifugo listens'), early]);
early.catch(() => undefined);
process.stdout.write(`${JSON.stringify({ msg: 'listening', port, pid: child.pid })}\n`);
const [code] = await exited;
process.exitCode = code ?? 0;
