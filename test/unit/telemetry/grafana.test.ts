/**
 * deploy/grafana/dashboards/roomcast.json: it reads as one page. A row of figures on top, then rows; every panel says what it
 * shows, in which unit, of which nodes; and asks for metrics that exist. That each query runs and has data shows test/compose.
 */
import { expect, test } from 'vitest';
import { metricNames } from '../../compose/prometheus.ts';
import { isKnown, knownMetrics, readProject } from './known-metrics.ts';

interface Target {
  refId: string;
  datasource: object;
  expr: string;
  legendFormat: string;
}

interface Panel {
  id: number;
  type: string;
  title: string;
  description: string;
  datasource: object;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: { unit?: string; links?: { url: string }[]; thresholds?: object } };
  targets: Target[];
}

const { annotations, panels, templating } = JSON.parse(readProject('deploy/grafana/dashboards/roomcast.json')) as {
  panels: Panel[];
  annotations: { list: { name: string; expr?: string }[] };
  templating: { list: { name: string; regex: string }[] };
};
const rows = panels.filter(({ type }) => type === 'row');
const shown = panels.filter(({ type }) => type !== 'row');
const expressions = shown.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is Grafana that fills it in
const datasource = { type: 'prometheus', uid: '${datasource}' };

test('figures fill the first line, and every other panel belongs to a row', () => {
  const first = panels.slice(0, panels.indexOf(rows[0] as Panel));
  expect(first.map(({ type, gridPos }) => [type, gridPos.y])).toEqual(first.map(() => ['stat', 0]));
  expect(first.reduce((sum, { gridPos }) => sum + gridPos.w, 0)).toBe(24);
  expect(rows.map(({ title }) => title)).toEqual([
    'Alerts and error budget',
    'Publishes: rate, errors, duration',
    'Delivery',
    'Connections',
    'Saturation of each node',
    'HTTP API: rate, errors, duration',
    'Redis',
    'HAProxy',
    'Your backend',
  ]);
  for (const { gridPos } of rows) expect([gridPos.x, gridPos.w, gridPos.h]).toEqual([0, 24, 1]);
});

test('panels are numbered and written in the order in which they are read, and none lies on another', () => {
  expect(panels.map(({ id }) => id)).toEqual(panels.map((_, index) => index + 1));
  const places = panels.map(({ gridPos: { x, y } }) => y * 24 + x);
  expect(places).toEqual([...places].sort((one, other) => one - other));
  const taken = new Map<string, string>();
  for (const { title, gridPos } of panels) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let cell = 0; cell < gridPos.w * gridPos.h; cell++) {
      const at = `${gridPos.x + (cell % gridPos.w)},${gridPos.y + Math.floor(cell / gridPos.w)}`;
      expect(taken.get(at), `${title} lies on it`).toBeUndefined();
      taken.set(at, title);
    }
  }
  // No holes either: Grafana would move panels up.
  const height = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h));
  expect(taken.size).toBe(24 * height);
});

test('each panel has a title of its own, a sentence, and a unit', () => {
  expect(new Set(shown.map(({ title }) => title)).size).toBe(shown.length);
  for (const { title, type, description, fieldConfig } of shown) {
    expect(description, title).toMatch(/^[\w.].{20,}\.$/);
    if (type !== 'table' && type !== 'heatmap') expect(fieldConfig.defaults.unit, title).toMatch(/^\w+$/);
    if (type === 'stat') expect(fieldConfig.defaults.thresholds, title).toBeDefined();
  }
});

test('all panels have one form, and all queries the data source that the reader has chosen', () => {
  const form = [
    ...['id', 'type', 'title', 'description', 'datasource', 'gridPos', 'fieldConfig', 'options', 'targets'],
  ];
  for (const panel of shown) {
    expect(
      Object.keys(panel).filter((key) => key !== 'transformations'),
      panel.title,
    ).toEqual(form);
    expect(panel.datasource, panel.title).toEqual(datasource);
    expect(panel.targets.map(({ refId }) => refId)).toEqual([...'ABCDEFGHIJ'].slice(0, panel.targets.length));
    for (const target of panel.targets) expect(target.datasource, panel.title).toEqual(datasource);
  }
});

test('every query asks for metrics that exist', async () => {
  const known = await knownMetrics();
  const marked = annotations.list.flatMap(({ name, expr }) => (expr === undefined ? [] : [{ title: name, expr }]));
  for (const { title, expr } of [...expressions, ...marked]) {
    const names = metricNames(expr);
    expect(names, title).not.toEqual([]);
    for (const name of names) expect(isKnown(name, known), `${title}: ${name}`).toBe(true);
  }
});

test('the choice of a node holds for every query about nodes', () => {
  // Of the cluster: what Redis says, what waits for the webhook, what rules record.
  const ofNodes = /(?<![\w:])(gateway_(?!redis_|info|webhook_queue)\w+|process_\w+|nodejs_\w+)/;
  const about = expressions.filter(({ expr }) => ofNodes.test(expr));
  expect(about.length).toBeGreaterThan(40);
  for (const { title, expr } of about) expect(expr, title).toContain('instance=~"$node"');
});

test('lines of single nodes carry their names, and lead to the page of that node', () => {
  const byNode = shown.filter(({ targets }) => targets.some(({ legendFormat }) => legendFormat.includes('{{node}}')));
  expect(byNode.length).toBeGreaterThan(12);
  for (const { title, targets, fieldConfig } of byNode) {
    for (const { expr } of targets) expect(expr, title).toContain('group_left (node) gateway_info');
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Grafana that fills it in
    expect(fieldConfig.defaults.links?.[0]?.url, title).toContain('var-node=${__field.labels.instance}');
  }
});

test('the variable reads name and address of a node from what Grafana makes of gateway_info', () => {
  const { regex = '' } = templating.list.find(({ name }) => name === 'node') ?? {};
  const line = 'gateway_info{instance="172.18.0.4:8081",job="gateway",node="a1b2",version="0.1.0"} 1 1700000000000';
  expect(new RegExp(regex.slice(1, -1)).exec(line)?.groups).toEqual({ value: '172.18.0.4:8081', text: 'a1b2' });
});

test('starts of nodes and of Redis, and new epochs, are marked in all charts', () => {
  expect(annotations.list.map(({ name }) => name)).toEqual([
    ...['Annotations & Alerts', 'Deploys', 'Redis starts', 'New epochs'],
  ]);
});
