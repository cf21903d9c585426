/**
 * `roomcast load`: a load on the nodes behind a URL, by the project's one load client (gateway/cli/load/client.ts), which the
 * benchmarks use too.
 *
 * Owns the tokens and rooms of the load, and what is printed. Each lost, doubled or reordered message is a fault.
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { ConfigError } from '../config.ts';
import { type Environment, readSetting } from '../environment.ts';
import { settings } from '../settings.ts';
import { Failure, WrongUse } from './failure.ts';
import type { Target } from './link.ts';
import { LoadClient, type Trial } from './load/client.ts';
import type { Credentials } from './load/dialects.ts';
import type { Place } from './load/plan.ts';
import { table } from './output.ts';
import { showProgress } from './progress.ts';

export interface LoadOptions {
  connections: number;
  rooms: number;
  /** Messages per second. */
  rate: number;
  seconds: number;
  bytes: number;
  roomPrefix?: string;
  json?: true;
}

export interface LoadResult extends Pick<Trial, 'lost' | 'duplicates' | 'reordered' | 'misrouted'> {
  connections: number;
  rooms: number;
  roomsPerConnection: number;
  connectSeconds: number;
  sentPerSecond: number;
  deliveriesPerSecond: number;
  latencyMs: Record<'p50' | 'p90' | 'p99' | 'p999' | 'max', number>;
  /** Null without one. */
  fault: string | null;
}

/** The first second after connecting is not measured: the nodes still collect the garbage of it. */
const warmSeconds = 1;
const mostThreads = 4;
/** Below the default of GATEWAY_PUBLISH_RATE, the messages per second of one connection. */
const ratePerPublisher = 40;

/** Rejects with a Failure, a WrongUse or a ConfigError. */
export async function load(target: Target, options: LoadOptions, env: Environment): Promise<LoadResult> {
  const { connections, rooms, rate, seconds, bytes } = options;
  const place = placeOf(target, options.roomPrefix, env);
  const { port } = new URL(target.url);
  const nodePort = Number(port) || (place.secure ? 443 : 80);
  // Each room has a member.
  const roomsPerConnection = Math.ceil(rooms / connections);
  const client = new LoadClient({
    audience: { place, ports: [nodePort], connections, rooms, roomsPerConnection },
    publisherPort: nodePort,
    publishers: Math.min(rooms, Math.ceil(rate / ratePerPublisher)),
    payloadBytes: bytes,
    threads: Math.min(mostThreads, availableParallelism(), connections),
  });
  let progress = showProgress(`connecting ${connections} members`);
  try {
    const connected = await client.connect().catch((error: Error) => {
      throw new Failure(`${error.message}.`);
    });
    progress.end();
    progress = showProgress(`publishing ${rate} messages/s`, warmSeconds + seconds);
    const trial = await client.run({ messagesPerSecond: rate, warmSeconds, seconds });
    return resultOf(trial, { connections, rooms, roomsPerConnection, connectSeconds: connected.seconds });
  } finally {
    progress.end();
    await client.close();
  }
}

function placeOf({ url, token }: Target, roomPrefix: string | undefined, env: Environment): Place {
  const { hostname, protocol, pathname, search } = new URL(url);
  const run = randomBytes(3).toString('hex');
  return {
    dialect: 'gateway',
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    secure: protocol === 'wss:',
    path: pathname + search,
    userPrefix: `load-${run}-`,
    roomPrefix: roomPrefix ?? `load:${run}:`,
    credentials: credentialsOf(token, env),
  };
}

function credentialsOf(token: string | undefined, env: Environment): Credentials {
  const mistakes: string[] = [];
  const secret = readSetting(env, settings.jwtSecret, mistakes);
  const iss = readSetting(env, settings.jwtIssuer, mistakes);
  const aud = readSetting(env, settings.jwtAudience, mistakes)?.[0];
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  if (secret !== undefined) return { secret, claims: { ...(iss && { iss }), ...(aud && { aud }) } };
  if (token !== undefined) return { token };
  throw new WrongUse(
    'set GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE) to the secret of the nodes, or give --token.',
  );
}

function resultOf(
  trial: Trial,
  shape: Pick<LoadResult, 'connections' | 'rooms' | 'roomsPerConnection' | 'connectSeconds'>,
): LoadResult {
  const { lost, duplicates, reordered, misrouted, sentPerSecond, deliveriesPerSecond, fault } = trial;
  const ms = (us: number) => Math.round(us) / 1000;
  return {
    ...shape,
    sentPerSecond,
    deliveriesPerSecond,
    ...{ lost, duplicates, reordered, misrouted },
    latencyMs: {
      ...{ p50: ms(trial.p50Us), p90: ms(trial.p90Us), p99: ms(trial.p99Us) },
      ...{ p999: ms(trial.p999Us), max: ms(trial.maxUs) },
    },
    fault: fault ?? null,
  };
}

export function loadTable(result: LoadResult): string {
  const { latencyMs } = result;
  const count = (value: number) => value.toLocaleString('en-US', { maximumFractionDigits: 1 });
  const rows = [
    ['connections', `${count(result.connections)}, in ${count(result.connectSeconds)} s`],
    ['rooms', `${count(result.rooms)}, ${count(result.roomsPerConnection)} for each connection`],
    ['published', `${count(result.sentPerSecond)}/s`],
    ['delivered', `${count(result.deliveriesPerSecond)}/s`],
    ['lost', count(result.lost)],
    ['twice', count(result.duplicates)],
    ['out of order', count(result.reordered)],
    ['wrong room', count(result.misrouted)],
  ];
  const latencies = Object.values(latencyMs).map((ms) => ms.toFixed(1));
  return `${table(rows)}\n${table([
    ['latency, ms', 'p50', 'p90', 'p99', 'p99.9', 'max'],
    ['', ...latencies],
  ])}`;
}
