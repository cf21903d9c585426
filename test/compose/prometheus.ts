/**
 * The Prometheus of the deployment, asked through its HTTP API, and the queries an operator sees: those of the Grafana
 * dashboard and of the alerts.
 *
 * Owns how a query is read for the metric names in it. Knows nothing of containers.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from './stack.ts';

export interface Series {
  metric: Record<string, string>;
  value: [time: number, value: string];
}

interface Rule {
  name: string;
  query: string;
  /** Of alerts only. */
  state?: 'inactive' | 'pending' | 'firing';
}

interface Dashboard {
  panels: { title: string; targets?: { expr: string }[] }[];
  annotations: { list: { name: string; expr?: string }[] };
  templating: { list: { name: string; definition?: string }[] };
}

export class Prometheus {
  readonly #base: string;

  /** `address` is host and port. */
  constructor(address: string) {
    this.#base = `http://${address}/api/v1`;
  }

  async query(expression: string): Promise<Series[]> {
    return (await this.#get<{ result: Series[] }>('query', { query: expression })).result;
  }

  /** Addresses of the targets whose last scrape went well: of the replicas, or of another job. */
  async healthyTargets(job = 'gateway'): Promise<string[]> {
    const { activeTargets } = await this.#get<{
      activeTargets: { health: string; labels: { job: string; instance: string } }[];
    }>('targets', { state: 'active' });
    return activeTargets
      .filter((target) => target.health === 'up' && target.labels.job === job)
      .map((target) => target.labels.instance);
  }

  /** Every metric name that a target exposes, also those of counters that have not counted yet, and what rules record. */
  async exposedNames(): Promise<Set<string>> {
    const families = await this.#get<{ metric: string; type: string }[]>('targets/metadata', {
      match_target: '{job!=""}',
    });
    const names = new Set(['up', 'ALERTS', ...(await this.#rules('record')).map(({ name }) => name)]);
    for (const { metric, type } of families) {
      names.add(metric);
      if (type === 'histogram') for (const suffix of ['bucket', 'sum', 'count']) names.add(`${metric}_${suffix}`);
    }
    return names;
  }

  /** Expressions of all alerts that Prometheus has loaded, by alert name. */
  async alertQueries(): Promise<Map<string, string>> {
    return new Map((await this.#rules('alert')).map(({ name, query }) => [name, query]));
  }

  async firingAlerts(): Promise<string[]> {
    return (await this.#rules('alert')).filter(({ state }) => state === 'firing').map(({ name }) => name);
  }

  async #rules(type: 'alert' | 'record'): Promise<Rule[]> {
    const { groups } = await this.#get<{ groups: { rules: Rule[] }[] }>('rules', { type });
    return groups.flatMap(({ rules }) => rules);
  }

  async #get<Data>(path: string, parameters: Record<string, string>): Promise<Data> {
    const answer = await fetch(`${this.#base}/${path}?${new URLSearchParams(parameters)}`, {
      signal: AbortSignal.timeout(10_000),
    });
    const body = (await answer.json()) as { status: string; data: Data; error?: string };
    if (body.status !== 'success') throw new Error(`${path} ${JSON.stringify(parameters)}: ${body.error}`);
    return body.data;
  }
}

const filledIn: [variable: string, value: string][] = [
  ['$__rate_interval', '1m'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Grafana that fills it in
  ['${__range_s}', '1800'],
  ['$node', '.*'],
];

/** All expressions of the dashboard, by panel and number, of its annotations and variables too, with Grafana's variables filled in. */
export async function dashboardQueries(): Promise<Map<string, string>> {
  const file = join(repository, 'deploy/grafana/dashboards/roomcast.json');
  const { panels, annotations, templating } = JSON.parse(await readFile(file, 'utf8')) as Dashboard;
  const written: [name: string, query: string][] = [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr }, index): [string, string] => [`${title} ${index + 1}`, expr]),
    ),
    ...annotations.list.flatMap(({ name, expr }): [string, string][] => (expr === undefined ? [] : [[name, expr]])),
    ...templating.list.flatMap(({ name, definition }): [string, string][] => {
      const query = /^query_result\((.*)\)$/.exec(definition ?? '')?.[1];
      return query === undefined ? [] : [[`$${name}`, query]];
    }),
  ];
  return new Map(
    written.map(([name, query]) => [
      name,
      filledIn.reduce((text, [variable, value]) => text.replaceAll(variable, value), query),
    ]),
  );
}

const operators = new Set(['and', 'or', 'unless', 'bool', 'offset', 'atan2', 'inf', 'nan']);

/** Metric names in a PromQL expression: identifiers that are no function, operator, label, string or duration. */
export function metricNames(expression: string): string[] {
  const bare = expression
    .replace(/"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/g, '')
    .replace(/\{[^}]*\}|\[[^\]]*\]/g, '')
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, '');
  const identifiers = bare.match(/(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()/g) ?? [];
  return [...new Set(identifiers.filter((name) => !operators.has(name.toLowerCase())))];
}
