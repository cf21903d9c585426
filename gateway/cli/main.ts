/**
 * The command line `roomcast`, and the only file that imports commander.
 *
 * Owns the commands, their options, defaults and help, and how they end: 0, 1 with a sentence for what failed, 2 with one for
 * wrong use. What a command does stands in a file of its own, which is loaded only when it is called.
 */
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../config.ts';
import { version } from '../version.ts';
import {
  readApiUrl,
  readEndpoint,
  readNumber,
  readPosition,
  readRoom,
  readUser,
  readWholeNumber,
} from './arguments.ts';
import type { ApiOptions } from './cluster/api.ts';
import type { DisconnectOptions } from './cluster/disconnect.ts';
import type { ConnectionsOptions, ListOptions, RoomsOptions } from './cluster/lists.ts';
import { Failure, WrongUse } from './failure.ts';
import type { Target } from './link.ts';
import type { LoadOptions } from './load.ts';
import { print, printJson } from './output.ts';
import { descriptorsKept } from './plan/capacity.ts';
import type { PlanOptions } from './plan/workload.ts';
import type { TailOptions } from './tail.ts';
import type { TokenOptions } from './token.ts';

const examples = (...lines: string[]) => ['', 'Examples:', ...lines.map((line) => `  ${line}`)].join('\n');

const program = new Command('roomcast')
  .description('A pub/sub gateway for WebSockets: starts a node, and helps those who run some.')
  .version(version)
  .configureOutput({ writeOut: print })
  // Exit code 2 for every mistake in the command line. Subcommands inherit this.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .addHelpText('after', '\nEvery command: docs/cli.md. Exit codes: 0, 1 failed, 2 wrong use.');

program
  .command('serve')
  .description('Starts a node with the settings in the environment, as `npm start` does.')
  .addHelpText(
    'after',
    examples('roomcast serve', 'GATEWAY_PORT=9000 GATEWAY_REDIS_URL=redis://127.0.0.1 roomcast serve'),
  )
  .action(async () => void (await import('../main.ts')));

program
  .command('check-config')
  .description('Prints every mistake in the settings of the environment, and every setting with its value and source.')
  .option('--json', 'print JSON')
  .addHelpText(
    'after',
    `${examples('roomcast check-config', 'GATEWAY_PORT=http roomcast check-config --json')}

Exits with 1 if a node would not start. Secrets are printed as ***. It connects to nothing.`,
  )
  .action(async (options: { json?: true }) => {
    const { checkConfig, settingsTable } = await import('./check.ts');
    const { mistakes, warnings, settings } = checkConfig(process.env);
    if (options.json) printJson({ mistakes, warnings, settings });
    else print(settingsTable(settings));
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
    if (mistakes.length > 0) throw new ConfigError(mistakes);
  });

program
  .command('healthcheck')
  .description('Asks /healthz of the admin port whether the node of this environment lives.')
  .addHelpText(
    'after',
    `${examples('roomcast healthcheck')}

Takes GATEWAY_ADMIN_HOST and GATEWAY_ADMIN_PORT as the node does.`,
  )
  .action(async () => {
    const { checkHealth } = await import('./health.ts');
    print(`${await checkHealth(process.env)} answers\n`);
  });

program
  .command('token')
  .description('Prints a token that the nodes of this environment accept, signed with GATEWAY_JWT_SECRET(_FILE).')
  .requiredOption('--user <user>', 'the sub claim, 1 to 200 bytes')
  .option('--rooms <json>', 'the rooms claim; without it only the room rules grant access')
  .option('--info <json>', 'the info claim, any JSON up to 512 bytes: presence shows it')
  .addOption(whole('--ttl <seconds>', 'seconds until the token expires', 1, 1e12).default(3600))
  .addHelpText(
    'after',
    examples(
      'roomcast token --user alice',
      `roomcast token --user alice --ttl 900 --rooms '{"chat:*": ["subscribe", "publish"]}'`,
    ),
  )
  .action(async (options: TokenOptions) => {
    const { makeToken } = await import('./token.ts');
    print(`${await makeToken(options, process.env)}\n`);
  });

client(program.command('publish'))
  .description('Publishes a message, and waits until it is acknowledged.')
  .addArgument(new Argument('<room>', 'its name').argParser(checked(readRoom)))
  .argument('<data>', 'JSON, or text that is sent as a string')
  .option('--key <key>', 'makes it safe to repeat: one message of this key is delivered, 1 to 128 bytes')
  .option('--text', 'send <data> as a string, whatever it is')
  .option('--json', 'print JSON')
  .addHelpText(
    'after',
    examples(
      'roomcast publish chat:lobby hello',
      `roomcast publish orders:7 '{"state": "paid"}' --key order-7-paid`,
      'roomcast publish chat:lobby --text 12',
    ),
  )
  .action(async (name: string, data: string, options: Target & { key?: string; text?: true; json?: true }) => {
    const { dataOf, placeOf, publish } = await import('./publish.ts');
    const message = { room: name, data: dataOf(data, options.text ?? false), key: options.key };
    const { type, id, ...ok } = await publish(targetOf(options), message);
    if (options.json) printJson({ room: name, ...ok });
    else print(`${ok.duplicate ? 'was already published' : 'published'} to ${placeOf(name, ok)}\n`);
  });

client(program.command('tail'))
  .description('Prints the messages of a room as they come, with joins, leaves and gaps. Reconnects and resumes.')
  .addArgument(new Argument('<room>', 'its name').argParser(checked(readRoom)))
  .addOption(
    new Option('--since <epoch:offset>', 'begin behind this position, in a room with history').argParser(
      checked(readPosition),
    ),
  )
  .addOption(whole('--count <number>', 'end after so many messages', 1, 1e12))
  .option('--json', 'print frames as JSON lines, and the state of the connection too')
  .addHelpText(
    'after',
    `${examples(
      'roomcast tail chat:lobby',
      'roomcast tail chat:lobby --since 5f2c9a:120 --json',
      'roomcast tail chat:lobby --count 1',
    )}

A line is: time, offset (or id), user, data. Where messages may be missing, a line begins with "-- gap".`,
  )
  .action(async (name: string, options: Target & TailOptions) => {
    const { tail } = await import('./tail.ts');
    await tail(targetOf(options), name, options);
    process.exit();
  });

backend(program.command('rooms'))
  .description('Lists the rooms with members, on all nodes.')
  .option('--prefix <text>', 'only rooms that begin with it')
  .addOption(limit('rooms'))
  .option('--json', 'print JSON')
  .addHelpText('after', examples('roomcast rooms', 'roomcast rooms --prefix chat: --limit 10k --json'))
  .action(async (options: RoomsOptions) => {
    const { listRooms } = await import('./cluster/lists.ts');
    await listRooms(options, process.env);
  });

backend(program.command('members'))
  .description('Lists the connections in a room with presence, on all nodes.')
  .addArgument(new Argument('<room>', 'its name').argParser(checked(readRoom)))
  .addOption(limit('connections'))
  .option('--json', 'print JSON')
  .addHelpText('after', examples('roomcast members chat:lobby', 'roomcast members chat:lobby --limit 10 --json'))
  .action(async (name: string, options: ListOptions) => {
    const { listMembers } = await import('./cluster/lists.ts');
    await listMembers(name, options, process.env);
  });

backend(program.command('connections'))
  .description('Lists connections, on all nodes.')
  .addOption(new Option('--user <user>', 'only those of this user').argParser(checked(readUser)))
  .addOption(new Option('--room <room>', 'only members of this room').argParser(checked(readRoom)))
  .option('--node <node>', 'only those of this node')
  .addOption(limit('connections'))
  .option('--json', 'print JSON')
  .addHelpText('after', examples('roomcast connections --user alice', 'roomcast connections --node node1 --limit 20'))
  .action(async (options: ConnectionsOptions) => {
    const { listConnections } = await import('./cluster/lists.ts');
    await listConnections(options, process.env);
  });

backend(program.command('disconnect'))
  .description('Closes all connections of a user, on all nodes.')
  .addArgument(new Argument('<user>', 'the sub claim of the tokens').argParser(checked(readUser)))
  .addOption(whole('--block <seconds>', 'keep the user out for so long; 0 ends a block', 0, 31_536_000))
  .option('--json', 'print JSON')
  .addHelpText('after', examples('roomcast disconnect alice', 'roomcast disconnect alice --block 3600'))
  .action(async (user: string, options: DisconnectOptions) => {
    const { disconnect } = await import('./cluster/disconnect.ts');
    await disconnect(user, options, process.env);
  });

backend(program.command('nodes'))
  .description('Lists the nodes that live.')
  .option('--json', 'print JSON')
  .addHelpText('after', examples('roomcast nodes', 'roomcast nodes --api http://10.0.0.5:8081 --json'))
  .action(async (options: ApiOptions) => {
    const { listNodes } = await import('./cluster/lists.ts');
    await listNodes(options, process.env);
  });

client(program.command('load'))
  .description('Puts load on nodes, and checks that every member gets every message once and in order.')
  .addOption(whole('--connections <number>', 'members, spread over the rooms', 1, 50_000).default(100))
  .addOption(whole('--rooms <number>', 'rooms', 1, 100_000).default(10))
  .addOption(option('--rate <number>', 'messages per second, to all rooms in turn', 0.1, 1e6).default(100))
  .addOption(whole('--seconds <number>', 'measured time, after one second that is not', 1, 86_400).default(10))
  .addOption(whole('--bytes <number>', 'size of data', 32, 60_000).default(128))
  .addOption(
    new Option('--room-prefix <text>', 'of the names of rooms (default: load: and a random part)').argParser(
      checked(readRoom),
    ),
  )
  .option('--json', 'print JSON')
  .addHelpText(
    'after',
    `${examples(
      'roomcast load --connections 1k --rooms 100 --rate 500 --seconds 30',
      'roomcast load --url wss://example.com/ws --room-prefix chat:load- --json',
    )}

With GATEWAY_JWT_SECRET(_FILE), as for \`roomcast token\`, each connection is a user of its own, with the right to every
room. Otherwise all use --token. Exits with 1 if anything is lost, comes twice or out of order.`,
  )
  .action(async (options: Target & LoadOptions) => {
    const { load, loadTable } = await import('./load.ts');
    const result = await load(targetOf(options), options, process.env);
    if (options.json) printJson(result);
    else print(loadTable(result));
    if (result.fault !== null) throw new Failure(`${result.fault}.`);
  });

program
  .command('plan')
  .description(
    'Computes how many nodes and Redis servers a load takes, what bounds them, and what breaks first. Numbers may end in k or M.',
  )
  .addOption(required('--connections <number>', 'open connections', 1))
  .addOption(required('--messages-per-second <number>', 'publishes of all clients together', 0))
  .addOption(option('--rooms <number>', 'rooms with members', 1))
  .addOption(option('--members-per-room <number>', 'instead of --rooms', 1))
  .addOption(option('--rooms-per-connection <number>', 'rooms that a connection is in (default: 1)', 0.001))
  .addOption(option('--message-bytes <number>', 'size of data', 1).default(200))
  .addOption(share('--history <share>', 'share of the rooms with history, 0 to 1'))
  .addOption(option('--history-size <number>', 'messages kept in each of them', 1).default(100))
  .addOption(share('--presence <share>', 'share of the rooms with presence, 0 to 1'))
  .addOption(option('--reconnects-per-second <number>', 'new connections (default: each lives for half an hour)', 0))
  .addOption(option('--deploy-minutes <number>', 'time in which all nodes are restarted', 0.1).default(60))
  .addOption(option('--merge-ms <number>', 'frames for a member within this time are one write', 0.1).default(20))
  .addOption(option('--ping-seconds <number>', 'GATEWAY_PING_INTERVAL_MS / 1000', 0.1).default(25))
  .addOption(option('--share <share>', 'usable share of a core and of a network', 0.01, 1).default(0.6))
  .addOption(option('--descriptors <number>', 'file descriptors of a node', 2 * descriptorsKept).default(20_000))
  .addOption(option('--node-gb <number>', 'memory of a node, in GB', 0.5).default(2))
  .addOption(option('--redis-gb <number>', 'memory of a Redis, in GB', 0.1).default(16))
  .addOption(option('--network-gbit <number>', 'network of a node and of Redis, in Gbit/s', 0.001).default(10))
  .option('--json', 'print the plan as JSON')
  .addHelpText(
    'after',
    `${examples('roomcast plan --connections 1M --rooms 100k --messages-per-second 10k')}

The model, and the measurements it was checked against: docs/performance.md.`,
  )
  .action(async (options: PlanOptions) => {
    const { workloadOf } = await import('./plan/workload.ts');
    const { plan } = await import('./plan/capacity.ts');
    const { advise } = await import('./plan/advice.ts');
    const { report } = await import('./plan/report.ts');
    const workload = workloadOf(options);
    const planned = plan(workload);
    const advice = advise(workload, planned);
    if (options.json) printJson({ workload, plan: planned, advice });
    else print(report(workload, planned, advice));
  });

await program.parseAsync().catch((error: Error) => {
  const isKnown = error instanceof Failure || error instanceof WrongUse || error instanceof ConfigError;
  process.stderr.write(isKnown ? `error: ${error.message}\n` : `${error.stack}\n`);
  process.exit(error instanceof WrongUse ? 2 : 1);
});

/** Adds the options of a command that connects as a client. */
function client(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'the WebSocket endpoint')
        .env('ROOMCAST_URL')
        .default('ws://127.0.0.1:8080/ws')
        .argParser(checked(readEndpoint)),
    )
    .addOption(new Option('--token <jwt>', 'without one: anonymous').env('ROOMCAST_TOKEN'));
}

/** Adds the options of a command that calls the HTTP API. */
function backend(command: Command): Command {
  return command
    .addOption(
      new Option('--api <url>', 'the admin port of any node (default: that of this environment)')
        .env('ROOMCAST_API')
        .argParser(checked(readApiUrl)),
    )
    .addOption(
      new Option('--key <key>', 'a key of the API (default: GATEWAY_API_KEY or its _FILE)').env('ROOMCAST_KEY'),
    );
}

function limit(what: string): Option {
  return whole('--limit <number>', `at most so many ${what}`, 1, 1e6).default(1_000);
}

/** Throws a WrongUse, without the token in it. */
function targetOf({ url, token = '' }: Target): Target {
  const text = token.trim();
  if (!/^[\w.-]*$/.test(text))
    throw new WrongUse('--token (or ROOMCAST_TOKEN) is no token: three parts of A-Z a-z 0-9 _ - with dots between.');
  return { url, token: text === '' ? undefined : text };
}

function option(flags: string, description: string, least: number, most = 1e12): Option {
  return new Option(flags, description).argParser(checked((text) => readNumber(text, least, most)));
}

function required(flags: string, description: string, least: number): Option {
  return option(flags, description, least).makeOptionMandatory();
}

function share(flags: string, description: string): Option {
  return option(flags, description, 0, 1).default(0);
}

function whole(flags: string, description: string, least: number, most: number): Option {
  return new Option(flags, description).argParser(checked((text) => readWholeNumber(text, least, most)));
}

/** Tells commander of an argument that is wrong. */
function checked<Value>(read: (text: string) => Value): (text: string) => Value {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      throw error instanceof WrongUse ? new InvalidArgumentError(error.message) : error;
    }
  };
}
