/**
 * A RabbitMQ of a test's own: `rabbitmq-server` on free ports of the loopback address, with folders and a node name of its own. It
 * is never the service of the machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from 'rabbitmq-client';
import { onCleanup } from './cleanup.ts';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { until } from './until.ts';

/** Not the script on the PATH, which becomes another user. */
const program = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const startDeadlineMs = 90_000;

export const hasRabbit = existsSync(program);

export interface OwnRabbit {
  url: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again, with what it has kept. */
  start(): Promise<void>;
}

/** `tls`: then it speaks nothing else, with this self-signed certificate. */
export async function ownRabbit(tls?: { certificate: string; key: string }): Promise<OwnRabbit> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-rabbit-'));
  const [port, distribution] = [await freePort(), await freePort()];
  const inside = (name: string) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  const configuration = join(folder, 'rabbitmq.conf');
  writeFileSync(configuration, ['loopback_users = none', ...listenersOf(port, tls), ''].join('\n'));
  writeFileSync(join(folder, 'plugins'), '[].');
  writeFileSync(join(folder, 'environment'), '');
  const home = inside('home');
  writeFileSync(join(home, '.erlang.cookie'), 'ROOMCASTTEST');
  chmodSync(join(home, '.erlang.cookie'), 0o400);
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    RABBITMQ_NODENAME: `roomcast${port}@localhost`,
    RABBITMQ_BASE: folder,
    RABBITMQ_MNESIA_BASE: inside('mnesia'),
    RABBITMQ_LOG_BASE: inside('log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_CONFIG_FILE: configuration,
    RABBITMQ_CONF_ENV_FILE: join(folder, 'environment'),
    RABBITMQ_DIST_PORT: `${distribution}`,
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    ERL_CRASH_DUMP: join(folder, 'erl_crash.dump'),
    // Without epmd, which would be shared with others and outlive the test.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-erl_epmd_port ${distribution} -start_epmd false`,
  };
  const url = `${tls ? 'amqps' : 'amqp'}://guest:guest@127.0.0.1:${port}`;
  let server: ChildProcess | undefined;
  const kill = async () => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    // The program is a script that waits for the broker: both have to go.
    process.kill(-(server.pid ?? 0), 'SIGKILL');
    await exited;
    await until(async () => !(await takesConnections(port)), startDeadlineMs, 'the port of RabbitMQ is closed');
  };
  const start = async () => {
    server = spawn(program, [], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    endWithThisProcess(server, true);
    let output = '';
    for (const stream of [server.stdout, server.stderr]) stream?.on('data', (chunk) => (output += chunk));
    await until(() => answers(url, tls?.certificate), startDeadlineMs, 'RabbitMQ answers').catch((error: Error) => {
      throw new Error(output, { cause: error });
    });
  };
  onCleanup(async () => {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await start();
  return { url, kill, start };
}

function listenersOf(port: number, tls?: { certificate: string; key: string }): string[] {
  if (tls === undefined) return [`listeners.tcp.default = 127.0.0.1:${port}`];
  const { certificate, key } = tls;
  return [
    'listeners.tcp = none',
    `listeners.ssl.default = 127.0.0.1:${port}`,
    ...[`cacertfile = ${certificate}`, `certfile = ${certificate}`, `keyfile = ${key}`].map((l) => `ssl_options.${l}`),
    'ssl_options.verify = verify_none',
    'ssl_options.fail_if_no_peer_cert = false',
  ];
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.destroy());
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(true));
  });
}

async function answers(url: string, certificate?: string): Promise<boolean> {
  const tls = certificate === undefined ? {} : { tls: { ca: readFileSync(certificate) } };
  const connection = new Connection({ url, connectionTimeout: 2_000, ...tls });
  // A failure rejects `onConnect` too.
  connection.on('error', () => undefined);
  try {
    await connection.onConnect(2_000, true);
    return true;
  } finally {
    connection.unsafeDestroy();
  }
}
