/**
 * Runs one row: the contestants in turn, each time as new processes on a new Redis. Returns the results of the pairs.
 */
import { inTurn, isReached, ratiosOf, type Spread, spreadOf } from './ratios.ts';
import { Bench, type Figure, type Measured, type Scale, type Scenario } from './scenario.ts';
import { type Contestant, startServer } from './servers.ts';

export interface RunPlan {
  pairs: number;
  scale: Scale;
  threads: number;
  /** Called after each measurement of one contestant. */
  step(what: string): void;
}

export interface FigureResult extends Figure {
  /** One for each pair. */
  ours: number[];
  theirs: number[];
  ratios: number[];
  median: { ours: number; theirs: number | undefined };
  /** Median and range of the ratios; without another contestant, of the figures. */
  spread: Spread;
  /** Undefined without a goal. */
  reached: boolean | undefined;
}

export interface RowResult {
  name: string;
  title: string;
  subject: string;
  against: string | undefined;
  figures: FigureResult[];
  /** Faults of both contestants; there must be none. */
  faults: string[];
  runs: { contestant: string; measured: Measured }[];
}

export async function runRow(scenario: Scenario, plan: RunPlan): Promise<RowResult> {
  const { subject, against } = scenario;
  const runs: RowResult['runs'] = [];
  const ours: Measured[] = [];
  const theirs: Measured[] = [];
  for (let pair = 0; pair < plan.pairs; pair++) {
    const turns = against === undefined ? [subject] : inTurn(pair, against, subject);
    for (const contestant of turns) {
      plan.step(`${scenario.name}: ${contestant.name}, ${pair + 1} of ${plan.pairs}`);
      const measured = await measureOnce(scenario, contestant, plan);
      runs.push({ contestant: contestant.name, measured });
      (contestant === subject ? ours : theirs).push(measured);
    }
  }
  return {
    name: scenario.name,
    title: scenario.title,
    subject: subject.name,
    against: against?.name,
    figures: scenario.figures.map((figure) => judge(figure, ours, theirs)),
    faults: runs.flatMap(({ contestant, measured }) => measured.faults.map((fault) => `${contestant}, ${fault}`)),
    runs,
  };
}

/** An error becomes a fault of this run, and does not end the others. */
async function measureOnce(scenario: Scenario, contestant: Contestant, plan: RunPlan): Promise<Measured> {
  const server = await startServer(contestant, scenario.nodes);
  const bench = new Bench(contestant, server, plan.scale, plan.threads);
  try {
    return await bench.withGuests(() => scenario.measure(bench));
  } catch (error) {
    return { values: {}, faults: [(error as Error).message], trials: bench.trials };
  } finally {
    await server.stop();
  }
}

function judge(figure: Figure, ours: Measured[], theirs: Measured[]): FigureResult {
  const of = (measured: Measured[]) => measured.map(({ values }) => values[figure.key] ?? Number.NaN);
  const ratios = theirs.length > 0 ? ratiosOf(of(ours), of(theirs)) : [];
  const spread = spreadOf(theirs.length > 0 ? ratios : of(ours));
  const median = {
    ours: spreadOf(of(ours)).median,
    theirs: theirs.length > 0 ? spreadOf(of(theirs)).median : undefined,
  };
  const { goal } = figure;
  const judged = { ratio: spread.median, figure: median.ours, difference: median.ours - (median.theirs ?? Number.NaN) };
  const reached = goal && isReached(judged[goal.of], goal);
  return { ...figure, ours: of(ours), theirs: of(theirs), ratios, median, spread, reached };
}
