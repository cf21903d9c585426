/**
 * deploy/prometheus/alerts.yml: whom an alert finds knows how urgent it is and what to do, and every alert asks for metrics that
 * exist. When each fires shows promtool, in test/compose.
 */
import { expect, test } from 'vitest';
import { metricNames } from '../../compose/prometheus.ts';
import { isKnown, knownMetrics, readProject, rules } from './known-metrics.ts';

const alerts = rules().filter(({ alert }) => alert !== undefined);
const page = readProject('docs/operations.md');
const runbook = page.slice(page.indexOf('\n## Alerts\n')).split(/^## /m)[1] ?? '';

test('every alert says how urgent it is, what happened and what to do', () => {
  expect(alerts.length).toBeGreaterThan(40);
  for (const { alert, labels, annotations } of alerts) {
    expect(['critical', 'warning'], alert).toContain(labels?.severity);
    expect(annotations?.summary, alert).toMatch(/\.$/);
    expect(annotations?.description, alert).toMatch(/.{30,}\.$/);
  }
});

test('every alert leads to its chapter in docs/operations.md, and there is no chapter besides', () => {
  for (const { alert = '', annotations } of alerts) {
    expect(annotations?.runbook_url).toBe(`https://roomcast.dev/docs/operations.md#${alert.toLowerCase()}`);
  }
  const chapters = [...runbook.matchAll(/^#### (\w+)$/gm)].map(([, name]) => name);
  expect(chapters.sort()).toEqual(alerts.map(({ alert }) => alert).sort());
});

test('every rule asks for metrics that exist', async () => {
  const known = await knownMetrics();
  for (const { alert, record, expr } of rules()) {
    for (const name of metricNames(expr)) expect(isKnown(name, known), `${alert ?? record}: ${name}`).toBe(true);
  }
});

test('the objective of the error budget is written in one place', () => {
  const numbers = rules().filter(({ expr }) => /\b0?\.001\b/.test(expr));
  expect(numbers.map(({ record }) => record)).toEqual(['gateway:publish_error_budget']);
});
