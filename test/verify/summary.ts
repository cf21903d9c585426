/**
 * The summary of a run: its numbers, whether they are enough for the run to count, and both as a table.
 *
 * A run that delivered little, never resumed, or never had a refusal proves nothing, even without a violation. Judges no
 * promise.
 */
import type { Entry } from './log.ts';
import type { Violation } from './publications.ts';
import { ensure } from './streams.ts';

const enough = { deliveries: 100_000, recovered: 100, recoveredOfEach: 25, trimmed: 1 };
const shownViolations = 12;
const shownCharacters = 600;

export interface Summary {
  deliveries: number;
  publishes: number;
  acknowledged: number;
  refused: number;
  unknown: number;
  /** Outcome unknown to the end, but delivered. */
  unansweredDelivered: number;
  recovered: number;
  notRecovered: number;
  /** Of these, refusals in the same epoch: the missed messages had been trimmed. */
  trimmed: number;
  /** By dialect; empty if the clients did not say. */
  ofDialects: Map<string, { deliveries: number; recovered: number }>;
  /** Also what other dialects have in the place of a gap. */
  gaps: Map<string, number>;
  closes: Map<string, number>;
  faults: Map<string, number>;
  /** Publishes that a live connection did not answer at all within 8 s. */
  unanswered: number;
  longestAckPauseMs: number;
  /** p50, p99, p99.9 */
  latencyMs: number[];
}

export function summarize(log: readonly Entry[], latencies: readonly number[]): Summary {
  const events = new Map<string, number>();
  const [gaps, closes, faults] = [new Map<string, number>(), new Map<string, number>(), new Map<string, number>()];
  const count = (map: Map<string, number>, key: string) => map.set(key, ensure(map, key, () => 0) + 1);
  const [acknowledged, refused, unknown, delivered] = [new Set(), new Set(), new Set<string>(), new Set<string>()];
  const plans = log[0]?.event === 'run' ? log[0].rooms : [];
  const withHistory = new Set(plans.filter(({ history }) => history).map(({ name }) => name));
  let [recovered, notRecovered, trimmed, unanswered, longestAckPauseMs, ackedAt] = [0, 0, 0, 0, 0, 0];
  const dialects = new Map<string, string>();
  const ofDialects: Summary['ofDialects'] = new Map();
  const dialectOf = ({ client }: { client: string }) => ofDialects.get(dialects.get(client) ?? '');
  for (const entry of log) {
    count(events, entry.event);
    if (entry.event === 'open') {
      dialects.set(entry.client, entry.dialect);
      ensure(ofDialects, entry.dialect, () => ({ deliveries: 0, recovered: 0 }));
    }
    const own = entry.event === 'deliver' || entry.event === 'resume' ? dialectOf(entry) : undefined;
    if (own && entry.event === 'deliver') own.deliveries++;
    if (own && entry.event === 'resume' && entry.recovered) own.recovered++;
    if (entry.event === 'unsubscribe' && entry.told) {
      count(gaps, `an unsubscribe in ${withHistory.has(entry.room) ? 'history' : 'plain'} rooms`);
    }
    if (entry.event === 'gap') {
      const rooms = withHistory.has(entry.room) ? 'history' : 'plain';
      count(gaps, entry.count === 0 ? 'of no message' : `${entry.reason} in ${rooms} rooms`);
    }
    if (entry.event === 'close') count(closes, `${entry.code}`);
    if (entry.event === 'fault') count(faults, entry.kind);
    if (entry.event === 'deliver') delivered.add(entry.id);
    if (entry.event === 'nack') refused.add(entry.id);
    if (entry.event === 'unknown') unknown.add(entry.id);
    if (entry.event === 'unknown' && entry.code === 'no answer in time') unanswered++;
    if (entry.event === 'resume' && entry.recovered) recovered++;
    if (entry.event === 'resume' && !entry.recovered) notRecovered++;
    if (entry.event === 'resume' && !entry.recovered && entry.epoch === entry.from.epoch) trimmed++;
    if (entry.event !== 'ack') continue;
    acknowledged.add(entry.id);
    if (ackedAt > 0) longestAckPauseMs = Math.max(longestAckPauseMs, entry.t - ackedAt);
    ackedAt = entry.t;
  }
  const open = [...unknown].filter((id) => !acknowledged.has(id));
  const sorted = Float64Array.from(latencies).sort();
  return {
    deliveries: events.get('deliver') ?? 0,
    publishes: events.get('publish') ?? 0,
    acknowledged: acknowledged.size,
    refused: [...refused].filter((id) => !acknowledged.has(id) && !unknown.has(id as string)).length,
    unknown: open.length,
    unansweredDelivered: open.filter((id) => delivered.has(id)).length,
    recovered,
    notRecovered,
    trimmed,
    ofDialects,
    gaps,
    closes,
    faults,
    unanswered,
    longestAckPauseMs,
    latencyMs: [0.5, 0.99, 0.999].map((share) => sorted[Math.floor(share * (sorted.length - 1))] ?? 0),
  };
}

/** What a run lacks to count; empty if it counts. A run of chosen faults only needs to have had those. */
export function lacks(
  { deliveries, recovered, trimmed, ofDialects, faults }: Summary,
  chosen?: readonly string[],
): string[] {
  if (chosen !== undefined) return chosen.filter((kind) => !faults.has(kind)).map((kind) => `no "${kind}"`);
  return [
    deliveries < enough.deliveries ? `${deliveries} deliveries, ${enough.deliveries} are needed` : '',
    recovered < enough.recovered ? `${recovered} resumes recovered, ${enough.recovered} are needed` : '',
    ...[...ofDialects].map(([dialect, own]) => {
      if (own.recovered >= enough.recoveredOfEach) return '';
      return `${own.recovered} resumes of ${dialect} recovered, ${enough.recoveredOfEach} are needed`;
    }),
    trimmed < enough.trimmed ? 'no resume was refused because of trimming' : '',
  ].filter(Boolean);
}

/** `more`: rows of a run of its own kind. */
export function table(
  summary: Summary,
  violations: readonly Violation[],
  more: readonly [string, string][] = [],
): string {
  const list = (map: Map<string, number>) => [...map].map(([key, count]) => `${key} ${count}`).join(', ') || 'none';
  const kinds = new Map<string, number>();
  for (const { kind } of violations) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const rows: [string, string][] = [
    ['deliveries', `${summary.deliveries}`],
    ['publishes', `${summary.publishes} attempts; ${summary.acknowledged} acknowledged, ${summary.refused} refused`],
    ['  unknown', `${summary.unknown}, of which ${summary.unansweredDelivered} were delivered`],
    ['  not answered in 8 s', `${summary.unanswered}`],
    ['resumes', `${summary.recovered} recovered, ${summary.notRecovered} refused (${summary.trimmed} trimmed)`],
    ...[...summary.ofDialects].map(([dialect, { deliveries, recovered }]): [string, string] => {
      return [`  ${dialect}`, `${deliveries} deliveries, ${recovered} resumes recovered`];
    }),
    ['gaps told', list(summary.gaps)],
    ['closes', list(summary.closes)],
    ['faults', list(summary.faults)],
    ['longest time without an ok', `${summary.longestAckPauseMs.toFixed(0)} ms`],
    ['latency', `p50 ${summary.latencyMs[0]} ms, p99 ${summary.latencyMs[1]} ms, p99.9 ${summary.latencyMs[2]} ms`],
    ...more,
    ['violations', violations.length === 0 ? '0' : `${violations.length}: ${list(kinds)}`],
  ];
  return rows.map(([name, value]) => `  ${name.padEnd(38)} ${value}\n`).join('');
}

/** The first violations, one of each kind first, with the lines of the log that show them. */
export function evidence(violations: readonly Violation[]): string {
  const kinds = new Map(violations.toReversed().map((violation) => [violation.kind, violation]));
  const distinct = new Map([...kinds.values(), ...violations].map((violation) => [violation.what, violation]));
  return [...distinct.values()]
    .slice(0, shownViolations)
    .map(({ kind, what, lines }) => `${kind} ${what}\n${lines.map((line) => `    ${short(line)}\n`).join('')}`)
    .join('');
}

function short(line: Entry): string {
  return JSON.stringify(line).slice(0, shownCharacters);
}
