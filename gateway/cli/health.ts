/**
 * `roomcast healthcheck`: asks the node of this environment whether it lives.
 *
 * It reads only the two settings of the admin port: a mistake elsewhere, in room rules that are just being edited for
 * instance, does not make a node unhealthy that goes on with what it read before.
 */
import { isIPv6 } from 'node:net';
import { ConfigError, type Environment } from '../config.ts';
import { readSetting } from '../environment.ts';
import { settings } from '../settings.ts';
import { Failure } from './failure.ts';

const timeoutMs = 5_000;
/** Addresses that mean all addresses of the machine, and the one of them to ask. */
const loopback: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Resolves with the address that answered. Rejects with a ConfigError or a Failure. */
export async function checkHealth(env: Environment): Promise<string> {
  const url = `${adminUrl(env)}/healthz`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) }).catch((error: Error) => {
    const cause = (error.cause ?? error) as NodeJS.ErrnoException;
    throw new Failure(`${url} does not answer: ${cause.message || cause.code}; the node is not running, or hangs.`);
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Failure(`${url} answered HTTP ${answer.status}: that is no healthy node.`);
  return url;
}

/** The admin port of the node of this environment. Throws a ConfigError or a Failure. */
export function adminUrl(env: Environment): string {
  const mistakes: string[] = [];
  const port = readSetting(env, settings.adminPort, mistakes);
  const setHost = readSetting(env, settings.adminHost, mistakes);
  if (port === undefined || setHost === undefined) throw new ConfigError(mistakes);
  if (port === 0) {
    throw new Failure('GATEWAY_ADMIN_PORT is 0: the node took a free port, which nobody else knows; set a number.');
  }
  const host = loopback[setHost] ?? setHost;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
