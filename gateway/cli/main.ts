/**
 * The command line, and the only file that imports commander: `roomcast plan`.
 *
 * Owns the options, their defaults and their checks: a mistake ends with exit code 2 and one sentence.
 * gateway/cli/capacity.ts computes the plan, gateway/cli/report.ts prints it.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { version } from '../version.ts';
import { advise } from './advice.ts';
import { descriptorsKept, plan, type Workload } from './capacity.ts';
import { report } from './report.ts';

type Derived = 'rooms' | 'roomsPerConnection' | 'reconnectsPerSecond' | 'historyShare' | 'presenceShare';

interface PlanOptions extends Omit<Workload, Derived> {
  rooms?: number;
  membersPerRoom?: number;
  roomsPerConnection?: number;
  reconnectsPerSecond?: number;
  history: number;
  presence: number;
  json?: true;
}

/** Lifetime of a connection, if the number of reconnects is not given. */
const lifeSeconds = 1_800;

const program = new Command('roomcast').description('A pub/sub gateway for WebSockets.').version(version);
// Exit code 2 for every mistake in the command line. Subcommands inherit this.
program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
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
  .addHelpText('after', '\nThe model, and the measurements it was checked against: docs/performance.md.')
  .action((options: PlanOptions, command: Command) => {
    const workload = workloadOf(options, (mistake) => command.error(`error: ${mistake}`));
    const planned = plan(workload);
    const advice = advise(workload, planned);
    const text = options.json
      ? `${JSON.stringify({ workload, plan: planned, advice }, null, 2)}\n`
      : report(workload, planned, advice);
    process.stdout.write(text);
  });
await program.parseAsync();

function option(flags: string, description: string, least: number, most = 1e12): Option {
  return new Option(flags, description).argParser((text: string) => number(text, least, most));
}

function required(flags: string, description: string, least: number): Option {
  return option(flags, description, least).makeOptionMandatory();
}

function share(flags: string, description: string): Option {
  return option(flags, description, 0, 1).default(0);
}

/** `20000`, `20_000`, `20k`, `0.02M`, `2e4`. */
function number(text: string, least: number, most: number): number {
  const [, digits = '', unit = ''] = /^([\d_.]+(?:e\d+)?)([kM]?)$/.exec(text) ?? [];
  const value = Number(digits.replaceAll('_', '') || Number.NaN) * { '': 1, k: 1e3, M: 1e6 }[unit as '' | 'k' | 'M'];
  if (value >= least && value <= most) return value;
  throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
}

/** Rooms, members of a room and rooms of a connection: any two give the third. */
function workloadOf(options: PlanOptions, fail: (mistake: string) => never): Workload {
  const { membersPerRoom, history, presence, json, ...rest } = options;
  const { connections } = options;
  if (options.rooms === undefined && membersPerRoom === undefined) {
    return fail('give --rooms or --members-per-room.');
  }
  if (options.rooms !== undefined && membersPerRoom !== undefined && options.roomsPerConnection !== undefined) {
    return fail('--rooms, --members-per-room and --rooms-per-connection: any two give the third; leave one out.');
  }
  const memberships =
    options.rooms !== undefined && membersPerRoom !== undefined
      ? options.rooms * membersPerRoom
      : connections * (options.roomsPerConnection ?? 1);
  const rooms = options.rooms ?? memberships / (membersPerRoom ?? 1);
  if (rooms > memberships || rooms < 1) {
    return fail(
      `that makes ${rooms} rooms for ${memberships} memberships; give at least 1 room, and at most one per membership.`,
    );
  }
  return {
    ...rest,
    historyShare: history,
    presenceShare: presence,
    rooms,
    roomsPerConnection: memberships / connections,
    reconnectsPerSecond: options.reconnectsPerSecond ?? connections / lifeSeconds,
  };
}
