/**
 * The rows about the gateway's event loop: its lag under load, and how long a scrape with many connections blocks it. Both
 * are read at the admin port.
 */
import { nowUs } from '../../gateway/cli/load/clock.ts';
import { layouts } from './rows-messages.ts';
import { type Bench, faultsOf, type Measured, type Scenario } from './scenario.ts';
import { bucketsOf, quantileBetween } from './scraped.ts';
import { gateway } from './servers.ts';

/** Share of the highest rate that holds. */
const loadShare = 0.7;
/** The gateway takes ten samples a second; a p99 needs 100 samples. */
const loadSeconds = 10;
const manyConnections = 19_000;
const membersPerRoom = 10;
const scrapes = 40;
const scrapeIntervalMs = 100;
const lagHistogram = 'gateway_event_loop_lag_seconds';

export const loopRows: Scenario[] = [
  {
    name: 'lag',
    title: 'Lateness of the event loop at 70 % of the maximum',
    subject: gateway,
    against: undefined,
    figures: layouts.map(({ key, title }) => ({
      key,
      title: `p99, ${title}`,
      unit: 'ms',
      goal: { of: 'figure', bound: 'at most', limit: 20 },
    })),
    measure: measureLag,
  },
  {
    name: 'scrape',
    title: '/metrics with 19,000 connections, under 5,000 deliveries/s',
    subject: gateway,
    against: undefined,
    figures: [
      {
        key: 'median',
        title: 'a scrape, from request to answer',
        unit: 'ms',
      },
      {
        key: 'slowest',
        title: 'the slowest of 40 scrapes',
        unit: 'ms',
        goal: { of: 'figure', bound: 'at most', limit: 10 },
      },
      { key: 'p999', title: 'p99.9 of messages meanwhile', unit: 'ms' },
    ],
    measure: measureScrapes,
  },
];

async function measureLag(bench: Bench): Promise<Measured> {
  const values: Record<string, number> = {};
  const loaded = [];
  const seconds = Math.min(loadSeconds, bench.scale.seconds * 4);
  for (const { key, shape, start } of layouts) {
    const trial = await bench.withAudience(shape, async (client) => {
      await client.connect();
      const highest = await bench.highest(client, start, 1.3, 2);
      const before = bucketsOf(await scrape(bench), lagHistogram);
      const trial = await bench.trial(client, highest.messagesPerSecond * loadShare, seconds);
      values[key] = quantileBetween(before, bucketsOf(await scrape(bench), lagHistogram), 0.99) * 1000;
      return trial;
    });
    loaded.push(trial);
  }
  return { values, faults: faultsOf(...loaded), trials: bench.trials };
}

async function measureScrapes(bench: Bench): Promise<Measured> {
  const connections = bench.connections(manyConnections);
  return bench.withAudience({ connections, rooms: Math.ceil(connections / membersPerRoom) }, async (client) => {
    await client.connect();
    await scrape(bench);
    const trial = bench.trial(client, bench.rate(500), (scrapes * scrapeIntervalMs) / 1000);
    const taken: number[] = [];
    for (let count = 0; count < scrapes; count++) {
      await new Promise((resolve) => setTimeout(resolve, scrapeIntervalMs));
      const startUs = nowUs();
      await scrape(bench);
      taken.push((nowUs() - startUs) / 1000);
    }
    const { p999Us, ...rest } = await trial;
    const sorted = taken.toSorted((one, other) => one - other);
    const values = {
      median: sorted[Math.floor(scrapes / 2)] ?? Number.NaN,
      slowest: sorted.at(-1) ?? Number.NaN,
      p999: p999Us / 1000,
    };
    return { values, faults: faultsOf({ p999Us, ...rest }), trials: bench.trials };
  });
}

async function scrape(bench: Bench): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${bench.server.nodes[0]?.adminPort}/metrics`);
  return answer.text();
}
