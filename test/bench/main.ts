/**
 * `npm run bench`: measures the built gateway against a bare program, in turn, row by row, and says which goals hold.
 *
 * Exit code 0: every goal holds and nothing was lost. Exit code 1: otherwise, or the command line is wrong.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { needsCentrifugo, setCentrifugo } from './centrifugo/servers.ts';
import { clientProcessors, describeMachine, pin } from './machine.ts';
import { installPeer, peerNames } from './peers.ts';
import { drawPlots } from './plots.ts';
import { showProgress } from './progress.ts';
import { headingOf, tableOf } from './report.ts';
import { againstPeer, allRows, chooseRows } from './rows.ts';
import { type RowResult, runRow } from './run.ts';
import type { Scale, Scenario } from './scenario.ts';
import { type Contestant, otherBuild, setGateways } from './servers.ts';

/** File descriptors of a process that are not for connections. */
const spareFiles = 600;
const plannedConnections = 19_000;
const quickRows = ['hot', 'hot-history', 'spread', 'latency-nodes', 'connect', 'resume'];

interface Options {
  rows?: Scenario[];
  pairs?: number;
  seconds: number;
  threads: number;
  quick: boolean;
  set: Record<string, string>;
  guests: number;
  peer?: string;
  build?: string;
  centrifugo?: string;
  out?: string;
  json?: string;
}

const command = new Command('npm run bench --')
  .description('Measures the built gateway against a bare uWebSockets.js and ioredis program, in turn.')
  .option('--rows <names>', 'some rows only, separated by commas', rowsOf)
  .option('--pairs <number>', 'how often each is measured (default: 5, with --quick 1)', wholeNumber)
  .option('--seconds <number>', 'how long a trial takes', wholeNumber, 3)
  .option('--threads <number>', 'threads of the load client that hold connections', wholeNumber, 1)
  .option('--quick', 'a little of everything in a minute: shows that nothing is lost, judges no speed', false)
  .option('--set <NAME=value>', 'a setting of the gateway, without GATEWAY_; may be repeated', collectSetting, {})
  .option(
    '--guests <number>',
    "so many idle members of Centrifugo's protocol at the gateway, in other rooms",
    wholeNumber,
    0,
  )
  .option('--build <folder>', 'the dist/ of another build of the gateway in the place of the reference')
  .option('--centrifugo <file>', 'the program of Centrifugo 6, for the rows that compare with it')
  .addOption(new Option('--peer <name>', 'another server in the place of the reference').choices(peerNames))
  .option('--json <file>', 'where to write every trial')
  .option('--out <folder>', 'where to write bench.json and the plots')
  .addHelpText('after', `\nRows:\n${allRows.map(({ name, title }) => `  ${name.padEnd(20)}${title}`).join('\n')}`);

const options = command.parse().opts<Options>();
const { quick, out } = options;
const peer = peerOf(options);
setGateways({ ...(options.guests > 0 && { CENTRIFUGO: 'true' }), ...options.set }, options.guests);
if (options.centrifugo !== undefined) setCentrifugo(options.centrifugo);
const chosen = options.rows ?? (quick ? chooseRows(quickRows) : allRows.filter((row) => !needsCentrifugo(row)));
if (options.centrifugo === undefined && chosen.some(needsCentrifugo)) {
  command.error('error: rows that compare with Centrifugo need --centrifugo; docs/performance.md says how to build it');
}
const rows = peer === undefined ? chosen : againstPeer(chosen, peer);
const pairs = options.pairs ?? (quick ? 1 : 5);
// The processes of a run inherit it; the servers are moved.
const isPinned = pin(process.pid, clientProcessors);
const machine = describeMachine(isPinned);
const scale: Scale = {
  warmSeconds: quick ? 0.3 : 1,
  settleSeconds: quick ? 0.3 : 4,
  seconds: quick ? 1 : options.seconds,
  searchSeconds: quick ? 1 : 2,
  connectionShare: quick ? 0.1 : 1,
  rateShare: quick ? 0.2 : 1,
  maxConnections: Math.min(plannedConnections, machine.openFiles - spareFiles),
  idleSeconds: quick ? 1 : 50,
};

const results: RowResult[] = [];
const measurements = rows.reduce((sum, { against }) => sum + (against === undefined ? 1 : 2), 0) * pairs;
const progress = showProgress(measurements);
process.stdout.write(`${headingOf(machine, pairs)}\n\n`);
for (const row of rows) {
  const result = await runRow(row, { pairs, scale, threads: options.threads, step: progress.step });
  results.push(result);
  process.stdout.write(`${tableOf([result], !quick)}\n\n`);
  save();
}
progress.end();

const isLossless = results.every(({ faults }) => faults.length === 0);
const isReached = results.every(({ figures }) => figures.every(({ reached }) => reached !== false));
process.exitCode = isLossless && (quick || isReached) ? 0 : 1;

/** Undefined: the reference. */
function peerOf({ peer, build }: Options): Contestant | undefined {
  if (build === undefined) return peer === undefined ? undefined : installPeer(peer);
  if (peer !== undefined) command.error('error: --peer and --build exclude each other');
  return otherBuild(build);
}

/** Called after each row, so that an interrupted run leaves results. */
function save(): void {
  const report = { machine, settings: options.set, pairs, scale, rows: results };
  const files = [options.json, out && join(out, 'bench.json')].filter((file) => file !== undefined);
  if (out !== undefined) mkdirSync(out, { recursive: true });
  for (const file of files) writeFileSync(file, JSON.stringify(report, null, 2));
  if (out !== undefined) for (const [name, svg] of drawPlots(results)) writeFileSync(join(out, name), svg);
}

function rowsOf(text: string): Scenario[] {
  try {
    return chooseRows(text.split(','));
  } catch (error) {
    throw new InvalidArgumentError((error as TypeError).message);
  }
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above 0.');
  return Number(text);
}

function collectSetting(text: string, settings: Record<string, string>): Record<string, string> {
  const [, name, value] = /^([A-Z_]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('It must be NAME=value.');
  return { ...settings, [name]: value };
}
