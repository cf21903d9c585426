/**
 * A Redis as a container, for machines with Docker and no redis-server. Same contract as the process.
 *
 * Owns the container and its fixed host port (a port chosen by the engine would change with every start). The engine
 * publishes the port on all interfaces, so Redis requires a password made for this run.
 */
import { randomBytes } from 'node:crypto';
import { GenericContainer, getContainerRuntimeClient, Wait } from 'testcontainers';
import { succeeds } from './command.ts';
import { freePort } from './free-port.ts';
import { type OwnRedis, untilRedisAnswers } from './redis-process.ts';

const image = 'redis:7-bookworm';
const engineTimeoutMs = 10_000;
const pullTimeoutMs = 60_000;

/** True if the engine answers and the image exists or could be pulled. */
export async function dockerHasRedis(): Promise<boolean> {
  return (
    (await succeeds('docker', ['info'], engineTimeoutMs)) &&
    ((await succeeds('docker', ['image', 'inspect', image], engineTimeoutMs)) ||
      (await succeeds('docker', ['pull', '--quiet', image], pullTimeoutMs)))
  );
}

/** Starts a Redis container; requires `dockerHasRedis`. */
export async function launchRedisContainer(): Promise<OwnRedis> {
  const port = await freePort();
  const password = randomBytes(16).toString('hex');
  const started = await new GenericContainer(image)
    .withExposedPorts({ container: 6379, host: port })
    .withCommand(['redis-server', '--save', '', '--appendonly', 'no', '--requirepass', password])
    .withWaitStrategy(Wait.forLogMessage('Ready to accept connections'))
    .start();
  const container = (await getContainerRuntimeClient()).container.getById(started.getId());
  const url = `redis://:${password}@${started.getHost()}:${port}`;
  await untilRedisAnswers(url, 'the Redis container');
  return {
    url,
    port,
    async kill() {
      await container.kill({ signal: 'SIGKILL' });
    },
    async start() {
      await container.start();
      await untilRedisAnswers(url, 'the Redis container');
    },
    async pause() {
      await container.pause();
    },
    async resume() {
      await container.unpause();
    },
    async stop() {
      await container.remove({ force: true, v: true });
    },
  };
}
